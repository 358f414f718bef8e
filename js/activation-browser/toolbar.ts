/** The choices of how maps are shown: each a trait, so that Python and every view follow. */

import { colormapGradient } from "../shared/colormaps.ts";
import { button, element, select } from "../shared/controls.ts";
import type { Maps, Tone } from "./maps.ts";
import type { State } from "./state.ts";

export const GAMMAS = [1, 0.7, 0.5, 0.3];
export const BOOSTS = [0, 0.3, 0.5, 0.8, 1];
export const SIDES: State["side"][] = ["both", "A", "B", "difference"];

export interface ToolbarActions {
  get<K extends keyof State>(name: K): State[K];
  set<K extends keyof State>(name: K, value: State[K]): void;
  zoom(direction: number): void;
  keepAsB(): void;
  help(): void;
}

export class Toolbar {
  readonly node: HTMLElement;
  readonly #show_;
  readonly #sort;
  readonly #scale;
  readonly #colours;
  readonly #gamma;
  readonly #boost;
  readonly #side;
  readonly #dead = element("input", { type: "checkbox" });
  readonly #keep: HTMLButtonElement;
  readonly #end: HTMLButtonElement;
  readonly #classToken: HTMLButtonElement;

  readonly #actions: ToolbarActions;

  constructor(signal: AbortSignal, actions: ToolbarActions) {
    this.#actions = actions;
    const choice = <K extends keyof State>(
      label: string,
      name: K,
      read: (text: string) => State[K],
    ) => select(label, (value) => actions.set(name, read(value)));
    const text = <T>(value: string) => value as T;
    this.#show_ = choice("Show", "show", text<State["show"]>);
    this.#sort = choice("Sort", "sort", text<State["sort"]>);
    this.#scale = choice("Scale", "normalise", text<State["normalise"]>);
    this.#colours = choice("Colours", "colormap", text<State["colormap"]>);
    this.#gamma = choice("Gamma", "gamma", Number);
    this.#boost = choice("Boost", "boost", Number);
    this.#side = choice("Of", "side", text<State["side"]>);
    this.#dead.addEventListener("change", () => actions.set("hide_dead", this.#dead.checked), {
      signal,
    });
    this.#keep = button("Keep as B", "Keep this picture as B, to compare the next with it", () =>
      actions.keepAsB(),
    );
    this.#end = button("No B", "Stop comparing", () => actions.set("compared", -1));
    this.#classToken = button("from class token", "Show what the class token attends to", () =>
      actions.set("query", -1),
    );
    this.node = element(
      "div",
      { class: "toolbar", role: "toolbar", "aria-label": "How maps are shown" },
      this.#show_.node,
      this.#classToken,
      this.#sort.node,
      this.#scale.node,
      this.#colours.node,
      this.#gamma.node,
      this.#boost.node,
      element("label", { class: "control" }, this.#dead, element("span", {}, "Hide dead")),
      element(
        "div",
        { class: "control", role: "group", "aria-label": "Size of maps" },
        element("span", {}, "Size"),
        button("−", "Smaller maps", () => actions.zoom(-1)),
        button("+", "Larger maps", () => actions.zoom(1)),
        button("fit", "A size that suits their number", () => actions.set("zoom", 0)),
      ),
      element(
        "div",
        { class: "control", role: "group", "aria-label": "Two pictures" },
        this.#keep,
        this.#side.node,
        this.#end,
      ),
      button("?", "Keys", () => actions.help()),
    );
  }

  show(maps: Maps | null, heads: boolean): void {
    const { get } = this.#actions;
    const attention = get("show") === "attention";
    const compared = (maps?.sides.length ?? 1) > 1;
    this.#show_.node.hidden = !heads;
    this.#show_.show(
      [
        { value: "maps", label: "feature maps" },
        { value: "attention", label: "attention by head" },
      ],
      get("show"),
    );
    this.#classToken.hidden = !attention || get("query") < 0;
    this.#classToken.textContent =
      (maps?.state.prefix ?? 0) > 0 ? "from class token" : "from first token";
    this.#sort.show(
      [
        { value: "index", label: attention ? "head number" : "channel number" },
        { value: "peak", label: "highest peak first" },
        { value: "mean", label: "highest mean first" },
        { value: "sparsity", label: "most zeros first" },
        { value: "difference", label: "A and B most apart", disabled: !compared },
        {
          value: "class",
          label: "for this class first",
          disabled: attention || !get("inputs").labelled,
        },
      ],
      get("sort"),
    );
    this.#scale.show(
      [
        { value: "channel", label: attention ? "each head" : "each channel" },
        { value: "layer", label: "whole layer" },
        { value: "symmetric", label: "symmetric about 0" },
      ],
      get("normalise"),
    );
    this.#colours.show(
      [
        { value: "auto", label: maps ? automatic(maps) : "automatic" },
        ...["diverging", "sequential", "grey"]
          .filter((name) => !maps || name !== automatic(maps) || name === get("colormap"))
          .map((name) => ({ value: name, label: name })),
      ],
      get("colormap"),
    );
    const numbers = (values: number[]) =>
      values.map((value) => ({ value: String(value), label: String(value) }));
    this.#gamma.show(numbers(GAMMAS), String(get("gamma")));
    this.#boost.show(numbers(BOOSTS), String(get("boost")));
    // A scale of each channel lifts every channel to the full already.
    this.#boost.node.hidden = get("normalise") === "channel";
    this.#dead.checked = get("hide_dead");
    this.#side.node.hidden = this.#end.hidden = !compared;
    const focused = (this.node.getRootNode() as ShadowRoot).activeElement;
    this.#keep.hidden = compared;
    // A button that goes away hands the keyboard to the one in its place.
    if (focused === this.#keep && compared) this.#end.focus();
    if (focused === this.#end && !compared) this.#keep.focus();
    this.#side.show(
      [
        { value: "both", label: "A, B and A − B" },
        { value: "A", label: "A" },
        { value: "B", label: "B" },
        { value: "difference", label: "A − B" },
      ],
      get("side"),
    );
  }
}

