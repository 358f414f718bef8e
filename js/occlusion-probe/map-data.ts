/** The occlusion map as it came: values by class and unit, positions, what is computed; no page. */

import { type Answer, unpack } from "../shared/wire.ts";
import type { Box, MapState, Scale, Value } from "./state.ts";

/** How a cell got its value. */
export const PENDING = 0;
export const COMPUTED = 1;
export const INTERPOLATED = 2;

export interface MapData {
  fields: Omit<MapState, "arrays" | "buffers">;
  /** of the picture in pixels */
  height: number;
  width: number;
  /** of the grid of positions */
  rows: number;
  columns: number;
  tops: Int32Array;
  lefts: Int32Array;
  state: Uint8Array;
  logNormaliser: Float32Array;
  /** (rows, columns, classes) */
  logits: Float32Array;
  /** (rows, columns, ranks): the most probable classes, -1 where not there */
  ranks: number;
  topClasses: Int32Array;
  topProbabilities: Float32Array;
  /** of a feature map; null where none was watched */
  sums: Float32Array | null;
  /** position whose value stands for each: itself, or the nearest computed where it is pending; -1 for none */
  standIn: Int32Array;
  /** where each class lies in `logits` */
  places: Map<number, number>;
}

/** From a trait's value or an answer's fields and arrays. */
export function decodeMap(state: MapState | Answer): MapData {
  const travelled = "fields" in state ? state.arrays : unpack(state.arrays, state.buffers);
  const fields = ("fields" in state ? state.fields : state) as unknown as MapState;
  const take = <T>(name: string): T => {
    const found = travelled.get(name);
    if (!found) throw new Error(`the map came without its ${name}`);
    return found.data as T;
  };
  const tops = take<Int32Array>("tops");
  const lefts = take<Int32Array>("lefts");
  const cells = take<Uint8Array>("state");
  const [height, width] = fields.image;
  return {
    fields,
    height,
    width,
    rows: tops.length,
    columns: lefts.length,
    tops,
    lefts,
    state: cells,
    logNormaliser: take("log_normaliser"),
    logits: take("logits"),
    ranks: travelled.get("top_classes")?.shape[2] ?? 0,
    topClasses: take("top_classes"),
    topProbabilities: take("top_probabilities"),
    sums: (travelled.get("sums")?.data as Float32Array | undefined) ?? null,
    standIn: standIns(cells, tops.length, lefts.length),
    places: new Map(fields.classes.map(([number], place) => [number, place])),
  };
}

/**
 * For each cell the nearest that has a value, by steps on the grid (rows and columns count alike);
 * breadth first from all of them at once.
 */
export function standIns(state: Uint8Array, rows: number, columns: number): Int32Array {
  const nearest = new Int32Array(rows * columns).fill(-1);
  let front: number[] = [];
  state.forEach((cell, i) => {
    if (cell === PENDING) return;
    nearest[i] = i;
    front.push(i);
  });
  if (front.length === rows * columns) return nearest;
  while (front.length > 0) {
    const next: number[] = [];
    for (const i of front) {
      const row = Math.floor(i / columns);
      const column = i - row * columns;
      for (let r = Math.max(0, row - 1); r <= Math.min(rows - 1, row + 1); r++) {
        for (let c = Math.max(0, column - 1); c <= Math.min(columns - 1, column + 1); c++) {
          const at = r * columns + c;
          if (nearest[at] !== -1) continue;
          nearest[at] = nearest[i] as number;
          next.push(at);
        }
      }
    }
    front = next;
  }
  return nearest;
}

/** A number that came as text is NaN or infinite. */
export const numeric = (value: Value | undefined | null): number => Number(value ?? Number.NaN);

export const isDrop = (scale: Scale): boolean => scale.endsWith("drop");
const isProbability = (scale: Scale): boolean => scale.startsWith("probability");

/** Value of the unmasked picture in a scale; a drop of nothing is 0. */
export function baseValue(map: MapData, target: number, scale: Scale): number {
  if (isDrop(scale)) return 0;
  const base = map.fields.base[target];
  return numeric(isProbability(scale) ? base?.probability : base?.logit);
}

/**
 * Values of a class at all positions, NaN where the map has none of its own.
 *
 * Null where the map does not keep this class.
 */
export function classValues(map: MapData, target: number, scale: Scale): Float32Array | null {
  const place = map.places.get(target);
  if (place === undefined) return null;
  const kept = map.places.size;
  const base = map.fields.base[target];
  const from = numeric(isProbability(scale) ? base?.probability : base?.logit);
  const values = new Float32Array(map.state.length);
  for (let i = 0; i < values.length; i++) {
    if (map.state[i] === PENDING) {
      values[i] = Number.NaN;
      continue;
    }
    const logit = map.logits[i * kept + place] as number;
    const own = isProbability(scale) ? Math.exp(logit - (map.logNormaliser[i] as number)) : logit;
    values[i] = isDrop(scale) ? from - own : own;
  }
  return values;
}

/** Number of the position whose mask's centre is nearest to a point of the picture. */
export function nearestPosition(map: MapData, row: number, column: number): number {
  const [tall, wide] = map.fields.size;
  return (
    nearestOf(map.tops, row - tall / 2) * map.columns + nearestOf(map.lefts, column - wide / 2)
  );
}

/** Index of the nearest of ascending starts; of two as near, the first. */
export function nearestOf(starts: Int32Array, at: number): number {
  let low = 0;
  let high = starts.length - 1;
  while (low < high) {
    const middle = (low + high) >> 1;
    const half = ((starts[middle] as number) + (starts[middle + 1] as number)) / 2;
    if (at <= half) high = middle;
    else low = middle + 1;
  }
  return low;
}

/** Pixels that the mask at a position covers, all of them in a rectangle. */
export function maskBox(map: MapData, position: number): Box {
  const top = map.tops[Math.floor(position / map.columns)] as number;
  const left = map.lefts[position % map.columns] as number;
  return [top, left, top + map.fields.size[0], left + map.fields.size[1]];
}

export function nameOf(map: MapData, number: number): string {
  return (
    map.fields.names[number] ??
    map.fields.classes.find(([n]) => n === number)?.[1] ??
    `class ${number}`
  );
}
