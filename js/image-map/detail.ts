/**
 * Which images show as pictures at which zoom.
 *
 * The map is halved again and again, in both directions: at level k it has 2^k x 2^k cells. In each
 * cell the image of the highest priority shows. It has the highest priority in its part of the cell,
 * too, so what shows goes on showing as one zooms in.
 */

/** Cells of the finest level are one unit of place wide. */
export const FINEST = 16;
/** The level of what lies exactly where another image of a higher priority lies. */
export const STACKED = FINEST + 1;
/** The level of what is not drawn at all. */
export const HIDDEN = 255;

/** Of two pictures that show, one is at least this part of a cell to the side of the other, or below it. */
const CLEAR = 0.9;
/** Up to this level, and no more rows than these: so far one is near enough to see few at a time. */
const SPACED = 9;
const MOST_SPACED = 120_000;
/** Beyond the zoom at which pictures have room, they grow with this power of it. */
const GROWTH = 0.6;
/** Half octaves of zoom over which a picture grows out of its dot. */
export const GROWING = 0.4;

/** Chance that is the same everywhere: smaller comes first (Wellons' lowbias32). */
export function priority(row: number): number {
  let h = row | 0;
  h ^= h >>> 16;
  h = Math.imul(h, 0x7feb352d);
  h ^= h >>> 15;
  h = Math.imul(h, 0x846ca68b);
  h ^= h >>> 16;
  return h >>> 0;
}

/** The rows 0 to count - 1 by priority, highest first. */
export function priorityOrder(count: number): Uint32Array {
  const order = new Uint32Array(count);
  for (let row = 0; row < count; row++) order[row] = priority(row);
  // Each hash comes from one row only, so the sorted hashes alone say the order.
  order.sort();
  for (let i = 0; i < count; i++) order[i] = rowOf(order[i] as number);
  return order;
}

/** The row that has this priority. */
function rowOf(hash: number): number {
  let h = hash | 0;
  h ^= h >>> 16;
  h = Math.imul(h, 0x43021123);
  h ^= (h >>> 15) ^ (h >>> 30);
  h = Math.imul(h, 0x1d69e2a5);
  h ^= h >>> 16;
  return h >>> 0;
}

/**
 * The level from which on each row shows as a picture, `HIDDEN` for rows whose ink has alpha 0.
 *
 * In the order of their cells (Morton's), what two rows share of their ways down from the whole map
 * shrinks with the distance between them. So of all rows of a higher priority the nearest one before and
 * the nearest one behind decide: a row shows one level below the last cell that it shares with either.
 */
export function firstLevels(
  places: Uint16Array,
  ranks: Uint32Array,
  inks: Uint8Array,
): Uint8Array<ArrayBuffer> {
  const first = new Uint8Array(ranks.length).fill(HIDDEN);
  const { keys, rows } = byCell(places, inks);
  // Rows before the present one, each of a higher priority than those behind it.
  const before = new Uint32Array(rows.length);
  let height = 0;
  for (let i = 0; i < rows.length; i++) {
    const row = rows[i] as number;
    const rank = ranks[row] as number;
    const key = keys[i] as number;
    first[row] = 0;
    while (height > 0) {
      const other = before[height - 1] as number;
      const level = 1 + shared(key, keys[other] as number);
      const behind = rows[other] as number;
      if ((ranks[behind] as number) < rank) {
        first[row] = level;
        break;
      }
      if (level > (first[behind] as number)) first[behind] = level;
      height -= 1;
    }
    before[height] = i;
    height += 1;
  }
  return first;
}

/** The last level at which two places lie in the same cell. */
function shared(one: number, other: number): number {
  return Math.clz32(one ^ other) >> 1;
}

/** The rows that are drawn in the order of their cells, and their ways down: two bits a level. */
function byCell(places: Uint16Array, inks: Uint8Array): { keys: Uint32Array; rows: Uint32Array } {
  const count = places.length / 2;
  let keys = new Uint32Array(count);
  let rows = new Uint32Array(count);
  let drawn = 0;
  for (let row = 0; row < count; row++) {
    if (inks[4 * row + 3] === 0) continue;
    keys[drawn] = spread(places[2 * row] as number) | (spread(places[2 * row + 1] as number) << 1);
    rows[drawn] = row;
    drawn += 1;
  }
  keys = keys.subarray(0, drawn);
  rows = rows.subarray(0, drawn);
  let [otherKeys, otherRows] = [new Uint32Array(drawn), new Uint32Array(drawn)];
  // A radix sort, least bits first.
  for (const shift of [0, 11, 22]) {
    const next = new Uint32Array(2049);
    for (const key of keys) {
      const digit = (key >>> shift) & 2047;
      next[digit + 1] = (next[digit + 1] as number) + 1;
    }
    for (let i = 1; i < 2049; i++) next[i] = (next[i] as number) + (next[i - 1] as number);
    for (let i = 0; i < drawn; i++) {
      const key = keys[i] as number;
      const digit = (key >>> shift) & 2047;
      const to = next[digit] as number;
      next[digit] = to + 1;
      otherKeys[to] = key;
      otherRows[to] = rows[i] as number;
    }
    [keys, otherKeys] = [otherKeys, keys];
    [rows, otherRows] = [otherRows, rows];
  }
  return { keys, rows };
}

