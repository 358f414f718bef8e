/** A map laid over the pixels of its picture, ranges of colours, and differences; no page. */

import { isDrop, type MapData, numeric } from "./map-data.ts";
import { runsOf } from "./masks.ts";
import type { Coverage, Scale } from "./state.ts";

/** What a pixel has to show. */
export const OUTSIDE = 0;
export const VALUE = 1;
/** a position without a number: NaN, or not computed yet */
export const HATCHED = 2;

export interface Field {
  height: number;
  width: number;
  values: Float32Array;
  /** OUTSIDE, VALUE or HATCHED */
  kind: Uint8Array;
}

/**
 * Number of the cell of each pixel along one side; -1 outside the map.
 *
 * A cell is centred where its mask is, and reaches half way to the next; the outermost reach as far
 * outwards as inwards.
 */
export function cellsAlong(starts: Int32Array, size: number, length: number): Int32Array {
  const cells = new Int32Array(length).fill(-1);
  const centre = (i: number) => (starts[i] as number) + size / 2;
  const last = starts.length - 1;
  for (let i = 0; i <= last; i++) {
    const before = i > 0 ? (centre(i) - centre(i - 1)) / 2 : null;
    const after = i < last ? (centre(i + 1) - centre(i)) / 2 : null;
    const from = centre(i) - (before ?? after ?? size / 2);
    const to = centre(i) + (after ?? before ?? size / 2);
    const first = Math.max(0, Math.round(from));
    cells.fill(i, first, Math.min(length, Math.max(first + 1, Math.round(to))));
  }
  return cells;
}

/** Each pixel has the value of the position whose cell it lies in; a pending cell that of its stand-in. */
export function gridField(map: MapData, values: Float32Array, settled: boolean): Field {
  const { height, width, columns } = map;
  const down = cellsAlong(map.tops, map.fields.size[0], height);
  const across = cellsAlong(map.lefts, map.fields.size[1], width);
  const field = emptyField(height, width);
  for (let y = 0; y < height; y++) {
    if ((down[y] as number) < 0) continue;
    for (let x = 0; x < width; x++) {
      if ((across[x] as number) < 0) continue;
      const cell = (down[y] as number) * columns + (across[x] as number);
      const from = map.standIn[cell] as number;
      const value = from < 0 ? Number.NaN : (values[from] as number);
      const open = settled && from !== cell;
      const i = y * width + x;
      field.values[i] = value;
      field.kind[i] = Number.isFinite(value) && !open ? VALUE : HATCHED;
    }
  }
  return field;
}

/**
 * Each pixel has the mean of all positions whose mask covers it, as in Captum's attributions; once the
 * work is `settled`, of those that were computed.
 */
export function overlapField(map: MapData, values: Float32Array, settled: boolean): Field {
  const { height, width } = map;
  const sums = new Float64Array((height + 1) * (width + 1));
  const counts = new Float64Array(sums.length);
  const covered = new Uint8Array(height * width);
  const [tall, wide] = map.fields.size;
  const shape = map.fields.mask_shape;
  const runs = runsOf({ shape, top: 0, left: 0, height: tall, width: wide });
  const step = width + 1;
  for (let position = 0; position < values.length; position++) {
    const from = settled ? position : (map.standIn[position] as number);
    const value = from < 0 ? Number.NaN : (values[from] as number);
    const top = map.tops[Math.floor(position / map.columns)] as number;
    const left = map.lefts[position % map.columns] as number;
    const finite = Number.isFinite(value);
    for (const [row, start, stop] of runs) {
      const y = top + row;
      if (y >= height) continue;
      const a = y * step + left + start;
      const b = y * step + Math.min(width, left + stop);
      if (finite) {
        sums[a] = (sums[a] as number) + value;
        sums[b] = (sums[b] as number) - value;
        counts[a] = (counts[a] as number) + 1;
        counts[b] = (counts[b] as number) - 1;
      } else covered.fill(1, y * width + left + start, y * width + Math.min(width, left + stop));
    }
  }
  const field = emptyField(height, width);
  for (let y = 0; y < height; y++) {
    let sum = 0;
    let count = 0;
    for (let x = 0; x < width; x++) {
      sum += sums[y * step + x] as number;
      count += counts[y * step + x] as number;
      const i = y * width + x;
      if (Math.round(count) > 0) {
        field.values[i] = sum / Math.round(count);
        field.kind[i] = VALUE;
      } else if (covered[i]) field.kind[i] = HATCHED;
    }
  }
  return field;
}

