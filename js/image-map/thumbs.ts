/** Small pictures in lists and cards, painted as their tiles come. */

import { contextOf } from "../shared/canvas.ts";
import { button, element } from "../shared/controls.ts";

/** What the stage gives: it paints at once where it has a picture, and asks for it where not. */
export interface Tiles {
  thumbnail(
    row: number,
    paint: (source: CanvasImageSource, sx: number, sy: number, sw: number, sh: number) => void,
  ): boolean;
}

export class Thumbs {
  /** row of each */
  readonly #waiting = new Map<HTMLCanvasElement, number>();

  readonly #tiles: Tiles;
  readonly #instead: (row: number) => string;

  /** `instead`: what to write where no picture will come; empty where one may. */
  constructor(tiles: Tiles, instead: (row: number) => string) {
    this.#tiles = tiles;
    this.#instead = instead;
  }

  /** Whether a picture that is on the page has not come. */
  get blank(): boolean {
    return [...this.#waiting.keys()].some(
      (canvas) => canvas.classList.contains("waits") && canvas.offsetParent !== null,
    );
  }

  /** A square that shows the whole image of a row; `side` in CSS pixels. */
  make(row: number, side: number): HTMLCanvasElement {
    const canvas = element("canvas", { class: "thumb waits", "aria-hidden": "true" });
    const density = window.devicePixelRatio || 1;
    canvas.width = canvas.height = Math.round(side * density);
    canvas.style.width = canvas.style.height = `${side}px`;
    this.#waiting.set(canvas, row);
    this.#paint(canvas, row);
    return canvas;
  }

  /** A picture to press; a view knows by `data-row` which one the pointer is on. */
  pick(row: number, side: number, title: string, press: () => void): HTMLButtonElement {
    const node = button("", title, press, "pick");
    node.dataset.row = String(row);
    node.append(this.make(row, side));
    return node;
  }

  /** Paint those whose tiles have come, and forget those that have left the page. */
  paint(): void {
    for (const [canvas, row] of this.#waiting) {
      if (canvas.isConnected) this.#paint(canvas, row);
      else this.#waiting.delete(canvas);
    }
  }

  #paint(canvas: HTMLCanvasElement, row: number): void {
    const there = this.#tiles.thumbnail(row, (source, sx, sy, sw, sh) => {
      paintWhole(canvas, sw / sh, source, sx, sy, sw, sh);
      canvas.classList.remove("waits");
    });
    const word = canvas.classList.contains("waits") ? this.#instead(row) : "";
    if (word) write(canvas, word);
    if (!there) return;
    this.#waiting.delete(canvas);
  }
}

/** A word in place of a picture, as much of it as there is room for. */
function write(canvas: HTMLCanvasElement, word: string): void {
  const context = contextOf(canvas);
  const { width, height } = canvas;
  context.clearRect(0, 0, width, height);
  const size = Math.round(Math.max(0.2 * height, 11 * (window.devicePixelRatio || 1)));
  context.font = `${size}px system-ui, sans-serif`;
  context.textAlign = "center";
  context.textBaseline = "middle";
  context.fillStyle = getComputedStyle(canvas).color;
  const letters = Math.floor(width / (0.55 * size));
  context.fillText(word.slice(0, letters), width / 2, height / 2);
}

/** Part of a sheet as large as it fits, in its own proportions. */
export function paintWhole(
  canvas: HTMLCanvasElement,
  aspect: number,
  source: CanvasImageSource,
  sx: number,
  sy: number,
  sw: number,
  sh: number,
): void {
  const context = contextOf(canvas);
  const { width, height } = canvas;
  const across = Math.min(width, height * aspect);
  const down = Math.min(height, width / aspect);
  context.clearRect(0, 0, width, height);
  // Pixels of small images stay squares.
  context.imageSmoothingEnabled = sw > across;
  context.imageSmoothingQuality = "high";
  const [left, top] = [(width - across) / 2, (height - down) / 2];
  context.drawImage(source, sx, sy, sw, sh, left, top, across, down);
}