/** 16 bits with a zero before each. */
function spread(bits: number): number {
  let x = bits;
  x = (x | (x << 8)) & 0x00ff00ff;
  x = (x | (x << 4)) & 0x0f0f0f0f;
  x = (x | (x << 2)) & 0x33333333;
  return (x | (x << 1)) & 0x55555555;
}

/** Where places change many times a second: as `firstLevels`, in halves of an octave. */
export function quickLevels(first: Uint8Array): Uint8Array<ArrayBuffer> {
  return Uint8Array.from(first, (level) => (level === HIDDEN ? HIDDEN : 2 * level));
}

/**
 * From which level on each row shows as a picture so that none lies upon another, in halves of an octave:
 * at each, of the rows that are first in cells of half the size, those that have room. What shows goes on
 * showing, so those of the levels before come first.
 */
export function spacedLevels(
  places: Uint16Array,
  first: Uint8Array,
  order: Uint32Array,
): Uint8Array<ArrayBuffer> {
  const joining: number[][] = Array.from({ length: SPACED + 2 }, () => []);
  for (const row of order) joining[first[row] as number]?.push(row);
  let last = -2;
  let sum = 0;
  for (const { length } of joining) {
    sum += length;
    if (sum > MOST_SPACED) break;
    last += 1;
  }
  // What has no room at the last level shows beyond it, as near to others as it may be.
  const levels = first.map((level) =>
    level === HIDDEN ? HIDDEN : Math.max(2 * level, 2 * last + 1),
  );
  let waiting: number[] = joining[0] as number[];
  const shown: number[] = [];
  for (let level = 0; level <= 2 * last; level++) {
    const octave = Math.ceil(level / 2) + 1;
    const cells = new Cells(places, FINEST - octave, CLEAR * 2 ** (FINEST - level / 2));
    for (const row of shown) cells.put(row);
    if (level % 2 === 1 || level === 0) waiting = waiting.concat(joining[octave] as number[]);
    waiting = waiting.filter((row) => {
      if (!cells.clear(row)) return true;
      cells.put(row);
      shown.push(row);
      levels[row] = level;
      return false;
    });
  }
  return levels;
}

/** The rows that show at a level, by cells of which none has more than one of them. */
class Cells {
  readonly #side: number;
  readonly #reach: number;
  /** in each 1 + its row, 0 for none, as memory comes */
  readonly #cells: Int32Array;

  constructor(
    readonly places: Uint16Array,
    readonly shift: number,
    readonly least: number,
  ) {
    this.#side = 2 ** (FINEST - shift);
    this.#reach = Math.ceil(least / 2 ** shift);
    this.#cells = new Int32Array(this.#side ** 2);
  }

  put(row: number): void {
    const x = (this.places[2 * row] as number) >> this.shift;
    this.#cells[((this.places[2 * row + 1] as number) >> this.shift) * this.#side + x] = row + 1;
  }

  /** Whether nothing that shows is too near. */
  clear(row: number): boolean {
    const [x, y] = [this.places[2 * row] as number, this.places[2 * row + 1] as number];
    const [column, line] = [x >> this.shift, y >> this.shift];
    const [last, reach] = [this.#side - 1, this.#reach];
    for (let j = Math.max(0, line - reach); j <= Math.min(last, line + reach); j++) {
      for (let i = Math.max(0, column - reach); i <= Math.min(last, column + reach); i++) {
        const other = (this.#cells[j * this.#side + i] as number) - 1;
        if (other < 0) continue;
        const across = Math.abs((this.places[2 * other] as number) - x);
        const down = Math.abs((this.places[2 * other + 1] as number) - y);
        if (across < this.least && down < this.least) return false;
      }
    }
    return true;
  }
}

/** What the size of pictures depends on. */
export interface Crowd {
  count: number;
  /** side of a picture in CSS pixels, as asked for */
  size: number;
  /** CSS pixels that an image has on each side on average where the whole map is in view */
  spacing: number;
}

/** Side of a picture in CSS pixels at a zoom. */
export function sideAt({ size, spacing }: Crowd, zoom: number): number {
  const roomy = roomyZoom(size, spacing);
  return zoom <= roomy ? size : size * (zoom / roomy) ** GROWTH;
}

/** The zoom at which a picture is `side` wide. */
export function zoomForSide({ size, spacing }: Crowd, side: number): number {
  return roomyZoom(size, spacing) * Math.max(1, side / size) ** (1 / GROWTH);
}

function roomyZoom(size: number, spacing: number): number {
  return Math.max(1, size / Math.max(1e-3, spacing));
}

/** The level of detail, in halves of an octave, with fractions, where pictures are `side` wide; scale: pixels a unit of place. */
export function levelAt(scale: number, side: number): number {
  return Math.max(0, 2 * Math.log2((2 ** FINEST * scale) / side));
}

/** How far a picture has grown out of its dot, 0 to 1. */
export function grown(first: number, level: number): number {
  return Math.min(1, Math.max(0, (level - first) / GROWING + 1));
}

/** Diameter of a dot in CSS pixels at a zoom. */
export function dotAt({ size, spacing }: Crowd, zoom: number): number {
  return Math.min(8, size, Math.max(1.5, 0.6 * spacing * zoom));
}
