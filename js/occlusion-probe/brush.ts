/** What a brush covers, as runs of pixels in rows; without a page. */

/** a row, its first column, and the column after the last */
export type Run = [number, number, number];

interface Sides {
  height: number;
  width: number;
}

interface Box extends Sides {
  top: number;
  left: number;
}

/** Pixels of the picture whose middle is at most `radius` from the line between two points. */
export function stroke(
  [row, column]: [number, number],
  [toRow, toColumn]: [number, number],
  radius: number,
  picture: Sides,
): Run[] {
  const [down, across] = [toRow - row, toColumn - column];
  const length = down * down + across * across;
  // The thinnest brush still takes the pixel that it is on.
  const reach = Math.max(radius, Math.SQRT1_2);
  const inside = (y: number, x: number) => {
    const along = length && ((y - row) * down + (x - column) * across) / length;
    const t = Math.min(Math.max(along, 0), 1);
    return (y - row - t * down) ** 2 + (x - column - t * across) ** 2 <= reach * reach;
  };
  const first = Math.max(0, Math.floor(Math.min(column, toColumn) - reach));
  const last = Math.min(picture.width, Math.ceil(Math.max(column, toColumn) + reach));
  const bottom = Math.min(picture.height, Math.ceil(Math.max(row, toRow) + reach));
  const runs: Run[] = [];
  for (let y = Math.max(0, Math.floor(Math.min(row, toRow) - reach)); y < bottom; y++) {
    let from = first;
    let to = last;
    while (from < to && !inside(y + 0.5, from + 0.5)) from++;
    while (from < to && !inside(y + 0.5, to - 0.5)) to--;
    if (from < to) runs.push([y, from, to]);
  }
  return runs;
}

/** Both, with runs in order that neither touch nor overlap. */
export function union(runs: Run[], others: Run[]): Run[] {
  const sorted = [...runs, ...others].sort((a, b) => a[0] - b[0] || a[1] - b[1]);
  const merged: Run[] = [];
  for (const [row, from, to] of sorted) {
    const last = merged.at(-1);
    if (last && last[0] === row && from <= last[2]) last[2] = Math.max(last[2], to);
    else merged.push([row, from, to]);
  }
  return merged;
}

export function shifted(runs: Run[], down: number, across: number): Run[] {
  return runs.map(([row, from, to]) => [row + down, from + across, to + across]);
}

/** The box around all runs; no runs have none, at the top left. */
export function bounds(runs: Run[]): Box {
  if (runs.length === 0) return { top: 0, left: 0, height: 0, width: 0 };
  let [top, left, bottom, right] = [Infinity, Infinity, -Infinity, -Infinity];
  for (const [row, from, to] of runs) {
    top = Math.min(top, row);
    left = Math.min(left, from);
    bottom = Math.max(bottom, row + 1);
    right = Math.max(right, to);
  }
  return { top, left, height: bottom - top, width: right - left };
}

/** Runs of a box drawn out to other sides: each pixel is the nearest of before. */
export function scaled(runs: Run[], box: Box, sides: Sides): Run[] {
  const found: Run[] = [];
  const factor = sides.width / box.width;
  const column = (at: number) => box.left + Math.round((at - box.left) * factor);
  for (let row = 0; row < sides.height; row++) {
    const source = box.top + Math.floor(((row + 0.5) * box.height) / sides.height);
    for (const [at, from, to] of runs) {
      if (at === source && column(from) < column(to)) {
        found.push([box.top + row, column(from), column(to)]);
      }
    }
  }
  return union(found, []);
}
