/** The picture with the map over it, masks to be dragged, and boxes of the evidence. */

import { canvasOf, imageData, sized } from "../shared/canvas.ts";
import { element } from "../shared/controls.ts";
import { outline } from "../shared/tile-grid.ts";
import { unpack } from "../shared/wire.ts";
import type { Field } from "./field.ts";
import { MaskLayer, type MaskLayerOptions } from "./mask-layer.ts";
import { type Colours, drawLetters, drawPicture, FieldPainter, frameCell } from "./paint.ts";
import type { Reading } from "./reading.ts";
import type { Box, EvidenceState, PictureState, ReplacementState } from "./state.ts";

export interface Overlay {
  /** what cells and letters are of; null for a difference */
  reading: Reading | null;
  field: Field;
  colours: Colours;
  opacity: number;
  /** cell under the cursor of the keyboard, or -1 */
  cell: number;
}

export interface PaneActions extends Omit<MaskLayerOptions, "height" | "width"> {
  /** a key moved the cursor among the map's cells */
  cell(event: KeyboardEvent): void;
  focused(within: boolean): void;
}

export class PicturePane {
  readonly node: HTMLElement;
  /** null until there is a picture */
  layer: MaskLayer | null = null;
  readonly #picture = element("canvas", { class: "picture", role: "img" });
  readonly #cells = element("canvas", { class: "over", role: "application", tabindex: "-1" });
  readonly #marks = element("canvas", { class: "over", "aria-hidden": "true" });
  readonly #stage: HTMLElement;
  readonly #painter = new FieldPainter();
  readonly #actions: PaneActions;
  #source: HTMLCanvasElement | null = null;
  #decoded: unknown = null;
  #preview: unknown = null;

