/** The most probable class at each position, as colours and letters; no page. */

import { type MapData, nameOf, PENDING } from "./map-data.ts";

/** Okabe and Ito's colours, told apart by the colour-blind too, strongest contrast first. */
const PALETTE = ["#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#f0e442"];
const OTHER = "#8a8a8a";

export interface Category {
  /** class number; -1 stands for all that are too rare for a colour of their own */
  number: number;
  name: string;
  letter: string;
  colour: string;
  /** share of all positions where it is the most probable */
  share: number;
}

/** One letter on the map: a category, and the cell that it stands on. */
export interface Label {
  category: number;
  cell: number;
  /** cells that hang together */
  size: number;
}

export interface ClassMap {
  categories: Category[];
  /** index into `categories` by position; NaN where there is no class */
  values: Float32Array;
  labels: Label[];
}

function numberAt(map: MapData, position: number): number {
  if (map.state[position] === PENDING || map.ranks === 0) return -1;
  return map.topClasses[position * map.ranks] as number;
}

/**
 * Categories of one or more maps together, by how many positions they have; the target's comes
 * first, so that it keeps its colour.
 */
export function categoriesOf(maps: MapData[], target: number): Category[] {
  const counts = new Map<number, number>();
  const names = new Map<number, string>();
  for (const map of maps) {
    for (let i = 0; i < map.state.length; i++) {
      const number = numberAt(map, i);
      if (number < 0) continue;
      counts.set(number, (counts.get(number) ?? 0) + 1);
      if (!names.has(number)) names.set(number, nameOf(map, number));
    }
  }
  const ordered = [...counts].sort(
    ([a, m], [b, n]) => Number(b === target) - Number(a === target) || n - m || a - b,
  );
  const total = ordered.reduce((sum, [, count]) => sum + count, 0);
  const rest = ordered.splice(PALETTE.length);
  const categories: Category[] = ordered.map(([number, count], i) => ({
    number,
    name: names.get(number) ?? "",
    letter: String.fromCharCode(65 + i),
    colour: PALETTE[i] as string,
    share: count / total,
  }));
  if (rest.length > 0) {
    const count = rest.reduce((sum, [, n]) => sum + n, 0);
    const name = `${rest.length} other ${rest.length === 1 ? "class" : "classes"}`;
    categories.push({ number: -1, name, letter: "·", colour: OTHER, share: count / total });
  }
  return categories;
}

export function classMap(map: MapData, categories: Category[]): ClassMap {
  const places = new Map(categories.map(({ number }, i) => [number, i]));
  const values = Float32Array.from({ length: map.state.length }, (_, i) => {
    const number = numberAt(map, i);
    return number < 0 ? Number.NaN : (places.get(number) ?? categories.length - 1);
  });
  const shown = Float32Array.from(map.standIn, (from) =>
    from < 0 ? Number.NaN : (values[from] as number),
  );
  return { categories, values, labels: regionLabels(shown, map.rows, map.columns) };
}

/** A label for each region of equal neighbours (left, right, above, below), near its middle. */
export function regionLabels(values: Float32Array, rows: number, columns: number): Label[] {
  const seen = new Uint8Array(values.length);
  const labels: Label[] = [];
  for (let start = 0; start < values.length; start++) {
    const category = values[start] as number;
    if (seen[start] || Number.isNaN(category)) continue;
    const cells = [start];
    seen[start] = 1;
    let down = 0;
    let across = 0;
    for (let k = 0; k < cells.length; k++) {
      const i = cells[k] as number;
      const row = Math.floor(i / columns);
      const column = i - row * columns;
      down += row;
      across += column;
      const reach = (next: number, inside: boolean) => {
        if (!inside || seen[next] || values[next] !== category) return;
        seen[next] = 1;
        cells.push(next);
      };
      reach(i - columns, row > 0);
      reach(i + columns, row < rows - 1);
      reach(i - 1, column > 0);
      reach(i + 1, column < columns - 1);
    }
    const [middle, centre] = [down / cells.length, across / cells.length];
    const off = (i: number) => Math.hypot(Math.floor(i / columns) - middle, (i % columns) - centre);
    const cell = cells.reduce((best, i) => (off(i) < off(best) ? i : best));
    labels.push({ category, cell, size: cells.length });
  }
  return labels;
}
