/** How the map is shown: choices that need no Python. */

import { element, select } from "../shared/controls.ts";
import type { Coverage, Hands, Scale, Show, Side } from "./state.ts";

const SHOWS = [
  { value: "confidence", label: "confidence in the target" },
  { value: "most probable", label: "most probable class" },
  { value: "feature map", label: "total of a feature map" },
];
const SCALES = ["probability", "logit", "probability drop", "logit drop"];
const COVERAGES = [
  { value: "grid", label: "by mask position" },
  { value: "overlap average", label: "by pixel (mean of all masks over it)" },
];
const SIDES = [
  { value: "both", label: "A, B and A − B" },
  { value: "A", label: "A" },
  { value: "B", label: "B" },
  { value: "difference", label: "A − B" },
];

export class MapPanel {
  readonly node: HTMLElement;
  readonly #show_;
  readonly #scale;
  readonly #coverage;
  readonly #side;
  readonly #opacity = element("input", {
    type: "range",
    min: "0",
    max: "1",
    step: "0.05",
  });
  readonly #stretch = element("input", { type: "checkbox" });
  readonly #stretched: HTMLElement;
  readonly #hands: Hands;

  constructor(signal: AbortSignal, hands: Hands) {
    this.#hands = hands;
    this.#show_ = select("Show", (value) => hands.set({ show: value as Show }));
    this.#scale = select("as", (value) => hands.set({ scale: value as Scale }));
    this.#coverage = select("Drawn", (value) => hands.set({ coverage: value as Coverage }));
    this.#side = select("Compare", (value) => hands.set({ side: value as Side }));
    const on = (node: HTMLElement, type: string, act: () => void) =>
      node.addEventListener(type, act, { signal });
    on(this.#opacity, "input", () => hands.set({ opacity: Number(this.#opacity.value) }));
    on(this.#stretch, "change", () => hands.set({ stretch: this.#stretch.checked }));
    this.#stretched = element(
      "label",
      {
        class: "control",
        title:
          "Off: a probability begins at zero, and a drop in full colour is at least a fifth of the confidence",
      },
      this.#stretch,
      element("span", {}, "Stretch colours"),
    );
    this.node = element(
      "div",
      { class: "toolbar", role: "toolbar", "aria-label": "How the map is shown" },
      this.#show_.node,
      this.#scale.node,
      this.#coverage.node,
      element("label", { class: "control" }, element("span", {}, "Opacity"), this.#opacity),
      this.#stretched,
      this.#side.node,
    );
  }

  /** `there`: there is a map to be shown; `kept`: one to compare with. */
  show(there: boolean, kept: boolean): void {
    const { get } = this.#hands;
    const show = get("show");
    this.#show_.show(SHOWS, show);
    this.#scale.show(
      SCALES.map((value) => ({ value, label: value })),
      get("scale"),
    );
    this.#scale.node.hidden = show !== "confidence";
    this.#coverage.show(COVERAGES, get("coverage"));
    this.#coverage.node.hidden = this.#stretched.hidden = show === "most probable";
    this.#opacity.value = String(get("opacity"));
    this.#stretch.checked = get("stretch");
    this.#side.show(
      SIDES.map((side) =>
        show === "most probable" && side.value === "difference"
          ? { ...side, disabled: true }
          : side,
      ),
      get("side"),
    );
    this.#side.node.hidden = !kept;
    this.node.hidden = !there && !kept;
  }
}
