/** How the value of one unit came about: the arithmetic of each step, as text and heat maps. */

import { sized } from "../shared/canvas.ts";
import { type Colormap, colormapBytes, colormapGradient } from "../shared/colormaps.ts";
import { button, element } from "../shared/controls.ts";
import {
  channelName,
  decodeTrace,
  format,
  isPadding,
  nameOf,
  peak,
  place,
  type Step,
  short,
  type Term,
  type TraceState,
  verdict,
  written,
} from "./trace-state.ts";

export type { TraceState } from "./trace-state.ts";

export interface TraceActions {
  /** Look at another unit: the one that this contribution came from. */
  open(layer: string, channel: number, row: number, col: number): void;
  announce(text: string): void;
}

export interface TraceColours {
  /** of heat maps; centred at zero */
  colormap?: Colormap;
}

/** Terms that show at once; the others are folded away. */
const OPEN_TERMS = 4;
/** Side of a cell, in CSS pixels, from which on its number is written in it. */
const NUMBER_SIDE = 28;
const OPERATORS = ["×", "="];
const HATCH = "rgb(128 128 128 / 55%)";
const BAD = "#c62828";
const ARROWS: Record<string, [number, number]> = {
  ArrowUp: [-1, 0],
  ArrowDown: [1, 0],
  ArrowLeft: [0, -1],
  ArrowRight: [0, 1],
};

export class TracePanel {
  readonly node = element("section", { class: "trace", "aria-label": "How this value came about" });
  readonly #title = element("h3", { tabindex: "-1" });
  #state: object = {};
  #width = 0;
  #colours = colormapBytes("diverging");
  #gradient = "";

  readonly #signal: AbortSignal;
  readonly #actions: TraceActions;

  constructor(signal: AbortSignal, actions: TraceActions) {
    this.#signal = signal;
    this.#actions = actions;
    this.node.hidden = true;
  }

