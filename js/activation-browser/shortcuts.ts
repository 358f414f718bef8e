/** Which key does what; the names are those of the Deep Visualization Toolbox where it has one. */

import type { Key } from "../shared/keys.ts";
import type { ActivationBrowserView } from "./index.ts";
import { BOOSTS, GAMMAS, SIDES } from "./toolbar.ts";

const SORTS = ["index", "peak", "mean", "sparsity"] as const;
const ARROWS: Record<string, string> = {
  i: "ArrowUp",
  j: "ArrowLeft",
  k: "ArrowDown",
  l: "ArrowRight",
};

export function bindings(view: ActivationBrowserView): Key[] {
  const { get } = { get: view.get.bind(view) };
  const next = <T>(values: readonly T[], value: T) =>
    values[(values.indexOf(value) + 1) % values.length] as T;
  const picture = (step: number) => {
    const { images } = get("inputs");
    const from = Math.max(0, get("image"));
    if (images > 1) view.set({ image: (from + step + images) % images });
  };
  const key = (names: string[], keys: string, does: string, act: Key["act"]): Key => ({
    names,
    keys,
    does,
    act,
  });
  return [
    key([], "← ↑ → ↓ Enter", "move in the part that has the focus; explain a value", () => {}),
    key(Object.keys(ARROWS), "i j k l", "move among channels", (k) =>
      view.grid.move(ARROWS[k] as string),
    ),
    key(["u"], "u", "layer before, same unit", () =>
      view.openLayer(view.rail.neighbour(get("layer"), -1)),
    ),
    key(["o"], "o", "layer after, same unit", () =>
      view.openLayer(view.rail.neighbour(get("layer"), 1)),
    ),
    key(["e"], "e", "next picture", () => picture(1)),
    key(["w"], "w", "picture before", () => picture(-1)),
    key(["c"], "c", "camera on and off", () => view.inputs?.toggleCamera()),
    key(["f"], "f", "freeze the camera", () => view.inputs?.freezeCamera()),
    key(["t"], "t", "gamma: lift weak values", () =>
      view.set({ gamma: next(GAMMAS, get("gamma")) }),
    ),
    key(["T"], "T", "boost: lift weak channels (scale: whole layer)", () =>
      view.set({ boost: next(BOOSTS, get("boost")) }),
    ),
    key(["s"], "s", "sort: number, peak, mean, zeros", () =>
      view.set({ sort: next<string>(SORTS, get("sort")) as "index" }),
    ),
    key(["a"], "a", "attention or maps", () => {
      if (get("layers").some((entry) => entry.heads > 0)) {
        view.set({ show: get("show") === "maps" ? "attention" : "maps" });
      }
    }),
    key(["b"], "b", "A, B, or their difference", () =>
      view.set({ side: next(SIDES, get("side")) }),
    ),
    key(["p"], "p", "pin the channel", () => view.togglePin()),
    key(["d"], "d", "keep the unit as origin, or let it go", () => view.toggleOrigin()),
    key(["m"], "m", "map over the picture on and off", () =>
      view.set({ overlay: get("overlay") > 0 ? 0 : 0.6 }),
    ),
    key(["+", "="], "+", "larger maps", () => view.zoom(1)),
    key(["-"], "−", "smaller maps", () => view.zoom(-1)),
    key(["Escape"], "Esc", "no unit", () => view.set({ unit: [], trail: [] })),
    key(["?", "h"], "? h", "these keys", () => view.toggleHelp()),
  ];
}
