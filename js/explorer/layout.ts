/** Where panes stand: how many columns there are, and where in its column each begins. */

import type { Chosen } from "./state.ts";

/** CSS pixels that a pane should have, and that it needs, across. */
const COMFORTABLE = 520;
const LEAST = 300;
const MOST_COLUMNS = 3;
/** CSS pixels of a row of the grid: panes begin and end at whole rows. */
export const ROW = 4;
export const GAP = 12;

/**
 * Columns for so many open panes in so much room: as many as asked for, or with 0 as many as fit
 * well; never more than have room at all.
 */
export function columnsFor(width: number, asked: number, panes: number): number {
  const beside = (each: number) => Math.floor((width + GAP) / (each + GAP));
  const wanted = asked > 0 ? Math.min(asked, beside(LEAST)) : beside(COMFORTABLE);
  return Math.max(1, Math.min(wanted, MOST_COLUMNS, panes));
}

export interface Place {
  /** from 1, as the grid of CSS counts */
  column: number;
  row: number;
  span: number;
}

/**
 * Places of panes of these heights (CSS pixels). They go into columns by their order, left to right,
 * so that one that grows only moves what is below it in its column.
 */
export function placesOf(heights: number[], columns: number): Place[] {
  const ends = Array.from({ length: columns }, () => 1);
  return heights.map((height, i) => {
    const column = i % columns;
    const span = Math.max(1, Math.ceil((height + GAP) / ROW));
    const row = ends[column] as number;
    ends[column] = row + span;
    return { column: column + 1, row, span };
  });
}

/** The open panes after one was moved by a place; the same at an end. */
export function moved(panes: string[], name: string, by: -1 | 1): string[] {
  const from = panes.indexOf(name);
  const to = from + by;
  if (from < 0 || to < 0 || to >= panes.length) return panes;
  const order = [...panes];
  [order[from], order[to]] = [order[to] as string, order[from] as string];
  return order;
}

/** The open panes after one was opened or closed: one that opens comes last. */
export function toggled(panes: string[], name: string): string[] {
  return panes.includes(name) ? panes.filter((other) => other !== name) : [...panes, name];
}

/** What is chosen in all panes by its numbers alone, as `[what, which]`. */
export function chosenOf({ layer, channel, unit, image }: Chosen): [string, string][] {
  return [
    ["Layer", layer],
    ["Channel", channel >= 0 ? String(channel) : "none"],
    ...(unit.length === 2 ? [["Unit", unit.join(", ")] as [string, string]] : []),
    ...(image >= 0 ? [["Image", String(image)] as [string, string]] : []),
  ];
}
