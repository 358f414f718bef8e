/**
 * Masks over a picture: which pixels they cover, and what moving and resizing make of them. All in
 * pixels of the network's input, without a page. Every shape is runs of pixels in rows, so that one
 * rule serves the fill, the hit test and the brush; `nbviz.analysis.occlusion.mask_plane` has the same.
 */

import { bounds, type Run, scaled, shifted, stroke, union } from "./brush.ts";

export interface MaskState {
  shape: "rectangle" | "circle" | "brush";
  top: number;
  left: number;
  height: number;
  width: number;
  /** what a brush covers: rows and columns of the picture, which may lie outside it */
  runs?: Run[];
}

export type Shape = MaskState["shape"];
/** row and column, with fractions: the middle of the first pixel is (0.5, 0.5) */
export type Point = [number, number];

export interface Extent {
  height: number;
  width: number;
}

/** Down and across: -1 at the top or left, 1 at the bottom or right, 0 between. */
export type Handle = [number, number];
export const HANDLES: Handle[] = [
  [-1, -1],
  [-1, 0],
  [-1, 1],
  [0, 1],
  [1, 1],
  [1, 0],
  [1, -1],
  [0, -1],
];

const clamp = (value: number, least: number, most: number) =>
  Math.min(Math.max(value, least), most);

/** Rows of a mask as [row, first column, column after the last]. */
export function runsOf(mask: MaskState): Run[] {
  const { shape, top, left, height, width } = mask;
  if (shape === "brush") return mask.runs ?? [];
  const runs: Run[] = [];
  for (let row = 0; row < height; row++) {
    let from = 0;
    if (shape === "circle") {
      // Whole numbers, four times the areas: no rounding decides about a pixel.
      const down = (2 * row + 1 - height) ** 2 * width ** 2;
      const within = (height * width) ** 2;
      while (2 * from < width && (2 * from + 1 - width) ** 2 * height ** 2 + down > within) from++;
    }
    if (2 * from < width) runs.push([top + row, left + from, left + width - from]);
  }
  return runs;
}

/** 1 where at least one mask covers a pixel, else 0; row by row. */
export function covered(masks: MaskState[], height: number, width: number): Uint8Array {
  const plane = new Uint8Array(height * width);
  for (const mask of masks) {
    for (const [row, first, stop] of runsOf(mask)) {
      const from = Math.max(0, first);
      const to = Math.min(width, stop);
      if (row >= 0 && row < height && from < to)
        plane.fill(1, row * width + from, row * width + to);
    }
  }
  return plane;
}

export function contains(mask: MaskState, [row, column]: Point): boolean {
  const [down, across] = [Math.floor(row), Math.floor(column)];
  return runsOf(mask).some(([at, from, to]) => at === down && from <= across && across < to);
}

/** The topmost mask at a point, else one whose box is at most `slack` pixels off; -1 if none. */
export function maskAt(masks: MaskState[], point: Point, slack: number): number {
  const exact = masks.findLastIndex((mask) => contains(mask, point));
  if (exact >= 0) return exact;
  const [row, column] = point;
  return masks.findLastIndex(
    ({ top, left, height, width }) =>
      row >= top - slack &&
      row <= top + height + slack &&
      column >= left - slack &&
      column <= left + width + slack,
  );
}

/** Where a handle stands: on the mask's box, drawn in where that lies outside the picture. */
export function handlePoint(mask: MaskState, [down, across]: Handle, picture: Extent): Point {
  const { top, left, bottom, right } = visible(mask, picture);
  return [top + ((down + 1) / 2) * (bottom - top), left + ((across + 1) / 2) * (right - left)];
}

/**
 * Handles that stand far enough apart to be told from one another, with `room` in pixels: all, the
 * corners, or the one corner that the picture's border does not cut off.
 */
export function handlesOf(mask: MaskState, room: number, picture: Extent): Handle[] {
  const { top, left, bottom, right } = visible(mask, picture);
  const least = Math.min(bottom - top, right - left);
  if (least >= 2 * room) return HANDLES;
  if (least >= room) return HANDLES.filter(([down, across]) => down && across);
  const cut = (end: number, limit: number) => (end > limit ? -1 : 1);
  const down = cut(mask.top + mask.height, picture.height);
  const across = cut(mask.left + mask.width, picture.width);
  return HANDLES.filter((handle) => handle[0] === down && handle[1] === across);
}

function visible({ top, left, height, width }: MaskState, picture: Extent) {
  return {
    top: clamp(top, 0, picture.height),
    left: clamp(left, 0, picture.width),
    bottom: clamp(top + height, 0, picture.height),
    right: clamp(left + width, 0, picture.width),
  };
}

export const centreOf = ({ top, left, height, width }: MaskState): Point => [
  top + height / 2,
  left + width / 2,
];