export function layOver(
  map: MapData,
  values: Float32Array,
  coverage: Coverage,
  settled: boolean,
): Field {
  return coverage === "grid" ? gridField(map, values, settled) : overlapField(map, values, settled);
}

/** The same field on another number of pixels, nearest neighbour. */
export function resampled(field: Field, height: number, width: number): Field {
  if (field.height === height && field.width === width) return field;
  const there = emptyField(height, width);
  for (let y = 0; y < height; y++) {
    const row = Math.min(field.height - 1, Math.floor(((y + 0.5) * field.height) / height));
    for (let x = 0; x < width; x++) {
      const column = Math.min(field.width - 1, Math.floor(((x + 0.5) * field.width) / width));
      there.values[y * width + x] = field.values[row * field.width + column] as number;
      there.kind[y * width + x] = field.kind[row * field.width + column] as number;
    }
  }
  return there;
}

/** A − B by pixel, where both have a value; `b` is brought to the pixels of `a`. */
export function difference(a: Field, b: Field): Field {
  const other = resampled(b, a.height, a.width);
  const field = emptyField(a.height, a.width);
  for (let i = 0; i < field.values.length; i++) {
    const kinds = [a.kind[i], other.kind[i]];
    if (kinds.includes(OUTSIDE)) continue;
    field.kind[i] = kinds.includes(HATCHED) ? HATCHED : VALUE;
    field.values[i] = (a.values[i] as number) - (other.values[i] as number);
  }
  return field;
}

export function emptyField(height: number, width: number): Field {
  return {
    height,
    width,
    values: new Float32Array(height * width).fill(Number.NaN),
    kind: new Uint8Array(height * width),
  };
}

export interface Range {
  low: number;
  high: number;
  /** zero in the middle, of a colour map with two arms */
  centred: boolean;
}

/** Lowest and highest finite value of all; null where there is none. */
export function extent(all: ArrayLike<number>[]): [number, number] | null {
  let low = Number.POSITIVE_INFINITY;
  let high = Number.NEGATIVE_INFINITY;
  for (const values of all) {
    for (let i = 0; i < values.length; i++) {
      const value = values[i] as number;
      if (!Number.isFinite(value)) continue;
      low = Math.min(low, value);
      high = Math.max(high, value);
    }
  }
  return low > high ? null : [low, high];
}

/** Share of the confidence that a drop's full colour is at least. */
const LEAST_DROP = 0.2;

/**
 * What the colours span: one range for all maps that stand beside each other.
 *
 * Unless stretched, a probability begins at zero and its drop's full colour is at least a fifth of the
 * confidence that there was, so that a map where little happens looks like it.
 */
export function colourRange(
  maps: { values: ArrayLike<number>; base: number; probability: number }[],
  scale: Scale | "sum",
  stretch: boolean,
): Range {
  const all = maps.map(({ values }) => values);
  const bases = maps.map(({ base }) => base);
  if (scale === "sum") return padded(extent(stretch ? all : [...all, bases, [0]]));
  if (isDrop(scale)) {
    const [low, high] = extent(all) ?? [0, 0];
    const whole = maps.map(({ probability }) => probability).filter(Number.isFinite);
    const least = scale === "probability drop" && !stretch ? whole.map((p) => LEAST_DROP * p) : [];
    const most = Math.max(Math.abs(low), Math.abs(high), ...least) || 1;
    return { low: -most, high: most, centred: true };
  }
  const open = scale === "probability" && !stretch;
  return padded(extent(stretch ? all : [...all, bases, ...(open ? [[0]] : [])]));
}

/** Differences in the units of the maps: their whole range is full colour, unless stretched. */
export function differenceRange(shared: Range, values: ArrayLike<number>, stretch: boolean): Range {
  const [low, high] = extent([values]) ?? [0, 0];
  const most = Math.max(Math.abs(low), Math.abs(high));
  const whole = shared.centred ? shared.high : shared.high - shared.low;
  const full = (stretch ? most : Math.max(most, whole)) || 1;
  return { low: -full, high: full, centred: true };
}

function padded(found: [number, number] | null): Range {
  const [low, high] = found ?? [0, 1];
  return { low, high: high > low ? high : low + (Math.abs(low) || 1), centred: false };
}

/** Which of the 256 colours a value has. */
export function levelOf(value: number, { low, high }: Range): number {
  return Math.max(0, Math.min(255, Math.round((255 * (value - low)) / (high - low))));
}

/** What a sum is at the unmasked picture. */
export const baseSum = (map: MapData): number => numeric(map.fields.feature?.base);
