/** How strongly a channel answers to the images of the data, with the samples marked. */

import { element, svg } from "../shared/controls.ts";
import type { TypedArray } from "../shared/wire.ts";
import { bars, countHeight, countTicks, edgeTicks, highest, placeOf } from "./histogram.ts";
import { decimalsFor, figure } from "./overview.ts";
import type { GroupEntry } from "./state.ts";

export interface Distribution {
  edges: TypedArray;
  counts: TypedArray;
  /** of the shares in `QUANTILES` */
  quantiles: TypedArray;
}

const QUANTILES = [0.5, 0.9, 0.99, 0.999];
const [LEFT, RIGHT, TOP, BOTTOM] = [48, 8, 16, 40];
const TALL = 116;
/** What marks a sample of each group; told apart by form, not by colour. */
export const MARKS: Record<GroupEntry["name"], [string, string]> = {
  top: ["M0,-5 L4.5,4 L-4.5,4 Z", "▲"],
  middle: ["M-3.5,-3.5 h7 v7 h-7 Z", "■"],
  bottom: ["M0,5 L4.5,-4 L-4.5,-4 Z", "▼"],
};

export class HistogramChart {
  readonly node = element("figure", { class: "histogram" });
  #drawn: unknown[] = [];
  #pointer: SVGElement | null = null;
  #across: (value: number) => number | null = () => null;

  /** `samples`: values of the groups, by group. */
  show(distribution: Distribution, samples: [GroupEntry["name"], number[]][], title: string): void {
    const width = Math.max(220, this.node.clientWidth || 320);
    const drawn = [distribution, width];
    if (drawn.every((part, i) => part === this.#drawn[i])) return;
    this.#drawn = drawn;
    const { edges, counts, quantiles } = distribution;
    const inner = width - LEFT - RIGHT;
    const x = (fraction: number) => LEFT + fraction * inner;
    const y = (height: number) => TOP + (1 - height) * TALL;
    this.#across = (value) => {
      const place = placeOf(value, edges);
      return place === null ? null : x(place);
    };
    const chart = svg("svg", {
      viewBox: `0 0 ${width} ${TOP + TALL + BOTTOM}`,
      width,
      height: TOP + TALL + BOTTOM,
      role: "img",
      "aria-label": title,
    });
    this.#axes(chart, distribution, width, y);
    for (const bar of bars(edges, counts)) {
      if (bar.count === 0) continue;
      const node = svg("rect", {
        class: "bin",
        x: x(bar.left) + 0.5,
        y: y(bar.height),
        width: Math.max(1, (bar.right - bar.left) * inner - 1),
        height: Math.max(1, bar.height * TALL),
      });
      const digits = decimalsFor([bar.from, bar.to]);
      const [from, to] = [figure(bar.from, digits), figure(bar.to, digits)];
      node.append(svg("title", {}, `${from} to ${to}: ${bar.count.toLocaleString("en")}`));
      chart.append(node);
    }
    this.#quantiles(chart, quantiles, width);
    this.#samples(chart, samples);
    this.#pointer = svg("line", { class: "pointer", y1: TOP, y2: TOP + TALL + 20, x1: 0, x2: 0 });
    this.#pointer.setAttribute("visibility", "hidden");
    chart.append(this.#pointer);
    const key = samples.map(([name]) => `${MARKS[name][1]} ${name}`).join("  ");
    this.node.replaceChildren(
      chart,
      element("figcaption", {}, `Images by this channel's peak (log scale). ${key}`),
    );
  }

  /** Show where one value stands; null for none. */
  point(value: number | null): void {
    const at = value === null ? null : this.#across(value);
    const line = this.#pointer;
    if (!line) return;
    line.setAttribute("visibility", at === null ? "hidden" : "visible");
    if (at !== null) {
      line.setAttribute("x1", String(at));
      line.setAttribute("x2", String(at));
    }
  }

  #axes(
    chart: SVGElement,
    { edges, counts }: Distribution,
    width: number,
    y: (h: number) => number,
  ) {
    const most = highest(counts);
    for (const tick of countTicks(most)) {
      const at = y(countHeight(tick, most));
      chart.append(
        svg("line", { class: "rule", x1: LEFT, x2: width - RIGHT, y1: at, y2: at }),
        svg("text", { x: LEFT - 5, y: at + 4, "text-anchor": "end" }, tick.toLocaleString("en")),
      );
    }
    chart.append(svg("line", { class: "base", x1: LEFT, x2: width - RIGHT, y1: y(0), y2: y(0) }));
    const finite = [...edges].filter(Number.isFinite);
    const digits = Math.min(2, decimalsFor(finite));
    const ticks = edgeTicks(edges, Math.max(2, Math.floor(width / 70)));
    ticks.forEach((tick, i) => {
      const at = LEFT + (tick / (edges.length - 1)) * (width - LEFT - RIGHT);
      const value = edges[tick] as number;
      const text = figure(value, Math.abs(value) < 0.1 && value !== 0 ? 3 : digits);
      const anchor = i === ticks.length - 1 && at > width - 30 ? "end" : "middle";
      chart.append(svg("text", { x: at, y: TOP + TALL + 36, "text-anchor": anchor }, text));
    });
  }

  #quantiles(chart: SVGElement, quantiles: TypedArray, width: number): void {
    let last = -100;
    QUANTILES.forEach((share, i) => {
      const value = quantiles[i];
      const at = value === undefined ? null : this.#across(value);
      if (at === null) return;
      const line = svg("line", { class: "quantile", x1: at, x2: at, y1: TOP, y2: TOP + TALL });
      line.append(svg("title", {}, `${100 * share} % of the images stay below ${value}`));
      chart.append(line);
      if (at - last < 36) return;
      last = at;
      const x = Math.min(at, width - 18);
      chart.append(svg("text", { x, y: TOP - 4, "text-anchor": "middle" }, `${100 * share} %`));
    });
  }

  #samples(chart: SVGElement, samples: [GroupEntry["name"], number[]][]): void {
    for (const [name, values] of samples) {
      for (const value of values) {
        const at = this.#across(value);
        if (at === null) continue;
        chart.append(
          svg("path", {
            class: `sample ${name}`,
            d: MARKS[name][0],
            transform: `translate(${at} ${TOP + TALL + 12})`,
          }),
        );
      }
    }
  }
}
