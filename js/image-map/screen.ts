/** The canvas of the stage, and how what was drawn elsewhere gets there. */

import { contextOf } from "../shared/canvas.ts";

/** What is drawn on before it is shown; one that is not on the page can hand its pixels over. */
export type Board = OffscreenCanvas | HTMLCanvasElement;

/** A canvas to draw on out of sight; `HTMLCanvasElement` only in browsers that know no other. */
export function board(): Board {
  return typeof OffscreenCanvas === "function"
    ? new OffscreenCanvas(1, 1)
    : document.createElement("canvas");
}

/** Give a board a size in device pixels. */
export function resize(canvas: Board, width: number, height: number): void {
  if (canvas.width !== width) canvas.width = width;
  if (canvas.height !== height) canvas.height = height;
}

export class Screen {
  #bitmaps: ImageBitmapRenderingContext | null = null;

  constructor(readonly canvas: HTMLCanvasElement) {}

  /** Take over the size; in device pixels, as it is now. */
  fit(width: number, height: number): [number, number] {
    const density = window.devicePixelRatio || 1;
    const across = Math.max(1, Math.round(width * density));
    const down = Math.max(1, Math.round(height * density));
    resize(this.canvas, across, down);
    this.canvas.style.width = `${width}px`;
    this.canvas.style.height = `${height}px`;
    return [across, down];
  }

  /**
   * Show what is on a board as large as this. A bitmap changes hands, which costs nothing; drawing one
   * canvas on another costs more than all the rest of a frame where no GPU does it.
   */
  show(drawn: Board): void {
    const hands = "transferToImageBitmap" in drawn;
    // Opaque: what lies behind need not be drawn.
    this.#bitmaps ??= hands ? this.canvas.getContext("bitmaprenderer", { alpha: false }) : null;
    if (this.#bitmaps && hands)
      this.#bitmaps.transferFromImageBitmap(drawn.transferToImageBitmap());
    else contextOf(this.canvas).drawImage(drawn, 0, 0);
  }
}
