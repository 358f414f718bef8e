/** Which rows show as pictures in a part of the map. */

import { Cover } from "./cover.ts";
import { GROWING, HIDDEN } from "./detail.ts";
import { CHOSEN, LINKED, type PictureList, SELECTED, sidesOf } from "./painter.ts";
import type { PlaceIndex } from "./place-index.ts";
import type { Scene } from "./scene.ts";
import type { Extent } from "./viewpoint.ts";

/** More selected rows than these are marked where they show, but do not show for being selected. */
const MOST_SELECTED = 1000;

export const NO_PICTURES: PictureList = {
  rows: new Uint32Array(),
  levels: new Uint8Array(),
  marks: new Uint8Array(),
};

/** Marks of selected rows. */
export function selectedMarks({ selected }: Scene): Map<number, number> {
  return new Map(Array.from(selected, (row) => [row, SELECTED]));
}

/** Neighbours that show as pictures in any case: more would lie on one another, and have rings. */
const RAISED = 3;

/** What lies above all, by row: what is chosen, what is pointed at, and the first it is joined to. */
export function frontMarks({ chosen, links }: Scene): Map<number, number> {
  const marks = new Map<number, number>();
  const add = (row: number, mark: number) => marks.set(row, (marks.get(row) ?? 0) | mark);
  if (chosen >= 0) add(chosen, CHOSEN);
  if (links) {
    for (const row of links.neighbours.subarray(0, RAISED)) add(row, LINKED);
    const mark = marks.get(links.row) ?? 0;
    marks.delete(links.row); // last of all: what is pointed at lies above its neighbours
    if (links.row >= 0) marks.set(links.row, mark | LINKED);
  }
  return marks;
}

/** These rows as pictures, as far as they are drawn at all. */
export function frontList(
  front: Map<number, number>,
  marks: Map<number, number>,
  first: Uint8Array,
): PictureList {
  const rows = Uint32Array.from(front.keys()).filter((row) => (first[row] ?? HIDDEN) !== HIDDEN);
  return {
    rows,
    levels: new Uint8Array(rows.length),
    marks: Uint8Array.from(rows, (row) => (front.get(row) ?? 0) | (marks.get(row) ?? 0)),
  };
}

export interface Wanted {
  index: PlaceIndex;
  box: Extent;
  /** of detail; infinite where all show */
  level: number;
  marks: Map<number, number>;
  /** rows that show in any case, as those that are on their way out */
  also: Uint32Array;
  most: number;
  ranks: Uint32Array;
  order: Uint32Array;
}

/** The pictures of a part of the map, by priority. */
export function pictureList(wanted: Wanted): PictureList {
  const { index, box, level, marks, also, most, ranks, order } = wanted;
  const all = level === Number.POSITIVE_INFINITY;
  let upTo = all ? HIDDEN - 1 : Math.floor(level + GROWING);
  const found: number[] = [];
  const collect = () => index.each(box, upTo, (row) => found.push(ranks[row] as number) > most);
  collect();
  if (found.length > most) {
    found.length = 0;
    upTo = index.levelFor(box, most);
    if (upTo >= 0) collect();
  }
  const always = new Set<number>(also);
  let selected = 0;
  for (const row of marks.keys()) {
    if (++selected > MOST_SELECTED) break;
    always.add(row);
  }
  for (const row of always) {
    const first = index.first[row] ?? HIDDEN;
    if (first !== HIDDEN) found.push(ranks[row] as number);
  }
  const sorted = Uint32Array.from(found).sort();
  const rows = sorted.map((rank) => order[rank] as number);
  const unique = rows.filter((row, i) => i === 0 || row !== rows[i - 1]);
  return {
    rows: unique,
    levels: all
      ? new Uint8Array(unique.length)
      : Uint8Array.from(unique, (row) => (always.has(row) ? 0 : (index.first[row] as number))),
    marks: marks.size
      ? Uint8Array.from(unique, (row) => marks.get(row) ?? 0)
      : new Uint8Array(unique.length),
  };
}

/**
 * The pictures of which something shows, `open` cells of a cover; `list` has those in front first, all of
 * a side in units of place. What is marked always shows.
 */
export function uncovered(
  list: PictureList,
  places: Uint16Array,
  box: Extent,
  side: number,
  open: number,
  aspectOf: (row: number) => number,
): PictureList {
  const cover = new Cover(box.left, box.top, box.right, box.bottom, side, open);
  const kept = new Uint32Array(list.rows.length);
  let count = 0;
  for (let i = 0; i < list.rows.length; i++) {
    const row = list.rows[i] as number;
    const [width, height] = sidesOf(aspectOf(row), side);
    const shows = cover.put(
      places[2 * row] as number,
      places[2 * row + 1] as number,
      width,
      height,
    );
    if (!shows && list.marks[i] === 0) continue;
    kept[count] = i;
    count += 1;
  }
  const indices = kept.subarray(0, count);
  return {
    rows: indices.map((i) => list.rows[i] as number),
    levels: Uint8Array.from(indices, (i) => list.levels[i] as number),
    marks: Uint8Array.from(indices, (i) => list.marks[i] as number),
  };
}
