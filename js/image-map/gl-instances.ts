/** The buffer that pictures are drawn from: 32 bytes each, as `PICTURE` in `gl-programs.ts` describes them. */

import type { Frame, PictureList } from "./painter.ts";
import type { TileSlots } from "./tile-slots.ts";
import type { TileStore } from "./tile-store.ts";

/** Bytes of a picture's instance. */
export const INSTANCE = 32;
/** Pages of a pool, at most: a picture's bucket is `pool * MOST_PAGES + page`. */
export const MOST_PAGES = 32;
/** The bucket of pictures that have not come. */
export const BARE = 3 * MOST_PAGES;
/** A slot that says there is no tile. */
const NO_TILE = 65535;

/** Of pictures in a buffer, those of a page of tiles together: bucket, first instance, how many. */
export type Runs = [number, number, number][];

/** The instances of the pictures of a list that there are, those of a page of tiles together. */
export function instancesOf(
  { rows, levels, marks }: PictureList,
  frame: Frame,
  tiles: TileStore,
  pool: number,
): [Runs, ArrayBufferView] {
  const buckets = new Uint8Array(rows.length).fill(255);
  const slots = new Int32Array(rows.length);
  const starts = new Uint32Array(BARE + 2);
  for (let i = 0; i < rows.length; i++) {
    const found = tiles.find(rows[i] as number, pool);
    if (!found && !frame.square) continue;
    const perPage = (tiles.pools[found?.pool ?? 0] as TileSlots).perPage;
    const bucket = found ? found.pool * MOST_PAGES + Math.floor(found.slot / perPage) : BARE;
    buckets[i] = bucket;
    slots[i] = found ? found.slot : -1;
    starts[bucket + 1] = (starts[bucket + 1] as number) + 1;
  }
  const runs: Runs = [];
  for (let bucket = 0; bucket <= BARE; bucket++) {
    const start = starts[bucket] as number;
    const count = starts[bucket + 1] as number;
    starts[bucket + 1] = start + count;
    if (count) runs.push([bucket, start, count]);
  }
  const total = starts[BARE + 1] as number;
  const data = new ArrayBuffer(INSTANCE * total);
  const write = instanceWriter(data, frame);
  for (let i = 0; i < rows.length; i++) {
    const bucket = buckets[i] as number;
    if (bucket === 255) continue;
    const n = starts[bucket] as number;
    starts[bucket] = n + 1;
    const from = tiles.pools[Math.floor(bucket / MOST_PAGES)];
    write(n, rows[i] as number, levels[i] as number, marks[i] as number, from, slots[i] as number);
  }
  return [runs, new Uint8Array(data)];
}

/** Writes instances as `PICTURE` describes them. */
function instanceWriter(data: ArrayBuffer, frame: Frame) {
  const shorts = new Uint16Array(data);
  const bytes = new Uint8Array(data);
  const words = new Uint32Array(data);
  const floats = new Float32Array(data);
  const { from, index, ranks, inks, borders } = frame;
  const to = index.places;
  const inkWords = wordsOf(inks);
  const borderWords = borders && wordsOf(borders);
  return (
    n: number,
    row: number,
    level: number,
    marks: number,
    slots: TileSlots | undefined,
    slot: number,
  ): void => {
    const short = n * (INSTANCE / 2);
    const word = n * (INSTANCE / 4);
    shorts[short] = from[2 * row] as number;
    shorts[short + 1] = from[2 * row + 1] as number;
    shorts[short + 2] = to[2 * row] as number;
    shorts[short + 3] = to[2 * row + 1] as number;
    words[word + 2] = inkWords[row] as number;
    words[word + 3] = borderWords ? (borderWords[row] as number) : 0;
    shorts[short + 8] = slots && slot >= 0 ? slot % slots.perPage : NO_TILE;
    bytes[n * INSTANCE + 18] = level;
    bytes[n * INSTANCE + 19] = marks;
    floats[word + 5] = slots && slot >= 0 ? (slots.aspect[slot] as number) : 1;
    floats[word + 6] = (ranks[row] as number) / ranks.length;
    floats[word + 7] = slots && slot >= 0 ? Math.max(-1e9, slots.born[slot] as number) : -1e9;
  };
}

/** Four bytes of each row as one number; copied only where they are not aligned. */
export function wordsOf(array: Uint8Array | Uint16Array): Uint32Array {
  const aligned = array.byteOffset % 4 === 0 ? array : array.slice();
  return new Uint32Array(aligned.buffer, aligned.byteOffset, aligned.byteLength >> 2);
}