  show(state: TraceState | object, { colormap = "diverging" }: TraceColours = {}): void {
    this.node.hidden = !("steps" in state);
    const width = this.node.clientWidth || 340;
    const gradient = colormapGradient(colormap);
    if (state === this.#state && width === this.#width && gradient === this.#gradient) return;
    const steps = "steps" in state ? decodeTrace(state) : [];
    this.#state = state;
    this.#width = width;
    this.#gradient = gradient;
    this.#colours = colormapBytes(colormap);
    if (!("steps" in state)) {
      this.node.replaceChildren();
      return;
    }
    const { layer, unit, chosen } = state;
    const focused = this.node.contains((this.node.getRootNode() as ShadowRoot).activeElement);
    const title = `How this value came about: ${layer}, ${place(unit)}`;
    // While a picture changes under the same unit, what is unfolded stays so.
    const same = title === this.#title.textContent;
    const unfolded = same && this.node.querySelector("details[open]") !== null;
    this.#title.textContent = title;
    const list = element("ol", {}, ...steps.map((_, i) => this.#step(steps, i, i === chosen)));
    this.node.replaceChildren(this.#title, list);
    // Whoever stepped back with the keyboard goes on from the top of the new trace.
    if (focused) this.#title.focus();
    if (unfolded) for (const fold of list.querySelectorAll("details")) fold.open = true;
  }

  #step(steps: Step[], i: number, chosen: boolean): HTMLElement {
    const step = steps[i] as Step;
    const { operation, layer, kind, note } = step;
    const heading = element(
      "h4",
      {},
      `${operation[0]?.toUpperCase()}${operation.slice(1)} `,
      element("span", { class: "soft" }, `${layer} (${kind})${chosen ? ", chosen" : ""}`),
    );
    const node = element("li", chosen ? { "aria-current": "step" } : {}, heading);
    if (note) {
      const reads = step.sources.map((name) => name || "the network's input").join(", ");
      node.append(element("p", {}, `${note}.`), element("p", {}, `It reads: ${reads}.`));
    } else {
      // The value of the step before stands above.
      const before = steps[i - 1]?.layer;
      node.append(
        ...this.#terms(
          step,
          step.terms.filter(({ source }) => source !== before),
        ),
      );
      node.append(element("p", { class: "sum" }, written(step.expression)));
    }
    node.append(
      element(
        "p",
        { class: step.agrees ? "result" : "result off" },
        element("b", {}, `${nameOf(steps, i)} ${format(step.value, 6)}`),
        verdict(step),
      ),
    );
    return node;
  }

  #terms(step: Step, terms: Term[]): HTMLElement[] {
    if (terms.length === 0) return [];
    const maps = terms.some(({ shape }) => shape[0] * shape[1] > 1);
    const kinds = maps ? this.#kinds(step) : [];
    const nodes = terms.map((term) =>
      maps ? this.#card(step, term, kinds) : this.#line(step, term),
    );
    const parts: HTMLElement[] = [];
    if (maps) parts.push(this.#legend(kinds));
    const list = (some: HTMLElement[]) =>
      element("div", { class: maps ? "cards" : "lines" }, ...some);
    parts.push(list(nodes.slice(0, OPEN_TERMS)));
    const folded = nodes.slice(OPEN_TERMS);
    if (folded.length > 0) {
      const summary = element("summary", {}, `${folded.length} more, by size`);
      parts.push(element("details", {}, summary, list(folded)));
    }
    if (step.others > 0) {
      const text = `and ${step.others} more channels: sum ${format(step.othersSum)}`;
      parts.push(element("p", {}, text));
    }
    if (step.inputs > OPEN_TERMS) parts.push(...this.#strip(step));
    return parts;
  }

  /** The heat maps of a term: of which array, called what, and the magnitude its colours end at. */
  #kinds(step: Step): Kind[] {
    const names = { patch: "patch", kernel: "kernel", products: "products" } as const;
    const shown = step.operation.endsWith("pooling")
      ? (["patch"] as const)
      : (["patch", "kernel", "products"] as const);
    return shown.map((array) => ({
      array,
      name: step.operation === "linear" && array === "kernel" ? "weights" : names[array],
      end: peak(step.terms.map((term) => term[array])) || 1,
    }));
  }

  #legend(kinds: Kind[]): HTMLElement {
    const bar = () => element("span", { class: "ramp", style: `background: ${this.#gradient}` });
    const parts = kinds.map(({ name, end }) =>
      element("span", {}, `${name} ${format(-end, 2)}`, bar(), format(end, 2)),
    );
    return element("p", { class: "key soft" }, ...parts);
  }

  /** What a term is called: a button where there is a unit to step back to. */
  #source(step: Step, term: Term): HTMLElement {
    const name = channelName(step, term);
    const { source, fromUnit } = term;
    if (!source || !fromUnit || fromUnit[1] < 0) return element("span", { class: "source" }, name);
    const label = `Step back to ${source}, ${place(fromUnit)}`;
    return button(name, label, () => this.#actions.open(source, ...fromUnit), "button source");
  }

  /** A term of single values. */
  #line(step: Step, term: Term): HTMLElement {
    const [x, weight] = [term.patch[0] as number, term.kernel[0] as number];
    const plain = weight === 1 || step.operation === "normalisation";
    const text = plain
      ? format(x)
      : `${format(x)} × ${format(weight)} = ${format(term.products[0] as number)}`;
    return element("div", { class: "line" }, this.#source(step, term), element("span", {}, text));
  }

  #card(step: Step, term: Term, kinds: Kind[]): HTMLElement {
    const [rows, columns] = term.shape;
    const wide = Math.min(this.#width - 24, 480) / kinds.length - 16;
    const side = Math.max(2, Math.min(34, Math.floor(wide / columns), Math.floor(240 / rows)));
    const readout = element("p", { class: "soft readout" });
    const maps = element("div", {
      class: "maps",
      tabindex: "0",
      role: "application",
      "aria-label": `${channelName(step, term)}: ${rows} by ${columns} cells. Arrow keys read them.`,
    });
    const canvases = kinds.map(() => element("canvas"));
    canvases.forEach((canvas, i) => {
      if (i > 0) maps.append(OPERATORS[i - 1] as string);
      maps.append(canvas);
    });
    let at: [number, number] | null = null;
    const draw = () => {
      canvases.forEach((canvas, i) => {
        this.#heatMap(canvas, step, term, kinds[i] as Kind, side, at);
      });
      readout.textContent = at ? readCell(step, term, ...at) : summary(step, term);
    };
    const move = (to: [number, number] | null) => {
      at = to;
      draw();
    };
    const signal = this.#signal;
    maps.addEventListener(
      "pointermove",
      (event) => {
        const canvas = canvases.find((one) => one === event.target);
        move(canvas ? [Math.floor(event.offsetY / side), Math.floor(event.offsetX / side)] : null);
      },
      { signal },
    );
    maps.addEventListener("pointerleave", () => move(null), { signal });
    maps.addEventListener("blur", () => move(null), { signal });
    maps.addEventListener(
      "keydown",
      (event) => {
        const arrow = ARROWS[event.key];
        if (!arrow) return;
        event.preventDefault();
        event.stopPropagation();
        const [row, column] = at ?? [0, 0];
        const next = at ? [row + arrow[0], column + arrow[1]] : [0, 0];
        move([clamp(next[0] as number, rows), clamp(next[1] as number, columns)]);
        this.#actions.announce(readout.textContent ?? "");
      },
      { signal },
    );
    draw();
    return element("div", { class: "card" }, this.#source(step, term), maps, readout);
  }

  #heatMap(
    canvas: HTMLCanvasElement,
    step: Step,
    term: Term,
    { array, end }: Kind,
    side: number,
    at: [number, number] | null,
  ): void {
    const [rows, columns] = term.shape;
    const context = sized(canvas, columns * side, rows * side);
    const winner = step.operation === "max pooling" ? term.kernel : null;
    context.font = "10px system-ui, sans-serif";
    context.textAlign = "center";
    context.textBaseline = "middle";
    for (let i = 0; i < rows * columns; i++) {
      const [row, column] = [Math.floor(i / columns), i % columns];
      const [x, y] = [column * side, row * side];
      const value = term[array][i] as number;
      const known = Number.isFinite(value);
      const padding = array === "patch" && isPadding(step, term, row, column);
      if (known) {
        context.fillStyle = this.#colour(value / end);
        context.fillRect(x, y, side, side);
      }
      if (padding || !known) {
        context.strokeStyle = padding ? HATCH : BAD;
        context.lineWidth = 1;
        context.beginPath();
        context.moveTo(x, y + side);
        context.lineTo(x + side, y);
        context.stroke();
      }
      if (side >= NUMBER_SIDE && end >= 0.01 && (known || !padding)) {
        context.fillStyle = Math.abs(value / end) > 0.55 ? "#fff" : "#000";
        if (!known) context.fillStyle = BAD;
        context.fillText(short(value, end), x + side / 2, y + side / 2, side - 3);
      }
      if (winner && winner[i] === 1) ring(context, x, y, side);
    }
    if (at && !winner) ring(context, at[1] * side, at[0] * side, side);
  }

  #colour(value: number): string {
    const at = 3 * Math.round(127.5 + 127.5 * Math.max(-1, Math.min(1, value)));
    return `rgb(${this.#colours[at]} ${this.#colours[at + 1]} ${this.#colours[at + 2]})`;
  }

