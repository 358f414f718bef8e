/** What is drawn on the pad, as strokes on paper: undone, cleared and scaled down without a page. */

import type { TypedArray } from "../shared/wire.ts";

export interface Stroke {
  /** a CSS colour, `ink` (the paper's opposite) or `paper` (rubs out) */
  colour: string;
  /** pixels of the pad */
  width: number;
  /** x and y in turn, pixels of the pad */
  points: number[];
}

/** Sides of what is sent, and how many pixels of the pad make one of it. */
export interface PadSize {
  width: number;
  height: number;
  factor: number;
}

const SENT_AT_LEAST = 64;
const SENT_AT_MOST = 512;
const PAD_AT_LEAST = 384;

/** What is sent for a network's input: its own size, or a whole multiple where that is small. */
export function padSize(width: number, height: number): PadSize {
  const side = Math.max(width, height, 1);
  const small = Math.max(1, Math.floor(SENT_AT_LEAST / side));
  const scale = Math.min(small, SENT_AT_MOST / side);
  const sent = (length: number) => Math.max(1, Math.round(length * scale));
  let factor = 1;
  while (side * scale * factor < PAD_AT_LEAST) factor *= 2;
  return { width: sent(width), height: sent(height), factor };
}

/**
 * The mean of each block of `factor` by `factor` pixels of an opaque RGBA picture: one byte a
 * channel, of the first channel or the first three.
 */
export function areaAverage(
  rgba: ArrayLike<number>,
  width: number,
  height: number,
  factor: number,
  channels: number,
): TypedArray {
  const columns = width / factor;
  const rows = height / factor;
  const means = new Uint8Array(rows * columns * channels);
  const sums = new Uint32Array(columns * channels);
  const area = factor * factor;
  for (let row = 0; row < rows; row++) {
    sums.fill(0);
    let from = row * factor * width * 4;
    for (let y = 0; y < factor; y++) {
      for (let to = 0; to < sums.length; to += channels) {
        for (let x = 0; x < factor; x++, from += 4) {
          for (let c = 0; c < channels; c++) {
            sums[to + c] = (sums[to + c] as number) + (rgba[from + c] as number);
          }
        }
      }
    }
    means.set(
      sums.map((sum) => Math.round(sum / area)),
      row * sums.length,
    );
  }
  return means;
}

/** Strokes in order, with everything that was cleared still there to be brought back. */
export class Drawing {
  /** null where the pad was cleared */
  private readonly steps: (Stroke | null)[] = [];

  /** Strokes that show. */
  get strokes(): Stroke[] {
    return this.steps.slice(this.steps.lastIndexOf(null) + 1) as Stroke[];
  }

  get empty(): boolean {
    return !this.steps.at(-1);
  }

  get undoable(): boolean {
    return this.steps.length > 0;
  }

  begin(stroke: Stroke): void {
    this.steps.push(stroke);
  }

  clear(): void {
    if (!this.empty) this.steps.push(null);
  }

  undo(): void {
    this.steps.pop();
  }
}
