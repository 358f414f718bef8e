/** What colours mean; what is unchecked, or outside the range, leaves the map. */

import { button, element, rebuild, svg } from "../shared/controls.ts";
import { type InkLayer, NONE } from "./facts.ts";
import { bringForward, counted, type Hands } from "./hands.ts";
import type { Seams } from "./map-data.ts";
import { categoryColour, css, gradient, kept, valueColours } from "./palette.ts";
import { classesFound } from "./search.ts";
import type { InkState } from "./state.ts";

/** Categories that are listed at most, and from how many on the largest come first and can be sought. */
const [LISTED, MANY] = [200, 20];
const BINS = 48;

export interface LegendActions extends Pick<Hands, "get" | "set" | "redraw"> {
  /** let a category stand out for a moment; null ends it */
  emphasise(category: number | null): void;
}

type Category = InkState["categories"][number];

/** Categories in the order of a list: of many the largest first, and of those that were sought. */
export function listed(categories: Category[], sought: string): Category[] {
  if (categories.length <= MANY) return categories;
  const names = categories.map(({ name }) => name);
  const found = sought.trim()
    ? classesFound(names, sought).map((i) => categories[i] as Category)
    : [...categories];
  return found.sort((a, b) => b.count - a.count);
}

export class Legend {
  readonly node = element("section", { class: "section", "aria-label": "Legend and filter" });
  readonly #list = element("div", { class: "categories" });
  readonly #seek = element("input", {
    type: "search",
    class: "seek",
    placeholder: "Find in this list",
    "aria-label": "Find in the legend",
  });
  readonly #title = element("h3");
  readonly #all = button("All", "Show all", () => this.#actions.set({ hidden: [], range: [] }));
  readonly #none = button("None", "Show none, then check some", () => this.#hideAll());
  readonly #note = element("p", { class: "soft" });
  readonly #border = element("p", { class: "border-legend" });
  readonly #seams = element("p", { class: "seams-legend soft" });
  readonly #low = element("input", { type: "range", "aria-label": "Lowest that is shown" });
  readonly #high = element("input", { type: "range", "aria-label": "Highest that is shown" });
  readonly #ramp = element("div", { class: "ramp", "aria-hidden": "true" });
  readonly #bars = element("div", { class: "bars", "aria-hidden": "true" });
  readonly #ends = element("div", { class: "ends" });
  readonly #values = element("div", { class: "values" }, this.#bars);
  readonly #checks = new Map<number, HTMLInputElement>();
  #layer: InkLayer | null = null;
  #rebuilt = 0;

  readonly #actions: LegendActions;

  constructor(signal: AbortSignal, actions: LegendActions) {
    this.#actions = actions;
    for (const input of [this.#low, this.#high]) {
      input.max = "1000";
      input.addEventListener("input", () => this.#narrow(input), { signal });
    }
    const track = element("div", { class: "track" }, this.#ramp, this.#low, this.#high);
    this.#values.append(track, this.#ends);
    this.node.append(
      element(
        "header",
        {},
        this.#title,
        element("div", { class: "control" }, this.#all, this.#none),
      ),
      this.#seek,
      this.#list,
      this.#values,
      this.#note,
      this.#border,
      this.#seams,
    );
    this.#seek.addEventListener("input", actions.redraw, { signal });
    this.#list.addEventListener("pointerleave", () => actions.emphasise(null), { signal });
    this.#list.addEventListener("focusout", () => actions.emphasise(null), { signal });
  }

  /** `seams`: those that are drawn. */
  show(layer: InkLayer | null, border: InkLayer | null, seams: Seams | null, dark: boolean): void {
    const kind = layer?.state.kind ?? "none";
    this.node.hidden = kind === "none" && (border?.state.kind ?? "none") === "none" && !seams;
    this.#title.textContent = kind === "none" ? "" : `Colour: ${layer?.state.label ?? ""}`;
    this.#list.hidden = kind !== "category";
    this.#values.hidden = kind !== "value";
    this.#seek.hidden = kind !== "category" || (layer?.state.categories.length ?? 0) <= MANY;
    this.#all.hidden = kind === "none";
    this.#none.hidden = kind !== "category";
    if (layer !== this.#layer) this.#rebuilt += 1;
    // Other colours: what they mean comes into view.
    if (this.#layer && layer?.state.name !== this.#layer.state.name) bringForward(this.node);
    this.#layer = layer;
    if (layer && kind === "category") this.#showCategories(layer);
    if (layer && kind === "value") this.#showValues(layer, dark);
    const words = [this.#said(layer), layer?.state.meaning ?? ""].filter(Boolean).join(" ");
    if (this.#note.textContent !== words) this.#note.textContent = words;
    this.#note.hidden = words === "";
    this.#showBorder(border, dark);
    this.#seams.hidden = !seams;
    const told = seams ? seamWords(seams) : "";
    if (this.#seams.textContent !== told) this.#seams.textContent = told;
  }

  #said(layer: InkLayer | null): string {
    if (!layer) return "";
    const { kind, categories } = layer.state;
    if (kind === "category") {
      const unlisted = categories.length - LISTED;
      const more = unlisted > 0 ? ` ${counted(unlisted, "more category", "more categories")}.` : "";
      return categories.length > 10 ? `Colours repeat: names tell them apart.${more}` : "";
    }
    if (kind !== "value") return "";
    const range = this.#actions.get("range");
    const [from, to] = kept(range, layer.state.low, layer.state.high);
    let [inside, known] = [0, 0];
    for (const value of layer.values) {
      if (value === NONE) continue;
      known += 1;
      if (value >= from && value <= to) inside += 1;
    }
    const without = layer.values.length - known;
    const missing = without > 0 ? ` ${counted(without, "image")} without a value.` : "";
    return range.length === 2
      ? `${inside.toLocaleString("en")} of ${counted(known, "image")} shown.${missing}`
      : missing.trim();
  }

  #showCategories({ state: { categories } }: InkLayer): void {
    const sought = this.#seek.value;
    rebuild(this.#list, `${this.#rebuilt} ${sought}`, () => {
      this.#checks.clear();
      return listed(categories, sought)
        .slice(0, LISTED)
        .map((category) => this.#line(category));
    });
    const hidden = new Set(this.#actions.get("hidden"));
    for (const [number, check] of this.#checks) check.checked = !hidden.has(number);
  }

  #line({ number, name, count }: { number: number; name: string; count: number }): HTMLElement {
    const check = element("input", { type: "checkbox" });
    check.addEventListener("change", () => this.#toggle(number, check.checked));
    this.#checks.set(number, check);
    const swatch = element("span", { class: "swatch" });
    swatch.style.background = swatchColour(number);
    const only = button("only", `Show only ${name}`, () => this.#only(number), "only");
    const line = element(
      "div",
      { class: "category" },
      element(
        "label",
        {},
        check,
        swatch,
        element("span", { class: "name", title: name }, name),
        element("span", { class: "count" }, count.toLocaleString("en")),
      ),
      only,
    );
    line.addEventListener("pointerenter", () => this.#actions.emphasise(number));
    check.addEventListener("focus", () => {
      if (check.matches(":focus-visible")) this.#actions.emphasise(number);
    });
    return line;
  }

  #toggle(number: number, shown: boolean): void {
    const hidden = new Set(this.#actions.get("hidden"));
    if (shown) hidden.delete(number);
    else hidden.add(number);
    this.#actions.set({ hidden: [...hidden].sort((a, b) => a - b) });
  }

  #only(number: number): void {
    const others = (this.#layer?.state.categories ?? []).filter((one) => one.number !== number);
    this.#actions.set({ hidden: others.map((one) => one.number) });
  }

  #hideAll(): void {
    this.#actions.set({
      hidden: (this.#layer?.state.categories ?? []).map(({ number }) => number),
    });
  }

  #showValues(layer: InkLayer, dark: boolean): void {
    const { low, high, colormap } = layer.state;
    this.#ramp.style.background = gradient(valueColours(colormap, dark));
    const range = this.#actions.get("range");
    const [from, to] = range.length === 2 ? range : [low, high];
    const step = (value: number) => (high > low ? (1000 * (value - low)) / (high - low) : 0);
    const active = (this.node.getRootNode() as ShadowRoot).activeElement;
    if (active !== this.#low) this.#low.value = String(step(from as number));
    if (active !== this.#high) this.#high.value = String(step(to as number));
    const [first, last] = [figure(from as number, low, high), figure(to as number, low, high)];
    this.#low.ariaValueText = first;
    this.#high.ariaValueText = last;
    rebuild(this.#ends, `${first} ${last}`, () => [
      element("span", {}, first),
      element("span", {}, last),
    ]);
    rebuild(this.#bars, String(this.#rebuilt), () => [histogram(layer.values)]);
  }

  #narrow(moved: HTMLInputElement): void {
    const { low = 0, high = 1 } = this.#layer?.state ?? {};
    let [from, to] = [Number(this.#low.value), Number(this.#high.value)];
    if (from > to) {
      if (moved === this.#low) to = from;
      else from = to;
      this.#low.value = String(from);
      this.#high.value = String(to);
    }
    const value = (step: number) => low + ((high - low) * step) / 1000;
    this.#actions.set({ range: from <= 0 && to >= 1000 ? [] : [value(from), value(to)] });
  }

  #showBorder(border: InkLayer | null, dark: boolean): void {
    const kind = border?.state.kind ?? "none";
    this.#border.hidden = kind === "none";
    if (!border || kind === "none") return;
    const { label, categories, colormap, low, high } = border.state;
    rebuild(this.#border, JSON.stringify([label, categories, low, high, dark]), () => [
      element("strong", {}, `Border: ${label} `),
      ...(kind === "category"
        ? categories
            .slice(0, 12)
            .map(({ number, name }) =>
              element("span", { class: "of-border" }, borderSwatch(number), name),
            )
        : [
            figure(low, low, high),
            ramp(gradient(valueColours(colormap, dark))),
            figure(high, low, high),
          ]),
    ]);
  }
}

function seamWords({ strength, meaning }: Seams): string {
  const count = counted(strength.length, "line");
  return (
    `Seams: ${count} between neighbours here that are unlike for the network, ` +
    `the bolder, the more; weaker ones are left out. Strength ${meaning}.`
  );
}

function swatchColour(number: number): string {
  return number < 0 || number === NONE ? "var(--ink-soft)" : css(categoryColour(number));
}

function borderSwatch(number: number): HTMLElement {
  const swatch = element("span", { class: "swatch frame" });
  swatch.style.borderColor = swatchColour(number);
  return swatch;
}

function ramp(background: string): HTMLElement {
  const node = element("span", { class: "ramp short" });
  node.style.background = background;
  return node;
}

/** How many images have which value, as bars over the colours. */
function histogram(values: Uint16Array): SVGElement {
  const counts = binned(values, BINS);
  const most = Math.max(1, ...counts);
  const chart = svg("svg", { viewBox: `0 0 ${BINS} 1`, preserveAspectRatio: "none" });
  counts.forEach((count, i) => {
    const height = count / most;
    chart.append(svg("rect", { x: i + 0.08, y: 1 - height, width: 0.84, height }));
  });
  return chart;
}

export function binned(values: Uint16Array, bins: number): number[] {
  const counts = new Array<number>(bins).fill(0);
  for (const value of values) {
    if (value === NONE) continue;
    const bin = Math.min(bins - 1, Math.floor((value * bins) / NONE));
    counts[bin] = (counts[bin] as number) + 1;
  }
  return counts;
}

/** A value with as many digits as tell it from others of its range. */
export function figure(value: number, low: number, high: number): string {
  const span = Math.abs(high - low);
  if (!(span > 0)) return String(Number(value.toPrecision(3)));
  const decimals = Math.max(0, Math.min(6, 2 - Math.floor(Math.log10(span))));
  const text = value.toFixed(decimals);
  return (text.includes(".") ? text.replace(/0+$/, "").replace(/\.$/, "") : text).replace("-", "−");
}