  constructor(signal: AbortSignal, actions: PaneActions) {
    this.#actions = actions;
    this.#stage = element("div", { class: "stage" }, this.#picture, this.#cells, this.#marks);
    this.node = element("div", { class: "pane" }, this.#stage);
    this.#cells.addEventListener("keydown", (event) => actions.cell(event), { signal });
    this.#cells.addEventListener("focus", () => actions.focused(true), { signal });
    this.#cells.addEventListener("blur", () => actions.focused(false), { signal });
    signal.addEventListener("abort", () => this.layer?.destroy());
  }

  /** The picture as pixels; null before one came. */
  get source(): HTMLCanvasElement | null {
    return this.#source;
  }

  /** CSS pixels to a pixel of the picture. */
  get scale(): number {
    return this.#source ? this.#stage.clientWidth / this.#source.width : 1;
  }

  take(state: PictureState | Record<string, never>, replacement: ReplacementState | object): void {
    if (state !== this.#decoded && Array.isArray(state.arrays)) {
      this.#decoded = state;
      const pixels = unpack(state.arrays, state.buffers).get("pixels");
      if (!pixels) throw new Error("the picture came without its pixels");
      this.#source = canvasOf(imageData(pixels));
      this.#openLayer(this.#source.height, this.#source.width);
    }
    if (replacement === this.#preview || !this.layer || !this.#source) return;
    const { arrays, buffers } = replacement as ReplacementState;
    if (!Array.isArray(arrays)) return;
    const pixels = unpack(arrays, buffers).get("pixels");
    const [height, width] = pixels?.shape ?? [];
    // One of another size belongs to a picture that is still under way.
    if (!pixels || height !== this.#source.height || width !== this.#source.width) return;
    this.#preview = replacement;
    this.layer.setPreview(imageData(pixels));
  }

  #openLayer(height: number, width: number): void {
    const old = this.layer;
    if (old && this.#size === `${height} ${width}`) return;
    this.#size = `${height} ${width}`;
    old?.destroy();
    this.#preview = null;
    this.layer = new MaskLayer(this.#stage, { ...this.#actions, height, width });
    if (old) this.layer.set(old.masks, false);
  }
  #size = "";

  show(caption: string, overlay: Overlay | null, label: string, room: number): void {
    const source = this.#source;
    if (!source) return;
    const scale = Math.min(room / source.width, room / source.height);
    const [width, height] = [Math.round(source.width * scale), Math.round(source.height * scale)];
    this.#stage.style.width = `${width}px`;
    this.#stage.style.height = `${height}px`;
    this.#picture.setAttribute("aria-label", caption);
    drawPicture(sized(this.#picture, width, height), source, width, height);
    const context = sized(this.#cells, width, height);
    this.#cells.hidden = !overlay || overlay.opacity === 0;
    this.#cells.tabIndex = overlay?.reading ? 0 : -1;
    this.#cells.setAttribute("aria-label", label);
    if (overlay) drawOverlay(context, overlay, this.#painter, scale, width, height);
  }

  /** Regions by rank, known boxes dashed, one of the regions thick. */
  mark(evidence: EvidenceState | null, chosen: number): void {
    const { width, height } = this.#picture;
    const density = window.devicePixelRatio || 1;
    const context = sized(this.#marks, width / density, height / density);
    if (!evidence) return;
    for (const box of evidence.boxes) {
      context.setLineDash([6, 4]);
      this.#box(context, box, 2);
      context.setLineDash([]);
      this.#tag(context, "known", box[1] * this.scale, box[2] * this.scale, "#000", "#fff");
    }
    for (const { rank, box } of evidence.regions) {
      this.#box(context, box, rank === chosen ? 3 : 1.5);
      const [top, left] = box;
      this.#tag(context, String(rank), left * this.scale, top * this.scale, "#fff", "#000");
    }
  }

  #box(context: CanvasRenderingContext2D, box: Box, thick: number): void {
    const [top, left, bottom, right] = box.map((at) => at * this.scale) as Box;
    outline(context, left, top, Math.max(6, right - left), Math.max(6, bottom - top), thick);
  }

  #tag(
    context: CanvasRenderingContext2D,
    text: string,
    x: number,
    y: number,
    paper: string,
    ink: string,
  ): void {
    context.font = "700 12px system-ui, sans-serif";
    context.textBaseline = "middle";
    context.textAlign = "center";
    const wide = Math.max(18, context.measureText(text).width + 8);
    const stage = this.#stage;
    const left = Math.max(0, Math.min(x, stage.clientWidth - wide));
    const top = Math.max(0, Math.min(y, stage.clientHeight - 18));
    context.fillStyle = paper;
    context.fillRect(left, top, wide, 18);
    context.fillStyle = ink;
    context.fillText(text, left + wide / 2, top + 9.5);
  }
}

function drawOverlay(
  context: CanvasRenderingContext2D,
  { field, colours, opacity, reading, cell }: Overlay,
  painter: FieldPainter,
  scale: number,
  width: number,
  height: number,
): void {
  painter.draw(context, field, colours, opacity, width, height);
  if (!reading) return;
  drawLetters(context, reading, scale);
  if (cell >= 0) frameCell(context, reading, cell, scale);
}

/** A map over the picture in grey, small, to stand beside others. */
export class SmallPane {
  readonly node: HTMLElement;
  readonly #canvas = element("canvas", { role: "img" });
  readonly #caption = element("figcaption");
  readonly #painter = new FieldPainter();

  constructor(
    signal: AbortSignal,
    hover: (row: number, column: number) => void,
    leave: () => void,
  ) {
    this.node = element("figure", { class: "small-pane" }, this.#caption, this.#canvas);
    this.#canvas.addEventListener(
      "pointermove",
      (event) => {
        const box = this.#canvas.getBoundingClientRect();
        hover((event.clientY - box.top) / box.height, (event.clientX - box.left) / box.width);
      },
      { signal },
    );
    this.#canvas.addEventListener("pointerleave", leave, { signal });
  }

  show(caption: string, picture: HTMLCanvasElement, overlay: Overlay | null, room: number): void {
    this.#caption.textContent = caption;
    this.#canvas.setAttribute("aria-label", caption);
    const scale = Math.min(room / picture.width, room / picture.height);
    const [width, height] = [Math.round(picture.width * scale), Math.round(picture.height * scale)];
    this.node.style.width = `${width}px`;
    const context = sized(this.#canvas, width, height);
    // The map alone has colours.
    context.filter = "grayscale(1)";
    drawPicture(context, picture, width, height);
    context.filter = "none";
    if (overlay) drawOverlay(context, overlay, this.#painter, scale, width, height);
  }
}
