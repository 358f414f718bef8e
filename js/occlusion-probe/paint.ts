/** Fields and class maps as pixels, nearest neighbour, with what is open or NaN hatched. */

import { canvasOf } from "../shared/canvas.ts";
import { type Colormap, colormapPixels, pixel } from "../shared/colormaps.ts";
import { cellsAlong, type Field, HATCHED, levelOf, OUTSIDE, type Range } from "./field.ts";
import type { Reading } from "./reading.ts";

/** Finer than a small picture's pixels, so that hatching is fine too. */
const HATCH_PIXELS = 240;

/** Colours of a reading: by value, or by category. */
export type Colours = { range: Range; base: number } | { palette: string[] };

export const colormapOf = ({ centred }: Range): Colormap => (centred ? "diverging" : "sequential");

/**
 * A field as a picture; what lies outside it stays clear. The nearer a value is to the unmasked one
 * (`base`), the fainter, so that the picture shows where nothing happened; at an opacity of 1 nothing
 * is faint.
 */
export function paintField(field: Field, colours: Colours, opacity: number): HTMLCanvasElement {
  const { height, width } = field;
  const fine = Math.max(1, Math.ceil(HATCH_PIXELS / Math.max(height, width)));
  const image = new ImageData(width * fine, height * fine);
  const pixels = new Uint32Array(image.data.buffer);
  const colourOf = colouring(colours, opacity);
  const [ink, paper] = [60, 225].map((grey) => faded(pixel(grey, grey, grey), opacity)) as number[];
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const i = y * width + x;
      const kind = field.kind[i];
      if (kind === OUTSIDE) continue;
      const colour = kind === HATCHED ? 0 : colourOf(field.values[i] as number);
      for (let v = y * fine; v < (y + 1) * fine; v++) {
        for (let u = x * fine; u < (x + 1) * fine; u++) {
          const dark = (u + v) % 6 < 2;
          pixels[v * width * fine + u] =
            kind === HATCHED ? ((dark ? ink : paper) as number) : colour;
        }
      }
    }
  }
  return canvasOf(image);
}

function faded(colour: number, alpha: number): number {
  return ((colour & 0xffffff) | (Math.round(255 * alpha) << 24)) >>> 0;
}

function colouring(colours: Colours, opacity: number): (value: number) => number {
  if ("range" in colours) {
    const { range, base } = colours;
    const map = colormapPixels(colormapOf(range)).map((colour, level) =>
      faded(colour, opacity ** fading(range, base, level)),
    );
    return (value) => map[levelOf(value, range)] as number;
  }
  const palette = colours.palette.map((text) => {
    const [red, green, blue] = [1, 3, 5].map((at) => Number.parseInt(text.slice(at, at + 2), 16));
    return faded(pixel(red as number, green as number, blue as number), opacity);
  });
  return (value) => palette[value] as number;
}

/** Exponent of the opacity: 0.4 for the farthest of a range from the unmasked value, 5 at it. */
export function fading({ low, high }: Range, base: number, level: number): number {
  if (!Number.isFinite(base)) return 1;
  const value = low + ((high - low) * level) / 255;
  const near = 1 - Math.abs(value - base) / Math.max(Math.abs(low - base), Math.abs(high - base));
  return 0.4 + 4.6 * near ** 2.5;
}

/** Letters of the classes on their regions, where there is room for one. */
export function drawLetters(
  context: CanvasRenderingContext2D,
  { map, classes }: Reading,
  scale: number,
): void {
  if (!classes) return;
  const centre = (starts: Int32Array, i: number, size: number) =>
    ((starts[i] as number) + size / 2) * scale;
  const area = map.fields.stride[0] * map.fields.stride[1] * scale * scale;
  context.font = "700 13px system-ui, sans-serif";
  context.textAlign = "center";
  context.textBaseline = "middle";
  context.lineWidth = 3;
  context.strokeStyle = "#000";
  context.fillStyle = "#fff";
  for (const { category, cell, size } of classes.labels) {
    const letter = classes.categories[category]?.letter;
    if (!letter || size * area < 170) continue;
    const x = centre(map.lefts, cell % map.columns, map.fields.size[1]);
    const y = centre(map.tops, Math.floor(cell / map.columns), map.fields.size[0]);
    context.strokeText(letter, x, y);
    context.fillText(letter, x, y);
  }
}

/** The cell of a position, framed, in pixels of the picture times `scale`. */
export function frameCell(
  context: CanvasRenderingContext2D,
  { map }: Reading,
  position: number,
  scale: number,
): void {
  const ends = (starts: Int32Array, at: number, size: number, length: number) => {
    const cells = cellsAlong(starts, size, length);
    return [cells.indexOf(at), cells.lastIndexOf(at) + 1] as const;
  };
  const row = Math.floor(position / map.columns);
  const [top, bottom] = ends(map.tops, row, map.fields.size[0], map.height);
  const [left, right] = ends(map.lefts, position % map.columns, map.fields.size[1], map.width);
  const draw = (colour: string, width: number) => {
    context.strokeStyle = colour;
    context.lineWidth = width;
    context.strokeRect(left * scale, top * scale, (right - left) * scale, (bottom - top) * scale);
  };
  draw("#fff", 4);
  draw("#000", 1.5);
}

/** Draws a field over a picture, and keeps the painted one for as long as nothing changed. */
export class FieldPainter {
  #field: Field | null = null;
  #key = "";
  #painted: HTMLCanvasElement | null = null;

  draw(
    context: CanvasRenderingContext2D,
    field: Field,
    colours: Colours,
    opacity: number,
    width: number,
    height: number,
  ): void {
    const key = JSON.stringify([colours, opacity]);
    if (field !== this.#field || key !== this.#key || !this.#painted) {
      this.#painted = paintField(field, colours, opacity);
      this.#field = field;
      this.#key = key;
    }
    context.imageSmoothingEnabled = false;
    context.drawImage(this.#painted, 0, 0, width, height);
  }
}

export function drawPicture(
  context: CanvasRenderingContext2D,
  picture: HTMLCanvasElement,
  width: number,
  height: number,
): void {
  context.imageSmoothingEnabled = width < picture.width;
  context.drawImage(picture, 0, 0, width, height);
}
