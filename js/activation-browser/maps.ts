/** Feature maps as the kernel sent them, and how their values become an order and colours. */

import { unpack, type WireArray } from "../shared/wire.ts";
import type { Box, MapsState, Normalise, Sort } from "./state.ts";

/** Levels of a channel's range in `values`, and of the layer's range in a channel's ends. */
const LEVELS = 255;
const ENDS = 65535;

export interface Side {
  /** value = low + q / 255 * (high - low) of its channel */
  values: Uint8Array;
  /** a bit a value that is NaN or infinite, lowest first; null where there is none */
  nonfinite: Uint8Array | null;
}

export interface Maps {
  state: MapsState;
  channels: number;
  rows: number;
  columns: number;
  /** ends of each channel's range, the same for both sides */
  low: Float64Array;
  high: Float64Array;
  sides: Side[];
  /** class and register tokens by token, then channel, one array a side */
  prefix: WireArray[];
  edges: WireArray | null;
}

export interface Range {
  low: number;
  high: number;
}

export function decodeMaps(state: MapsState): Maps {
  const arrays = unpack(state.arrays, state.buffers);
  const first = arrays.get("values_a");
  if (!first) throw new Error("the kernel sent no maps");
  const [channels, rows, columns] = first.shape as [number, number, number];
  const span = state.high - state.low;
  const ends = (name: string, alike: number) => {
    const codes = arrays.get(name)?.data;
    return Float64Array.from({ length: channels }, (_, i) => {
      if (!codes) return alike;
      const end = codes[i] as number;
      return codes instanceof Float32Array ? end : state.low + (end / ENDS) * span;
    });
  };
  const sides: Side[] = [];
  const prefix: WireArray[] = [];
  for (const side of ["a", "b"]) {
    const values = arrays.get(`values_${side}`);
    if (!values) continue;
    sides.push({
      values: values.data as Uint8Array,
      nonfinite: (arrays.get(`nonfinite_${side}`)?.data as Uint8Array | undefined) ?? null,
    });
    const tokens = arrays.get(`prefix_${side}`);
    if (tokens) prefix.push(tokens);
  }
  return {
    state,
    channels,
    rows,
    columns,
    low: ends("low", state.low),
    high: ends("high", state.high),
    sides,
    prefix,
    edges: arrays.get("edges") ?? null,
  };
}

export function isFiniteAt(side: Side, index: number): boolean {
  return side.nonfinite === null || (((side.nonfinite[index >> 3] ?? 0) >> (index & 7)) & 1) === 0;
}

/** The value at a unit, to the 255 levels of its channel; NaN where it is no number. */
export function valueAt(maps: Maps, side: number, channel: number, cell: number): number {
  const there = maps.sides[side];
  const index = channel * maps.rows * maps.columns + cell;
  if (!there || !isFiniteAt(there, index)) return Number.NaN;
  const low = maps.low[channel] as number;
  const high = maps.high[channel] as number;
  return low + ((there.values[index] as number) / LEVELS) * (high - low);
}

/** Pixels of the input that a unit sees; null where that is not known. */
export function boxOf(maps: Maps, row: number, column: number): Box | null {
  const { edges } = maps;
  if (!edges) return null;
  const { data } = edges;
  const at = (i: number) => data[i] as number;
  if (data.length === 2 * (maps.rows + maps.columns)) {
    const left = 2 * maps.rows + 2 * column;
    return [at(2 * row), at(left), at(2 * row + 1), at(left + 1)];
  }
  const start = 4 * (row * maps.columns + column);
  return [at(start), at(start + 1), at(start + 2), at(start + 3)];
}

/** What can be read off one channel, to the levels sent, of side A. */
export interface Summary {
  mean: number;
  peak: number;
  /** share of zeros */
  sparsity: number;
  /** mean size of A − B; 0 without B */
  difference: number;
  /** values that are no numbers */
  nonfinite: number;
}

/** Whether a channel is the same everywhere, in all pictures on show. */
export function isDead(maps: Maps, channel: number): boolean {
  return maps.low[channel] === maps.high[channel] && maps.rows * maps.columns > 1;
}

