/** Which row is meant: under a pointer, next to another one, within a lasso. */

import { grown, HIDDEN } from "./detail.ts";
import type { PlaceIndex } from "./place-index.ts";
import { type Extent, inView, type Projection, toPlace } from "./viewpoint.ts";

export type Point = [number, number];

/** What of a row can be hit. */
export interface Shown {
  /** sides in CSS pixels of its picture; null where it is a dot */
  picture(row: number): [number, number] | null;
  /** small is in front */
  depth(row: number): number;
  /** the largest side of any picture, in CSS pixels */
  reach: number;
}

/** CSS pixels from the middle of a dot that still hit it. */
const NEAR = 9;

/** The row at a point of the screen: of pictures the one in front, else the nearest dot; -1 for none. */
export function hit(index: PlaceIndex, view: Projection, shown: Shown, x: number, y: number) {
  const place = toPlace(view, x, y);
  const reach = Math.max(NEAR, shown.reach / 2 + 4) / view.scale;
  let best = -1;
  let front = Number.POSITIVE_INFINITY;
  let nearest = -1;
  let least = (NEAR / view.scale) ** 2;
  index.each(around(place, reach), HIDDEN, (row) => {
    const dx = (index.places[2 * row] as number) - place.x;
    const dy = (index.places[2 * row + 1] as number) - place.y;
    const sides = shown.picture(row);
    if (sides) {
      const depth = shown.depth(row);
      const across = Math.abs(dx) * view.scale <= sides[0] / 2;
      if (across && Math.abs(dy) * view.scale <= sides[1] / 2 && depth < front) {
        best = row;
        front = depth;
      }
    } else if (dx * dx + dy * dy <= least) {
      nearest = row;
      least = dx * dx + dy * dy;
    }
  });
  return best >= 0 ? best : nearest;
}

/**
 * The row to walk to from a point of the screen: the nearest within 45 degrees of a direction, of those
 * in view that `takes`; -1 for none.
 */
export function towards(
  index: PlaceIndex,
  view: Projection,
  from: { x: number; y: number },
  [along, down]: Point,
  takes: (row: number) => boolean,
): number {
  const start = toPlace(view, from.x, from.y);
  let best = -1;
  let least = Number.POSITIVE_INFINITY;
  index.each(inView(view), HIDDEN, (row) => {
    const dx = (index.places[2 * row] as number) - start.x;
    const dy = (index.places[2 * row + 1] as number) - start.y;
    const ahead = dx * along + dy * down;
    const aside = Math.abs(dx * down - dy * along);
    if (ahead <= 0 || aside > ahead) return;
    const far = ahead + 2 * aside;
    if (far < least && takes(row)) {
      best = row;
      least = far;
    }
  });
  return best;
}

/** The rows in view that `takes`, in the order in which one reads: lines as high as a picture. */
export function inReadingOrder(
  index: PlaceIndex,
  view: Projection,
  side: number,
  takes: (row: number) => boolean,
): number[] {
  const rows: number[] = [];
  index.each(inView(view), HIDDEN, (row) => {
    if (takes(row)) rows.push(row);
  });
  const line = Math.max(1, side / view.scale);
  const x = (row: number) => index.places[2 * row] as number;
  const y = (row: number) => Math.floor((index.places[2 * row + 1] as number) / line);
  return rows.sort((a, b) => y(a) - y(b) || x(a) - x(b) || a - b);
}

/** The rows within a polygon on the screen, ascending. */
export function within(index: PlaceIndex, view: Projection, outline: Point[]): Int32Array {
  if (outline.length < 3) return new Int32Array();
  const corners = outline.map(([x, y]) => toPlace(view, x, y));
  const xs = corners.map((p) => p.x);
  const ys = corners.map((p) => p.y);
  const box: Extent = {
    left: Math.min(...xs),
    right: Math.max(...xs),
    top: Math.min(...ys),
    bottom: Math.max(...ys),
  };
  const rows: number[] = [];
  index.each(box, HIDDEN, (row) => {
    const x = index.places[2 * row] as number;
    const y = index.places[2 * row + 1] as number;
    if (surrounds(xs, ys, x, y)) rows.push(row);
  });
  return Int32Array.from(rows).sort();
}

/** Is a point inside a polygon: a ray from it crosses the outline an odd number of times. */
function surrounds(xs: number[], ys: number[], x: number, y: number): boolean {
  let inside = false;
  for (let i = 0, j = xs.length - 1; i < xs.length; j = i++) {
    const [yi, yj] = [ys[i] as number, ys[j] as number];
    if (yi > y === yj > y) continue;
    const [xi, xj] = [xs[i] as number, xs[j] as number];
    if (x < ((xj - xi) * (y - yi)) / (yj - yi) + xi) inside = !inside;
  }
  return inside;
}

function around({ x, y }: { x: number; y: number }, reach: number): Extent {
  return { left: x - reach, top: y - reach, right: x + reach, bottom: y + reach };
}

/** The corners of a box between two points of the screen. */
export function boxBetween([x0, y0]: Point, [x1, y1]: Point): Point[] {
  return [
    [x0, y0],
    [x1, y0],
    [x1, y1],
    [x0, y1],
  ];
}

/** What shows of a row at a level of detail: whether it is more picture than dot. */
export function showsAt(first: number, level: number): boolean {
  return grown(first, level) > 0.5;
}
