/** The layers in order, with branches beside the trunk and the strongest map of each. */

import { colormapPixels } from "../shared/colormaps.ts";
import { element } from "../shared/controls.ts";
import { reveal } from "../shared/tiles.ts";
import { themeColour, type View } from "../shared/view.ts";
import { unpack } from "../shared/wire.ts";
import type { LayerEntry, RailState } from "./state.ts";

/** CSS pixels; the style sheet has the same height. */
const ROW = 40;
const THUMBNAIL = 32;
const LANE = 8;
const MOST_LANES = 6;

interface Thumbnail {
  rows: number;
  columns: number;
  start: number;
}

export class Rail {
  readonly node: HTMLElement;
  readonly #list = element("div", { class: "layers" });
  readonly #canvas = element("canvas", { "aria-hidden": "true" });
  #layers: LayerEntry[] = [];
  #rows: HTMLElement[] = [];
  #state: RailState | null = null;
  #pixels: Uint8Array = new Uint8Array(0);
  #thumbnails: Thumbnail[] = [];
  #chosen = -1;
  readonly #patch = document.createElement("canvas");

  readonly #view: View;
  readonly #choose: (layer: string) => void;
  /** the layer that is chosen, drawn or not yet */
  readonly #current: () => string;

  constructor(view: View, current: () => string, choose: (layer: string) => void) {
    this.#current = current;
    this.#view = view;
    this.#choose = choose;
    this.node = element(
      "div",
      { class: "rail", tabindex: "0", role: "listbox", "aria-label": "Layers, in order" },
      element("div", { class: "ways" }, this.#canvas),
      this.#list,
    );
    const { signal } = view;
    this.node.addEventListener("scroll", () => view.redraw(), { signal });
    this.node.addEventListener("keydown", (event) => this.#key(event), { signal });
    this.#list.addEventListener(
      "click",
      (event) => {
        const row = (event.target as Element).closest<HTMLElement>("[data-layer]");
        if (row) this.#choose(row.dataset.layer as string);
      },
      { signal },
    );
  }

  /** Number of the layer that is `step` drawable layers away; the same where there is none. */
  neighbour(layer: string, step: number): string {
    let at = this.#layers.findIndex((entry) => entry.name === layer);
    for (let left = Math.abs(step), next = at; left > 0; ) {
      next += Math.sign(step);
      const entry = this.#layers[next];
      if (!entry) break;
      if (entry.problem) continue;
      at = next;
      left -= 1;
    }
    return this.#layers[at]?.name ?? layer;
  }

  show(layers: LayerEntry[], state: RailState, chosen: string, stale: boolean): void {
    if (layers !== this.#layers) {
      this.#layers = layers;
      this.#rows = layers.map(row);
      this.#list.replaceChildren(...this.#rows);
      this.#chosen = -1;
    }
    this.node.classList.toggle("stale", stale);
    const at = layers.findIndex((entry) => entry.name === chosen);
    if (at !== this.#chosen) {
      this.#rows[this.#chosen]?.setAttribute("aria-selected", "false");
      const there = this.#rows[at];
      there?.setAttribute("aria-selected", "true");
      if (there) this.node.setAttribute("aria-activedescendant", there.id);
      this.#chosen = at;
      const { scrollTop, clientHeight } = this.node;
      if (clientHeight > 0) {
        // One more row before and after, so that one sees what comes.
        const top = reveal(scrollTop, clientHeight, (at - 1) * ROW, 3 * ROW);
        if (top !== scrollTop) this.node.scrollTop = top;
      }
    }
    if (state !== this.#state && Array.isArray(state.arrays)) this.#decode(state);
    this.#draw();
  }

  #decode(state: RailState): void {
    this.#state = state;
    const arrays = unpack(state.arrays, state.buffers);
    this.#pixels = (arrays.get("thumbnails")?.data as Uint8Array | undefined) ?? new Uint8Array(0);
    const sizes = arrays.get("sizes")?.data ?? [];
    let start = 0;
    this.#thumbnails = this.#layers.map((_, i) => {
      const rows = (sizes[2 * i] as number) ?? 0;
      const columns = (sizes[2 * i + 1] as number) ?? 0;
      start += rows * columns;
      return { rows, columns, start: start - rows * columns };
    });
  }

  get #lanes(): number {
    return Math.min(MOST_LANES, 1 + Math.max(0, ...this.#layers.map((entry) => entry.lane)));
  }

  #x(lane: number): number {
    return 6 + Math.min(lane, MOST_LANES - 1) * LANE;
  }

  #draw(): void {
    const density = window.devicePixelRatio || 1;
    const { node } = this;

    const canvas = this.#canvas;
    const left = 6 + this.#lanes * LANE + 4;
    const width = left + THUMBNAIL + 4;
    const height = node.clientHeight;
    node.style.setProperty("--gutter", `${width}px`);
    if (canvas.width !== Math.round(width * density)) canvas.width = Math.round(width * density);
    if (canvas.height !== Math.round(height * density)) {
      canvas.height = Math.round(height * density);
    }
    canvas.style.width = `${width}px`;
    canvas.style.height = `${height}px`;
    const context = canvas.getContext("2d");
    if (!context) throw new Error("this browser gave no canvas to draw on");
    context.setTransform(density, 0, 0, density, 0, -node.scrollTop * density);
    context.clearRect(0, node.scrollTop, width, height);
    const first = Math.max(0, Math.floor(node.scrollTop / ROW));
    const last = Math.min(this.#layers.length - 1, Math.ceil((node.scrollTop + height) / ROW));
    const ink = `rgb(${themeColour(this.#view, "--ink-soft").join(" ")})`;
    const accent = `rgb(${themeColour(this.#view, "--accent").join(" ")})`;
    this.#drawWays(context, first, last, ink);
    for (let i = first; i <= last; i++) {
      const entry = this.#layers[i] as LayerEntry;
      context.fillStyle = i === this.#chosen ? accent : ink;
      context.beginPath();
      context.arc(this.#x(entry.lane), (i + 0.5) * ROW, i === this.#chosen ? 4.5 : 3, 0, 7);
      context.fill();
      this.#drawThumbnail(context, i, left);
    }
  }

  /** A line from every layer to those that read it: the trunk straight, skips as arcs. */
  #drawWays(context: CanvasRenderingContext2D, first: number, last: number, ink: string): void {
    context.strokeStyle = ink;
    this.#layers.forEach((entry, to) => {
      for (const from of entry.inputs) {
        if (to < first || from > last) continue;
        const source = this.#layers[from];
        const x0 = this.#x(source?.lane ?? 0);
        const x1 = this.#x(entry.lane);
        const y0 = source ? (from + 0.5) * ROW : 0;
        const y1 = (to + 0.5) * ROW;
        const trunk = entry.lane === 0 && (source?.lane ?? 0) === 0;
        const near = to - from === 1 || !this.#between(from, to, entry.lane);
        context.lineWidth = trunk && near ? 2 : 1.2;
        context.globalAlpha = near ? 0.9 : 0.5;
        context.beginPath();
        context.moveTo(x0, y0);
        if (x0 === x1 && near) context.lineTo(x1, y1);
        else if (x0 === x1) {
          const out = x0 + LANE * 0.8;
          context.bezierCurveTo(out, y0 + ROW * 0.5, out, y0 + ROW * 0.5, out, y0 + ROW * 0.6);
          context.lineTo(out, y1 - ROW * 0.6);
          context.bezierCurveTo(out, y1 - ROW * 0.5, out, y1 - ROW * 0.5, x1, y1);
        } else if (x1 > x0) {
          context.bezierCurveTo(x0, y0 + ROW * 0.5, x1, y0 + ROW * 0.3, x1, y0 + ROW * 0.8);
          context.lineTo(x1, y1);
        } else {
          context.lineTo(x0, y1 - ROW * 0.8);
          context.bezierCurveTo(x0, y1 - ROW * 0.3, x1, y1 - ROW * 0.5, x1, y1);
        }
        context.stroke();
      }
    });
    context.globalAlpha = 1;
  }

  /** Whether another layer stands on a lane between two. */
  #between(from: number, to: number, lane: number): boolean {
    for (let i = from + 1; i < to; i++) if (this.#layers[i]?.lane === lane) return true;
    return false;
  }

  #drawThumbnail(context: CanvasRenderingContext2D, i: number, left: number): void {
    const thumbnail = this.#thumbnails[i];
    if (!thumbnail || thumbnail.rows * thumbnail.columns === 0) return;
    const { rows, columns, start } = thumbnail;
    const patch = this.#patch;
    patch.width = columns;
    patch.height = rows;
    const own = patch.getContext("2d");
    if (!own) return;
    const image = own.createImageData(columns, rows);
    const colours = colormapPixels("sequential");
    const pixels = new Uint32Array(image.data.buffer);
    for (let p = 0; p < pixels.length; p++) {
      pixels[p] = colours[this.#pixels[start + p] as number] as number;
    }
    own.putImageData(image, 0, 0);
    const scale = THUMBNAIL / Math.max(rows, columns);
    const width = Math.max(2, columns * scale);
    const height = Math.max(2, rows * scale);
    context.imageSmoothingEnabled = false;
    context.drawImage(
      patch,
      left + (THUMBNAIL - width) / 2,
      (i + 0.5) * ROW - height / 2,
      width,
      height,
    );
  }

  #key(event: KeyboardEvent): void {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const steps: Record<string, number> = {
      ArrowUp: -1,
      ArrowDown: 1,
      PageUp: -5,
      PageDown: 5,
      Home: -this.#layers.length,
      End: this.#layers.length,
    };
    const step = steps[event.key];
    if (step === undefined) return;
    event.preventDefault();
    event.stopPropagation();
    this.#choose(this.neighbour(this.#current(), step));
  }
}

function row(entry: LayerEntry, i: number): HTMLElement {
  const node = element(
    "div",
    { class: "layer", role: "option", id: `layer-${i}`, "aria-selected": "false" },
    element("span", { class: "name" }, entry.name),
    element(
      "span",
      { class: "facts" },
      entry.problem
        ? "not drawn"
        : [entry.shape, entry.coarse, entry.field].filter(Boolean).join(" · "),
    ),
  );
  node.title = [entry.name, entry.kind, entry.shape, entry.sees, entry.problem]
    .filter(Boolean)
    .join("\n");
  if (entry.problem) node.setAttribute("aria-disabled", "true");
  else node.dataset.layer = entry.name;
  return node;
}