/** The mask so many whole pixels further; a part of its box stays in the picture. */
export function moved(mask: MaskState, down: number, across: number, picture: Extent): MaskState {
  const top = clamp(mask.top + Math.round(down), 1 - mask.height, picture.height - 1);
  const left = clamp(mask.left + Math.round(across), 1 - mask.width, picture.width - 1);
  const runs = mask.runs && { runs: shifted(mask.runs, top - mask.top, left - mask.left) };
  return { ...mask, top, left, ...runs };
}

/**
 * The mask with a handle so many pixels further from where it stands: the side across from it stays.
 * With `keepRatio` both sides change by one factor; a handle on a side then leaves the middle of the
 * other axis.
 */
export function resized(
  mask: MaskState,
  [down, across]: Handle,
  [rows, columns]: Point,
  keepRatio: boolean,
  picture: Extent,
): MaskState {
  const [row, column] = handlePoint(mask, [down, across], picture);
  let { height, width } = mask;
  if (down > 0) height = row + rows - mask.top;
  if (down < 0) height += mask.top - row - rows;
  if (across > 0) width = column + columns - mask.left;
  if (across < 0) width += mask.left - column - columns;
  if (keepRatio) {
    const tall = height / mask.height;
    const wide = width / mask.width;
    const factor = down === 0 ? wide : across === 0 ? tall : Math.max(tall, wide);
    height = mask.height * factor;
    width = mask.width * factor;
  }
  return boxed(mask, height, width, [down, across], picture);
}

/** So many pixels more on each of its four sides (or fewer): the middle stays. */
export function grown(mask: MaskState, rows: number, columns: number, picture: Extent): MaskState {
  return boxed(mask, mask.height + 2 * rows, mask.width + 2 * columns, [0, 0], picture);
}

function boxed(
  mask: MaskState,
  tall: number,
  wide: number,
  [down, across]: Handle,
  picture: Extent,
): MaskState {
  // Twice the picture covers it from anywhere.
  const height = clamp(Math.round(tall), 1, 2 * picture.height);
  const width = clamp(Math.round(wide), 1, 2 * picture.width);
  const top = mask.top + Math.floor(((mask.height - height) * (1 - down)) / 2);
  const left = mask.left + Math.floor(((mask.width - width) * (1 - across)) / 2);
  const box = { ...mask, top, left, height, width };
  if (mask.runs) {
    const wider = scaled(mask.runs, mask, { height, width });
    // A brush of thin lines made too small has nothing left to cover.
    if (wider.length === 0) return mask;
    const runs = shifted(wider, top - mask.top, left - mask.left);
    return moved({ ...mask, ...bounds(runs), runs }, 0, 0, picture);
  }
  return moved(box, 0, 0, picture);
}

/** A new mask of `size` pixels in the middle of a point. */
export function maskOf(
  shape: Shape,
  [row, column]: Point,
  size: number,
  picture: Extent,
): MaskState {
  if (shape === "brush") return painted(null, [row, column], [row, column], size, picture);
  const side = Math.max(1, Math.round(size));
  const top = Math.round(row - side / 2);
  const left = Math.round(column - side / 2);
  return moved({ shape, top, left, height: side, width: side }, 0, 0, picture);
}

/** What a brush of `size` pixels across covers once it went from one point to another. */
export function painted(
  mask: MaskState | null,
  from: Point,
  to: Point,
  size: number,
  picture: Extent,
): MaskState {
  const runs = union(mask?.runs ?? [], stroke(from, to, size / 2, picture));
  return { shape: "brush", ...bounds(runs), runs };
}

/** The outline as an SVG path in pixels of the picture. */
export function outlineOf(mask: MaskState): string {
  const { shape, top, left, height, width } = mask;
  if (shape === "rectangle") return `M${left} ${top}h${width}v${height}h${-width}z`;
  if (shape === "circle") {
    const radii = `${width / 2} ${height / 2} 0 1 0`;
    return `M${left} ${top + height / 2}a${radii} ${width} 0a${radii} ${-width} 0z`;
  }
  const ends: number[][] = Array.from({ length: height + 2 }, () => []);
  for (const [row, from, to] of mask.runs ?? []) ends[row - top + 1]?.push(from, to);
  let path = "";
  for (let i = 0; i <= height; i++) {
    const [above, here] = ends.slice(i, i + 2) as [number[], number[]];
    // Between two rows there is a line where exactly one of them is covered.
    const turns = [...above, ...here].sort((a, b) => a - b);
    for (let turn = 0; turn + 1 < turns.length; turn += 2) {
      const [from, to] = [turns[turn], turns[turn + 1]];
      if (from !== to) path += `M${from} ${top + i}H${to}`;
    }
    for (const end of here) path += `M${end} ${top + i}v1`;
  }
  return path;
}