/** Colours for maps that hold negative values, and for those that hold none. */
export function automatic(maps: Maps): "diverging" | "sequential" {
  return maps.state.low < 0 ? "diverging" : "sequential";
}

/** What the colours mean, in words and numbers. */
export function showLegend(
  node: HTMLElement,
  maps: Maps,
  tone: Tone,
  map: Parameters<typeof colormapGradient>[0],
): void {
  const bar = element("span", { class: "bar", "aria-hidden": "true" });
  bar.style.background = colormapGradient(map);
  const number = (value: number) => (value === 0 ? "0" : value.toPrecision(3));
  const { low, high } = maps.state;
  const most = Math.max(Math.abs(low), Math.abs(high));
  const centred = tone.centred || tone.normalise === "symmetric";
  const each = maps.state.kind === "attention" ? "head" : "channel";
  const [from, to, how] =
    tone.normalise !== "channel" || maps.rows * maps.columns === 1
      ? [number(centred ? -most : low), number(centred ? most : high), "one scale for the layer"]
      : centred
        ? ["−max", "+max", `of each ${each} on its own`]
        : ["min", "max", `of each ${each} on its own`];
  const both = maps.sides.length > 1 ? ", the same for A and B" : "";
  const lifted = [
    tone.gamma < 1 ? `gamma ${tone.gamma}: weak values lifted` : "",
    tone.boost > 0 && tone.normalise !== "channel"
      ? `boost ${tone.boost}: weak channels lifted`
      : "",
  ].filter(Boolean);
  const zero = centred ? "; zero in the middle" : "";
  node.replaceChildren(
    from,
    bar,
    to,
    element("span", {}, [`${how}${both}${zero}`, ...lifted].join("; ")),
  );
}
