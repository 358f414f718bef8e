/** What the network takes the picture for: the most probable classes, with bars. */

import { element, rebuild } from "../shared/controls.ts";
import type { Guess, PredictionState } from "./state.ts";

export class Prediction {
  readonly node = element("div", { class: "predictions" });

  show(state: PredictionState): void {
    const lists = Array.isArray(state.top) ? state.top : [];
    rebuild(this.node, JSON.stringify(lists), () =>
      lists.map((top, side) =>
        element(
          "table",
          { "aria-label": lists.length > 1 ? `Prediction for ${side ? "B" : "A"}` : "Prediction" },
          element(
            "caption",
            {},
            lists.length > 1 ? `Prediction for ${side ? "B" : "A"}` : "Prediction",
          ),
          ...top.map(line),
        ),
      ),
    );
  }
}

function line(guess: Guess): HTMLElement {
  const bar = element("span", { class: "fill" });
  bar.style.width = `${Math.max(0, Math.min(100, 100 * guess.probability))}%`;
  const name = element("th", { scope: "row" }, guess.name);
  name.title = `${guess.name} (class ${guess.index}), logit ${Number(guess.logit).toPrecision(4)}`;
  const percent = 100 * guess.probability;
  return element(
    "tr",
    {},
    name,
    element("td", { class: "track", "aria-hidden": "true" }, bar),
    element(
      "td",
      { class: "percent" },
      Number.isFinite(percent) ? `${percent.toFixed(1)} %` : "NaN",
    ),
  );
}