  /** A bar for each input channel. */
  #strip(step: Step): HTMLElement[] {
    const { channels, inputs, firstChannel } = step;
    const end = peak([channels]) || 1;
    const each = Math.ceil(inputs / channels.length);
    const label = `Contributions of all ${inputs} channels, ${format(-end, 2)} to ${format(end, 2)}`;
    const canvas = element("canvas", { class: "strip", role: "img", "aria-label": label });
    const width = Math.max(40, this.#width - 24);
    const height = 44;
    const context = sized(canvas, width, height);
    const wide = width / channels.length;
    channels.forEach((value, i) => {
      const tall = Math.max(0.5, (Math.abs(value / end) * height) / 2);
      context.fillStyle = this.#colour(Math.sign(value) * 0.8);
      context.fillRect(
        i * wide,
        value > 0 ? height / 2 - tall : height / 2,
        Math.max(wide, 0.7),
        tall,
      );
    });
    const readout = element("p", { class: "soft" }, label);
    canvas.addEventListener(
      "pointermove",
      ({ offsetX }) => {
        const i = clamp(Math.floor(offsetX / wide), channels.length);
        const first = firstChannel + i * each;
        const name =
          each > 1 ? `channels ${first} to ${first + each - 1}, largest` : `channel ${first}`;
        readout.textContent = `${name}: ${format(channels[i] as number)}`;
      },
      { signal: this.#signal },
    );
    return [canvas, readout];
  }
}

interface Kind {
  array: "patch" | "kernel" | "products";
  name: string;
  end: number;
}

const clamp = (at: number, size: number) => Math.max(0, Math.min(size - 1, at));

function summary(step: Step, term: Term): string {
  if (step.operation === "max pooling") return `largest ${format(term.contribution)}, outlined`;
  const coarse = term.cell[0] * term.cell[1] > 1 ? ` (a cell is ${term.cell.join("×")})` : "";
  const all = step.operation === "average pooling" ? "mean" : "sum of products";
  return `${all} ${format(term.contribution)}${coarse}`;
}

function readCell(step: Step, term: Term, row: number, column: number): string {
  const i = row * term.shape[1] + column;
  const padding = isPadding(step, term, row, column) ? " (padding)" : "";
  const x = `row ${row}, column ${column}: ${format(term.patch[i] as number)}${padding}`;
  if (step.operation.endsWith("pooling")) return x;
  return `${x} × ${format(term.kernel[i] as number)} = ${format(term.products[i] as number)}`;
}

/** Two rings, dark in light, so that they show on any colour. */
function ring(context: CanvasRenderingContext2D, x: number, y: number, side: number): void {
  for (const [colour, inset] of [
    ["#fff", 0.5],
    ["#000", 1.5],
  ] as const) {
    context.strokeStyle = colour;
    context.lineWidth = 1;
    context.strokeRect(x + inset, y + inset, side - 2 * inset, side - 2 * inset);
  }
}
