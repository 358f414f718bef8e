/**
 * Rows by place: a table of square cells, in each the rows by the level from which they show, then by
 * priority. One counting sort builds it, which is several times faster than a tree of a million
 * points; and the table is the order in which the dots are drawn, so that a part of the map is few
 * runs of it.
 */

import { HIDDEN } from "./detail.ts";
import type { Extent } from "./viewpoint.ts";

/** Rows in a cell, on average. */
const FILL = 24;

export class PlaceIndex {
  /** drawn rows, cell by cell, lines of cells from the top down */
  readonly rows: Uint32Array;
  /** cells along a side, a power of two */
  readonly side: number;
  readonly #starts: Uint32Array;
  readonly #shift: number;

  constructor(
    readonly places: Uint16Array,
    readonly first: Uint8Array,
    order: Uint32Array,
  ) {
    const drawn = byLevel(first, order);
    const exponent = Math.min(8, Math.max(0, Math.round(Math.log2(drawn.length / FILL + 1) / 2)));
    this.side = 2 ** exponent;
    this.#shift = 16 - exponent;
    const starts = new Uint32Array(this.side * this.side + 1);
    for (const row of drawn) increase(starts, this.#cellOf(row) + 1);
    accumulate(starts);
    const next = starts.slice();
    this.rows = new Uint32Array(drawn.length);
    for (const row of drawn) {
      const cell = this.#cellOf(row);
      this.rows[next[cell] as number] = row;
      increase(next, cell);
    }
    this.#starts = starts;
  }

  /** Runs of `rows` that hold all that is in a box, and some more: pairs of start and end. */
  runs(box: Extent): [number, number][] {
    const { left, top, right, bottom } = this.#cells(box);
    const runs: [number, number][] = [];
    for (let y = top; y <= bottom; y++) {
      const start = this.#starts[y * this.side + left] as number;
      const end = this.#starts[y * this.side + right + 1] as number;
      const last = runs.at(-1);
      if (last && last[1] === start) last[1] = end;
      else if (end > start) runs.push([start, end]);
    }
    return runs;
  }

  /** Call `act` for each row in a box that shows from `level` on or before; it ends where `act` says true. */
  // biome-ignore lint/suspicious/noConfusingVoidType: most callers never end early
  each(box: Extent, level: number, act: (row: number) => boolean | void): void {
    const { left, top, right, bottom } = this.#cells(box);
    for (let y = top; y <= bottom; y++) {
      for (let cell = y * this.side + left; cell <= y * this.side + right; cell++) {
        const end = this.#starts[cell + 1] as number;
        for (let i = this.#starts[cell] as number; i < end; i++) {
          const row = this.rows[i] as number;
          if ((this.first[row] as number) > level) break;
          if (this.#inside(row, box) && act(row)) return;
        }
      }
    }
  }

  /** The highest level at which at most this many rows of a box show, -1 for none. */
  levelFor(box: Extent, most: number): number {
    const counts = new Uint32Array(HIDDEN + 1);
    this.each(box, HIDDEN, (row) => {
      increase(counts, this.first[row] as number);
    });
    let sum = 0;
    for (let level = 0; level < HIDDEN; level++) {
      sum += counts[level] as number;
      if (sum > most) return level - 1;
    }
    return HIDDEN;
  }

  /** The row nearest to a place, at most `reach` away; -1 for none. */
  nearest(x: number, y: number, reach: number): number {
    let best = -1;
    let least = reach * reach;
    const box = { left: x - reach, top: y - reach, right: x + reach, bottom: y + reach };
    this.each(box, HIDDEN, (row) => {
      const dx = (this.places[2 * row] as number) - x;
      const dy = (this.places[2 * row + 1] as number) - y;
      const distance = dx * dx + dy * dy;
      if (distance < least || (best < 0 && distance === least)) {
        least = distance;
        best = row;
      }
    });
    return best;
  }

  #inside(row: number, box: Extent): boolean {
    const x = this.places[2 * row] as number;
    const y = this.places[2 * row + 1] as number;
    return x >= box.left && x <= box.right && y >= box.top && y <= box.bottom;
  }

  #cellOf(row: number): number {
    const x = (this.places[2 * row] as number) >> this.#shift;
    return ((this.places[2 * row + 1] as number) >> this.#shift) * this.side + x;
  }

  #cells(box: Extent): Extent {
    const cell = (v: number) =>
      Math.min(this.side - 1, Math.max(0, Math.floor(v / 2 ** this.#shift)));
    return {
      left: cell(box.left),
      top: cell(box.top),
      right: cell(box.right),
      bottom: cell(box.bottom),
    };
  }
}

/** Rows that are drawn by level, within a level by priority. */
function byLevel(first: Uint8Array, order: Uint32Array): Uint32Array {
  const starts = new Uint32Array(HIDDEN + 2);
  for (const level of first) increase(starts, level + 1);
  accumulate(starts);
  const drawn = starts[HIDDEN] as number;
  const sorted = new Uint32Array(drawn);
  for (const row of order) {
    const level = first[row] as number;
    if (level === HIDDEN) continue;
    sorted[starts[level] as number] = row;
    increase(starts, level);
  }
  return sorted;
}

function increase(counts: Uint32Array, at: number): void {
  counts[at] = (counts[at] as number) + 1;
}

/** Each number becomes the sum of those up to it. */
function accumulate(counts: Uint32Array): void {
  for (let i = 1; i < counts.length; i++)
    counts[i] = (counts[i] as number) + (counts[i - 1] as number);
}
