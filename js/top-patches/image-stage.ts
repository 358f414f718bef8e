/** A whole image with what a unit sees of it, the channel's map over it, and a box to be dragged. */

import { contextOf, sized } from "../shared/canvas.ts";
import { colormapGradient, colormapPixels } from "../shared/colormaps.ts";
import { element, labelled } from "../shared/controls.ts";
import { outline } from "../shared/tile-grid.ts";
import type { View } from "../shared/view.ts";
import type { Answer, WireArray } from "../shared/wire.ts";
import {
  dragged,
  isBox,
  isDrag,
  keyed,
  middleBox,
  type Point,
  type Sides,
  withSide,
} from "./box.ts";
import { className, decimalsFor, figure, type Names, percent } from "./overview.ts";
import type { Box, ImageState } from "./state.ts";
import { decodeFile, filesOf } from "./strips.ts";

export interface StageActions {
  /** the box changed; `done` when the hand is off it */
  box(box: Box | null, done: boolean): void;
  image(number: number): void;
  failed(message: string): void;
}

interface Shown {
  state: ImageState;
  bitmap: ImageBitmap | null;
  map: HTMLCanvasElement | null;
  /** where the map lies: top, left, bottom, right in pixels of the input */
  extent: Box;
}

interface Scale {
  from: number;
  to: number;
  colours: "diverging" | "sequential";
  /** of the colour of a level of the map */
  indexOf(byte: number): number;
}

const SIDES = ["top", "left", "bottom", "right"];