export function summaryOf(maps: Maps, channel: number): Summary {
  const [a, b] = maps.sides as [Side, Side | undefined];
  const area = maps.rows * maps.columns;
  const low = maps.low[channel] as number;
  const span = (maps.high[channel] as number) - low;
  const zero = span > 0 ? Math.round((-low / span) * LEVELS) : low === 0 ? 0 : -1;
  const start = channel * area;
  let sum = 0;
  let most = -1;
  let zeros = 0;
  let apart = 0;
  let counted = 0;
  for (let i = start; i < start + area; i++) {
    if (a.nonfinite !== null && !isFiniteAt(a, i)) continue;
    const q = a.values[i] as number;
    counted += 1;
    sum += q;
    if (q > most) most = q;
    if (q === zero) zeros += 1;
    if (b) apart += Math.abs(q - (b.values[i] as number));
  }
  const each = span / LEVELS / counted;
  return {
    mean: counted > 0 ? low + sum * each : Number.NaN,
    peak: counted > 0 ? low + (most / LEVELS) * span : Number.NaN,
    sparsity: counted > 0 ? zeros / counted : Number.NaN,
    difference: counted > 0 ? apart * each : 0,
    nonfinite: area - counted,
  };
}

/** Channels in the order of `sort`, largest first, ties by number; `byClass` is what "class" sorts by. */
export function sortedChannels(
  maps: Maps,
  sort: Sort,
  byClass: Float32Array | null,
  hideDead: boolean,
): Uint32Array {
  const order = Array.from({ length: maps.channels }, (_, i) => i);
  const kept = hideDead ? order.filter((i) => !isDead(maps, i)) : order;
  if (sort !== "index" && (sort !== "class" || byClass)) {
    const keys = order.map((i) => {
      const key = sort === "class" ? (byClass?.[i] as number) : summaryOf(maps, i)[sort];
      return Number.isNaN(key) ? Number.NEGATIVE_INFINITY : key;
    });
    kept.sort((i, j) => (keys[j] as number) - (keys[i] as number) || i - j);
  }
  return Uint32Array.from(kept);
}

/** What a channel's colours span; about zero where `centred`. */
export function shownRange(
  maps: Maps,
  channel: number,
  normalise: Normalise,
  centred: boolean,
): Range {
  const whole = normalise !== "channel";
  const low = whole ? maps.state.low : (maps.low[channel] as number);
  const high = whole ? maps.state.high : (maps.high[channel] as number);
  if (!centred && normalise !== "symmetric") return { low, high };
  const most = Math.max(Math.abs(low), Math.abs(high));
  return { low: -most, high: most };
}

export interface Tone {
  normalise: Normalise;
  /** zero in the middle of the map */
  centred: boolean;
  /** exponent that lifts weak values of all channels */
  gamma: number;
  /** 0 ... 1: how far each channel is lifted to its own largest value */
  boost: number;
  /** 256 pixels of the colour map */
  colours: Uint32Array;
}

/**
 * The pixel of each of a channel's 256 levels. Gamma and boost act on the distance from zero (from
 * the range's low end where it is not centred), as in the Deep Visualization Toolbox: a channel's
 * values are multiplied by the inverse of its largest to the power `boost`.
 */
export function levelPixels(maps: Maps, channel: number, tone: Tone): Uint32Array {
  const low = maps.low[channel] as number;
  const high = maps.high[channel] as number;
  return tonePixels({ low, high }, shownRange(maps, channel, tone.normalise, tone.centred), tone);
}

/** The same for the difference A − B: 511 levels from −255 to 255 of the channel's range. */
export function differencePixels(maps: Maps, channel: number, tone: Tone): Uint32Array {
  const span = (maps.high[channel] as number) - (maps.low[channel] as number);
  const whole = tone.normalise === "channel" ? span : maps.state.high - maps.state.low;
  const range = { low: -whole, high: whole };
  return tonePixels({ low: -span, high: span }, range, { ...tone, normalise: "symmetric" }, 511);
}

function tonePixels(own: Range, range: Range, tone: Tone, levels = 256): Uint32Array {
  const centred = tone.centred || tone.normalise === "symmetric";
  const span = range.high - range.low;
  const shift = centred ? 0.5 : 0;
  const place = (value: number) => (value - range.low) / span - shift;
  const most = Math.max(Math.abs(place(own.low)), Math.abs(place(own.high)));
  const full = centred ? 0.5 : 1;
  const gain = most > 0 ? (most / full) ** -tone.boost : 1;
  const pixels = new Uint32Array(levels);
  for (let q = 0; q < levels; q++) {
    // A constant layer has no range: it stands at the middle of the map, or its foot.
    let t = span > 0 ? place(own.low + (q / (levels - 1)) * (own.high - own.low)) * gain : 0;
    const size = Math.min(1, Math.abs(t) / full);
    t = Math.sign(t) * (tone.gamma === 1 ? size : size ** tone.gamma) * full + shift;
    pixels[q] = tone.colours[Math.max(0, Math.min(255, Math.round(t * 255)))] as number;
  }
  return pixels;
}

