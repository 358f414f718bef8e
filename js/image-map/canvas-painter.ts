/** Draws the map with Canvas 2D, where there is no WebGL2: fewer pictures, all the dots. */

import { contextOf } from "../shared/canvas.ts";
import { grown } from "./detail.ts";
import {
  CHOSEN,
  CHOSEN_SCALE,
  type Frame,
  MARK,
  type Painter,
  type Rgb,
  RIM_SHARE,
  SELECTED,
  sidesOf,
} from "./painter.ts";
import { type Board, board, resize, type Screen } from "./screen.ts";
import { PAGE, type TileSlots } from "./tile-slots.ts";
import type { TileStore } from "./tile-store.ts";
import { inView, widened } from "./viewpoint.ts";

/** Pages of a pool, at most. */
const MOST_PAGES = 32;

export class CanvasPainter implements Painter {
  readonly kind = "canvas";
  readonly pages = [2, 2, 1] as const;
  readonly most = 3000;
  readonly #sheets = new Map<number, HTMLCanvasElement>();
  readonly #board = board();
  #pixels: ImageData | null = null;

  put(pool: number, slots: TileSlots, slot: number, pixels: ImageData, x: number, y: number): void {
    const corner = slots.corner(slot);
    const key = pool * MOST_PAGES + corner.page;
    let sheet = this.#sheets.get(key);
    if (!sheet) {
      sheet = document.createElement("canvas");
      sheet.width = sheet.height = PAGE;
      this.#sheets.set(key, sheet);
    }
    const { tile } = slots;
    contextOf(sheet).putImageData(pixels, corner.x - x, corner.y - y, x, y, tile, tile);
  }

  clear(): void {
    this.#sheets.clear();
  }