export class ImageStage {
  readonly node: HTMLElement;
  readonly #canvas = element("canvas", {
    class: "whole",
    tabindex: "0",
    role: "application",
    "aria-label":
      "The whole image. Drag a box, or use the arrow keys: they move it, with Shift they resize it.",
  });
  readonly #opacity = element("input", { type: "range", min: "0", max: "1", step: "0.05" });
  readonly #over: HTMLElement;
  readonly #numbers: HTMLInputElement[];
  readonly #which = element("input", { type: "number", min: "0", class: "number" });
  readonly #caption = element("p", { class: "caption" });
  readonly #legend = element("p", { class: "legend" });
  #shown: Shown | null = null;
  /** what a drag under way covers; null where the trait tells */
  #drag: { from: Point; at: [number, number]; box: Box | null } | null = null;
  #box: number[] = [];

  readonly #view: View;
  readonly #actions: StageActions;

  constructor(view: View, actions: StageActions) {
    this.#view = view;
    this.#actions = actions;
    const { signal } = view;
    this.#opacity.value = "0.5";
    this.#opacity.addEventListener("input", () => view.redraw(), { signal });
    this.#which.addEventListener("change", () => this.#chooseImage(), { signal });
    this.#numbers = SIDES.map((side, i) => {
      const input = element("input", { type: "number", class: "number", "aria-label": side });
      input.addEventListener("change", () => this.#typed(i as 0, Number(input.value)), { signal });
      return input;
    });
    this.#over = labelled("Map over it", this.#opacity);
    this.node = element(
      "div",
      { class: "stage" },
      labelled("Image", this.#which),
      this.#canvas,
      this.#caption,
      this.#over,
      this.#legend,
      element("p", { class: "soft" }, "Your box (dashed), in pixels: drag one on the image."),
      element(
        "div",
        { class: "box-numbers", role: "group", "aria-label": "Box in pixels" },
        ...this.#numbers.map((input, i) => labelled(SIDES[i] as string, input)),
      ),
    );
    this.#listen(signal);
  }

  get sides(): Sides {
    const [height, width] = this.#shown?.state.size ?? [];
    return [height ?? 1, width ?? 1];
  }

  holds(layer: string, channel: number, image: number, unit: number[]): boolean {
    const state = this.#shown?.state;
    if (state?.layer !== layer || state.channel !== channel) return false;
    return state.image === image && String(state.unit) === String(unit);
  }

  take(state: ImageState, arrays: Answer["arrays"]): void {
    this.#shown?.bitmap?.close();
    const [height, width] = state.size as Sides;
    const rows = arrays.get("rows_edges")?.data ?? [0, height];
    const columns = arrays.get("cols_edges")?.data ?? [0, width];
    const map = arrays.get("map");
    const shown: Shown = {
      state,
      bitmap: null,
      map: map && map.data.length > 0 ? mapCanvas(map, scaleOf(state)) : null,
      extent: [rows[0], columns[0], rows[rows.length - 1], columns[columns.length - 1]] as Box,
    };
    this.#shown = shown;
    const [file] = filesOf(new Map([...arrays, ["lengths", lengthOf(arrays.get("bytes"))]]));
    if (file) {
      decodeFile(file).then(
        (bitmap) => {
          if (this.#shown !== shown) return bitmap.close();
          shown.bitmap = bitmap;
          this.#view.redraw();
        },
        (error) => this.#actions.failed(`The image cannot be drawn: ${error}`),
      );
    }
    this.#view.redraw();
  }

  /** `current`: what is shown is what was chosen. */
  show(image: number, box: number[], names: Names, room: number, current: boolean): void {
    this.#box = box;
    if (this.#view.root.activeElement !== this.#which) this.#which.value = String(image);
    this.node.classList.toggle("pending", !current);
    const shown = this.#shown;
    this.#over.hidden = this.#legend.hidden = !shown?.map;
    if (!shown) {
      this.#caption.textContent = "The whole image comes from Python …";
      sized(this.#canvas, room, Math.min(room, 240));
      return;
    }
    this.#caption.textContent = current ? captionOf(shown.state, names) : "Waiting for Python …";
    if (shown.map) this.#showLegend(shown.state);
    this.#paint(shown, room);
    this.#showNumbers();
  }

  #paint({ state, bitmap, map, extent }: Shown, room: number): void {
    const [height, width] = this.sides;
    // Few pixels are drawn large, but a small image is not blown up to the whole page.
    const scale = Math.min(room / width, 420 / height);
    const [across, down] = [Math.round(width * scale), Math.round(height * scale)];
    const context = sized(this.#canvas, across, down);
    context.imageSmoothingEnabled = scale < 1;
    if (bitmap) context.drawImage(bitmap, 0, 0, across, down);
    if (map) {
      const [top, left, bottom, right] = extent;
      context.globalAlpha = Number(this.#opacity.value);
      context.imageSmoothingEnabled = false;
      const [wide, tall] = [(right - left) * scale, (bottom - top) * scale];
      context.drawImage(map, left * scale, top * scale, wide, tall);
      context.globalAlpha = 1;
    }
    const draw = (box: number[], thick: number, dashes: number[]) => {
      const [top, left, bottom, right] = box as Box;
      context.setLineDash(dashes);
      // Inside of the canvas even where the unit sees beyond the image.
      const [x, y] = [Math.max(0, left) * scale, Math.max(0, top) * scale];
      const wide = Math.max(4, Math.min(width, right) * scale - x);
      const tall = Math.max(4, Math.min(height, bottom) * scale - y);
      outline(context, Math.min(x, across - 4), Math.min(y, down - 4), wide, tall, thick);
      context.setLineDash([]);
    };
    if (state.box.length === 4) draw(state.box, 2, []);
    const chosen = this.#drag?.box ?? this.#box;
    if (chosen.length === 4) draw(chosen, 1.5, [5, 4]);
  }

  #showLegend(state: ImageState): void {
    const { from, to, colours } = scaleOf(state);
    const bar = element("span", { class: "bar", "aria-hidden": "true" });
    bar.style.background = colormapGradient(colours);
    const digits = decimalsFor([from, to]);
    this.#legend.replaceChildren(figure(from, digits), bar, figure(to, digits));
  }

  #showNumbers(): void {
    const box = this.#drag?.box ?? this.#box;
    const sides = this.sides;
    this.#numbers.forEach((input, side) => {
      if (this.#view.root.activeElement === input) return;
      input.value = box.length === 4 ? String(box[side]) : "";
      input.min = side < 2 ? "0" : "1";
      input.max = String(sides[side % 2]);
    });
  }

  #listen(signal: AbortSignal): void {
    const canvas = this.#canvas;
    canvas.addEventListener(
      "pointerdown",
      (event) => {
        if (event.button !== 0 || !this.#shown) return;
        // A hand that leaves the image goes on dragging.
        canvas.setPointerCapture(event.pointerId);
        const at: [number, number] = [event.clientX, event.clientY];
        this.#drag = { from: this.#pointAt(event), at, box: null };
      },
      { signal },
    );
    canvas.addEventListener(
      "pointermove",
      (event) => {
        const drag = this.#drag;
        if (!drag || !(drag.box || isDrag(drag.at, [event.clientX, event.clientY]))) return;
        drag.box = dragged(drag.from, this.#pointAt(event), this.sides);
        this.#view.redraw();
      },
      { signal },
    );
    const end = (taken: boolean) => {
      const drag = this.#drag;
      this.#drag = null;
      if (!drag) return;
      if (taken) this.#actions.box(drag.box, true);
      this.#view.redraw();
    };
    canvas.addEventListener("pointerup", () => end(true), { signal });
    canvas.addEventListener("pointercancel", () => end(false), { signal });
    canvas.addEventListener("keydown", (event) => this.#key(event), { signal });
  }

  #pointAt(event: PointerEvent): Point {
    const box = this.#canvas.getBoundingClientRect();
    const [height, width] = this.sides;
    return [
      ((event.clientY - box.top) / box.height) * height,
      ((event.clientX - box.left) / box.width) * width,
    ];
  }

  #key(event: KeyboardEvent): void {
    if (event.ctrlKey || event.metaKey || event.altKey || !this.#shown) return;
    const { sides } = this;
    if (event.key === "Delete" || event.key === "Backspace") this.#choose(null);
    else if (event.key === "Enter" || event.key.startsWith("Arrow")) {
      const box = isBox(this.#box, sides) ? this.#box : null;
      const step = Math.max(1, Math.round(Math.max(...sides) / 32));
      const next = box ? keyed(box, event.key, step, event.shiftKey, sides) : middleBox(sides);
      this.#choose(next);
    } else return;
    event.preventDefault();
    event.stopPropagation();
  }

  #typed(side: 0 | 1 | 2 | 3, value: number): void {
    const { sides } = this;
    const box: Box = isBox(this.#box, sides) ? this.#box : [0, 0, ...sides];
    this.#choose(withSide(box, side, value, sides));
  }

  /** Kept at once: the next key may come before the view has drawn again. */
  #choose(box: Box | null): void {
    this.#box = box ?? [];
    this.#actions.box(box, true);
  }

  #chooseImage(): void {
    const number = Math.round(Number(this.#which.value));
    if (Number.isFinite(number) && number >= 0) this.#actions.image(number);
  }
}

function lengthOf(bytes: WireArray | undefined): WireArray {
  return { data: Int32Array.of(bytes?.data.length ?? 0), shape: [1] };
}

/** Colours as everywhere: about zero where the map has negative values, else from its lowest. */
function scaleOf({ low, high }: ImageState): Scale {
  const most = Math.max(Math.abs(low), Math.abs(high));
  const centred = low < 0;
  const [from, to] = centred ? [-most, most] : [low, high];
  const colours = centred ? "diverging" : "sequential";
  const indexOf = (byte: number) => {
    const value = low + (byte / 255) * (high - low);
    return Math.round((255 * (value - from)) / (to - from || 1));
  };
  return { from, to, colours, indexOf };
}

function mapCanvas({ data, shape }: WireArray, scale: Scale): HTMLCanvasElement {
  const canvas = document.createElement("canvas");
  [canvas.height, canvas.width] = shape as [number, number];
  const context = contextOf(canvas);
  const image = context.createImageData(canvas.width, canvas.height);
  const pixels = new Uint32Array(image.data.buffer);
  const colours = colormapPixels(scale.colours);
  pixels.forEach((_, i) => {
    pixels[i] = colours[scale.indexOf(data[i] as number)] as number;
  });
  context.putImageData(image, 0, 0);
  return canvas;
}

function captionOf(state: ImageState, { classes, outputs }: Names): string {
  const parts = [`Image ${state.image}`];
  if (state.label >= 0) parts.push(state.name || className(classes, state.label));
  const confidence = Number(state.confidence ?? Number.NaN);
  if (state.predicted >= 0) {
    parts.push(`taken for ${className(outputs, state.predicted)} (${percent(confidence)})`);
  }
  const value = Number(state.value ?? Number.NaN);
  if (Number.isFinite(value)) {
    const where =
      state.place.length === 2
        ? ` in row ${state.place[0]}, column ${state.place[1]}, which sees the frame`
        : "";
    parts.push(`${figure(value, decimalsFor([value]))}${where}`);
  }
  return parts.join(" · ");
}