const HATCH_DARK = 0xff282828;
const HATCH_LIGHT = 0xffc800ff;

/** One map into pixels, one a unit; diagonal stripes where a value is no number. */
export function paintMap(
  maps: Maps,
  side: number,
  channel: number,
  levels: Uint32Array,
  pixels: Uint32Array,
): void {
  const area = maps.rows * maps.columns;
  const start = channel * area;
  const there = maps.sides[side] as Side;
  const { values } = there;
  for (let i = 0; i < area; i++) pixels[i] = levels[values[start + i] as number] as number;
  if (there.nonfinite) hatch(maps, there, start, pixels);
}

export function paintDifference(
  maps: Maps,
  channel: number,
  levels: Uint32Array,
  pixels: Uint32Array,
): void {
  const area = maps.rows * maps.columns;
  const start = channel * area;
  const [a, b] = maps.sides as [Side, Side];
  for (let i = 0; i < area; i++) {
    const apart = (a.values[start + i] as number) - (b.values[start + i] as number);
    pixels[i] = levels[apart + LEVELS] as number;
  }
  for (const side of [a, b]) if (side.nonfinite) hatch(maps, side, start, pixels);
}

function hatch(maps: Maps, side: Side, start: number, pixels: Uint32Array): void {
  for (let row = 0; row < maps.rows; row++) {
    for (let column = 0; column < maps.columns; column++) {
      const i = row * maps.columns + column;
      if (!isFiniteAt(side, start + i)) {
        pixels[i] = (row + column) % 2 === 0 ? HATCH_LIGHT : HATCH_DARK;
      }
    }
  }
}

/** The unit at a place given as fractions of the map's sides. */
export function spotOf(maps: Maps, across: number, down: number): [number, number] {
  const inside = (at: number, size: number) =>
    Math.max(0, Math.min(size - 1, Math.floor(at * size)));
  return [inside(down, maps.rows), inside(across, maps.columns)];
}

/** The unit of a channel that answers most to picture A. */
export function peakOf(maps: Maps, channel: number): [number, number] {
  const area = maps.rows * maps.columns;
  const [side] = maps.sides;
  let best = 0;
  let most = -1;
  for (let i = 0; side && i < area; i++) {
    const q = side.values[channel * area + i] as number;
    if (q > most && isFiniteAt(side, channel * area + i)) [best, most] = [i, q];
  }
  return [Math.floor(best / maps.columns), best % maps.columns];
}

const shrunkOf = new WeakMap<Maps, Maps>();

/** Maps of which every `factor` x `factor` units are averaged into one; those that hold NaN stay as they are. */
export function shrunk(maps: Maps, factor: number): Maps {
  if (factor < 2 || maps.sides.some((side) => side.nonfinite !== null)) return maps;
  const columns = Math.ceil(maps.columns / factor);
  const known = shrunkOf.get(maps);
  if (known?.columns === columns) return known;
  const rows = Math.ceil(maps.rows / factor);
  const sides = maps.sides.map(({ values }) => {
    const small = new Uint8Array(maps.channels * rows * columns);
    let at = 0;
    for (let channel = 0; channel < maps.channels; channel++) {
      for (let row = 0; row < rows; row++) {
        const top = (channel * maps.rows + row * factor) * maps.columns;
        const tall = Math.min(factor, maps.rows - row * factor);
        for (let column = 0; column < columns; column++) {
          const left = column * factor;
          const wide = Math.min(factor, maps.columns - left);
          let sum = 0;
          for (let y = 0; y < tall; y++) {
            const line = top + y * maps.columns + left;
            for (let x = 0; x < wide; x++) sum += values[line + x] as number;
          }
          small[at++] = sum / (tall * wide) + 0.5;
        }
      }
    }
    return { values: small, nonfinite: null };
  });
  const made = { ...maps, rows, columns, sides };
  shrunkOf.set(maps, made);
  return made;
}