  draw(frame: Frame, tiles: TileStore, screen: Screen): boolean {
    const target = penOf(this.#board);
    resize(this.#board, ...frame.room);
    this.#drawDots(frame, target);
    // What comes first is in front.
    for (const list of [frame.pictures, frame.front]) {
      for (let i = list.rows.length - 1; i >= 0; i--) {
        const row = list.rows[i] as number;
        const level = list.levels[i] as number;
        this.#drawPicture(frame, tiles, target, row, level, list.marks[i] as number);
      }
    }
    // Dots were put, not painted, and what is shown is opaque.
    target.globalCompositeOperation = "destination-over";
    target.fillStyle = css(frame.paper);
    target.fillRect(0, 0, ...frame.room);
    target.globalCompositeOperation = "source-over";
    screen.show(this.#board);
    return true;
  }

  close(): void {
    this.clear();
    this.#pixels = null;
  }

  #drawDots(frame: Frame, target: Pen): void {
    const [width, height] = frame.room;
    if (this.#pixels?.width !== width || this.#pixels.height !== height) {
      this.#pixels = new ImageData(width, height);
    }
    const pixels = new Uint32Array(this.#pixels.data.buffer);
    pixels.fill(0);
    const { view, density, index, inks, stride } = frame;
    const size = Math.max(1, Math.round(frame.dot * density));
    const put = (row: number, size: number, ink: number) => {
      const [px, py] = placeOf(frame, row);
      const x = Math.round(((px - view.x) * view.scale + view.width / 2) * density - size / 2);
      const y = Math.round(((py - view.y) * view.scale + view.height / 2) * density - size / 2);
      for (let line = Math.max(0, y); line < Math.min(height, y + size); line++) {
        const start = Math.max(0, x);
        const end = Math.min(width, x + size);
        if (end > start) pixels.fill(ink, line * width + start, line * width + end);
      }
    };
    const inkOf = (row: number) =>
      (((inks[4 * row + 3] as number) << 24) |
        ((inks[4 * row + 2] as number) << 16) |
        ((inks[4 * row + 1] as number) << 8) |
        (inks[4 * row] as number)) >>>
      0;
    const runs =
      frame.moved < 1
        ? [[0, index.rows.length] as const]
        : index.runs(widened(inView(view), frame.dot / view.scale));
    for (const [start, end] of runs) {
      for (let i = start; i < end; i += stride) {
        const row = index.rows[i] as number;
        put(row, size, inkOf(row));
      }
    }
    for (const row of frame.square ? [] : frame.selected) {
      if (inks[4 * row + 3] === 0) continue;
      put(row, size + Math.round(4 * density), pixelOf(frame.accent));
      put(row, size, inkOf(row));
    }
    target.putImageData(this.#pixels, 0, 0);
  }

  #drawPicture(
    frame: Frame,
    tiles: TileStore,
    target: Pen,
    row: number,
    first: number,
    marks: number,
  ): void {
    const { borders, inks, density, dot, level, view } = frame;
    const [px, py] = placeOf(frame, row);
    const across = (px - view.x) * view.scale + view.width / 2;
    const down = (py - view.y) * view.scale + view.height / 2;
    const reach = frame.side;
    if (across < -reach || down < -reach) return;
    if (across > view.width + reach || down > view.height + reach) return;
    const found = tiles.find(row, tiles.poolFor(frame.side * density));
    const growth = grown(first, level);
    if (!found || growth <= 0) return;
    const [x, y] = [across * density, down * density];
    const slots = tiles.pools[found.pool] as TileSlots;
    const corner = slots.corner(found.slot);
    const sheet = this.#sheets.get(found.pool * MOST_PAGES + corner.page);
    if (!sheet) return;
    const chosen = (marks & CHOSEN) !== 0;
    const side = (dot + (frame.side - dot) * growth) * density * (chosen ? CHOSEN_SCALE : 1);
    const [width, height] = sidesOf(slots.aspect[found.slot] as number, side).map(Math.round) as [
      number,
      number,
    ];
    const [left, top] = [Math.round(x - width / 2), Math.round(y - height / 2)];
    const rimOf = (rim: number) => Math.min(rim * density, Math.max(1, RIM_SHARE * side));
    const rim = borders?.[4 * row + 3] ? rimOf(frame.border) : 0;
    const box = (by: number, colour: string) => {
      target.fillStyle = colour;
      target.fillRect(left - by, top - by, width + 2 * by, height + 2 * by);
    };
    if (chosen || marks & SELECTED) {
      box(rim + rimOf(MARK), css(chosen ? frame.ink : frame.accent));
      box(rim + rimOf(MARK) / 3, css(frame.paper));
    }
    if (rim && borders) box(rim, css(borders.subarray(4 * row, 4 * row + 3)));
    if ((inks[4 * row + 3] as number) < 255) box(0, css(frame.paper));
    target.globalAlpha = (inks[4 * row + 3] as number) / 255;
    target.drawImage(sheet, corner.x, corner.y, slots.tile, slots.tile, left, top, width, height);
    target.globalAlpha = 1;
  }
}

type Pen = CanvasRenderingContext2D | OffscreenCanvasRenderingContext2D;

function penOf(board: Board): Pen {
  const pen = board.getContext("2d") as Pen | null;
  if (!pen) throw new Error("this browser gave no canvas to draw on");
  return pen;
}

function placeOf({ from, index, moved }: Frame, row: number): [number, number] {
  const x = index.places[2 * row] as number;
  const y = index.places[2 * row + 1] as number;
  if (moved >= 1) return [x, y];
  const [x0, y0] = [from[2 * row] as number, from[2 * row + 1] as number];
  return [x0 + (x - x0) * moved, y0 + (y - y0) * moved];
}

function css(rgb: ArrayLike<number>): string {
  return `rgb(${rgb[0]} ${rgb[1]} ${rgb[2]})`;
}

function pixelOf([red, green, blue]: Rgb): number {
  return ((255 << 24) | (blue << 16) | (green << 8) | red) >>> 0;
}
