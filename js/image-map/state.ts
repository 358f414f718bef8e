/** The traits that this view shares with `nbviz.ImageMap`, and what its questions are answered with. */

import type { ArrayEntry } from "../shared/wire.ts";

export type LayoutName = "map" | "grid" | "pca";
export type Pictures = "thinned" | "all" | "dots";
export type Tool = "pan" | "lasso" | "box";
export type Question = "misplaced" | "duplicates" | "outliers";

export interface Packed {
  arrays: ArrayEntry[];
  buffers: DataView[];
}

/**
 * The value of the trait `points`. Arrays: per layout that is known, under its name, places as uint16
 * (n, 2), x to the right and y down over 0 to 65535; `numbers` int32 (n,), of the images in the data
 * set, left out where they are 0, 1, ... In all messages a *row* counts the images of the map.
 */
export interface PointsState extends Packed {
  count: number;
  /** side of a cell of the grid in units of place; 0 where there is no grid yet */
  cell: number;
  /** what the map is, in words: "t-SNE, perplexity 30" */
  method: string;
}

/** The value of the trait `progress`, and fields of the answer to "advance". */
export interface ProgressState {
  finished: boolean;
  /** a person stopped it, "advance" with {resume: true} goes on */
  stopped: boolean;
  iteration: number;
  total: number;
  /** "Placing 1,797 images: 250 of 750 steps, some 4 s left" */
  sentence: string;
}

/** The value of the trait `facts`. Arrays: `label` uint16 and `predicted` uint16 (n,), 65535 for
 * none, each where known; `confidence` uint8 (n,), 0 to 254 for 0 to 1, 255 for none; `neighbours`
 * int32 (n, k) rows, nearest first, of sets that are not too large to be saved. */
export interface FactsState extends Packed {
  /** names of labels and of what is predicted */
  classes: string[];
  outputs: string[];
}

/** A way to colour, or to border, images; of the trait `layers`. */
export interface LayerEntry {
  /** "none", "class", "prediction", "confidence", "right", "cluster", "trust", "kept", or the user's */
  name: string;
  label: string;
  kind: "none" | "category" | "value";
}

/** Values of the trait `colour_layer` and `border_layer`. Array `values`: uint16 (n,); categories by
 * number, or 0 to 65534 for low to high; 65535 for none. */
export interface InkState extends Packed {
  name: string;
  label: string;
  kind: "none" | "category" | "value";
  /** of categories, all that occur: number, name, how many */
  categories: { number: number; name: string; count: number }[];
  low: number;
  high: number;
  colormap: "sequential" | "diverging";
  /** what high values mean, for the legend */
  meaning: string;
}

/** The value of the trait `named`: where names of categories stand, in units of place. */
export interface NamedState {
  layout: LayoutName;
  /** category, x, y, how many images */
  places: [number, number, number, number][];
  /** the name of each */
  texts: string[];
  /** layer whose categories these are: that of `colour`, or "class" where that has none */
  by: string;
}

/** The value of the trait `trust`; empty until it was measured. */
export interface TrustState {
  /** 0 to 1; null where it could not be measured */
  trustworthiness: number | null;
  continuity: number | null;
  preserved: number | null;
  neighbours: number;
  /** of how many images ranks were taken */
  measured: number;
  exact: boolean;
  layout: LayoutName;
  sentence: string;
}

/** The value of the trait `seam_lines`. Arrays: `pairs` int32 (m, 2) rows, `strength` uint8 (m,). */
export interface SeamState extends Packed {
  layout: LayoutName;
  /** what strength 0 and 255 mean */
  meaning: string;
}

/** The answer to "tiles" {tile, rows: number[]} and the trait `pictures`. Arrays: `rows` int32 (m,),
 * as far as they were done; `aspect` float32 (m,), width over height; `broken` uint8 (m,); `sheet`
 * uint8, a JPEG of `columns` tiles across, in the order of `rows`; each image fills its square tile,
 * whatever its aspect. */
export interface TilesState extends Packed {
  tile: number;
  columns: number;
}

/** The answer to "neighbours" {row}. Arrays: `rows` int32 (k,), `distance` float32 (k,), nearest first;
 * `on_map` int32 (k,): how many images lie nearer on the map than this one; 0 for the nearest. */
export interface NeighboursState {
  row: number;
}

/** The answer to "card" {row}: what is said of an image, each a line of text. */
export interface CardState {
  row: number;
  /** file name or "image 17" */
  title: string;
  lines: string[];
}

/** The answer to "question" {about, label, among}. Arrays: `rows` int32 (m,), `partners` int32 (m,) -1
 * for none, `value` float32 (m,). */
export interface QuestionState {
  about: Question;
  /** of each entry, one line */
  said: string[];
  sentence: string;
}

/** The value of the trait `own`: images that were dropped. Arrays: `places` uint16 (m, 2) on the layout
 * "map", `neighbours` int32 (m, k) rows, `aspect` float32 (m,), `sheet` as in tiles, of m tiles. */
export interface OwnState extends Packed {
  tile: number;
  columns: number;
  /** of each: its name, and what is said of it */
  said: { title: string; lines: string[] }[];
}

/** The value of the trait `found`. Array: `rows` int32 (m,). */
export interface FoundState extends Packed {
  /** what is to be said of it */
  note: string;
  /** what was searched */
  search?: string;
}

export interface State {
  /** not "layout": that is a trait of every widget */
  arrangement: LayoutName;
  colour: string;
  /** "" for the same as `colour` */
  border: string;
  /** categories of `colour` that are filtered away */
  hidden: number[];
  /** of a colour by value, what is kept: low and high; empty for all */
  range: number[];
  search: string;
  thumbnails: Pictures;
  /** side of a thumbnail in CSS pixels, 8 to 128 */
  size: number;
  seams: boolean;
  names: boolean;
  /** number of an image in the data set, -1 for none */
  image: number;
  /** what is in view: x and y of the middle in units of place, and zoom (1 shows all); empty for all */
  camera: number[];
  height: number;
  /** int32 `rows` */
  _selected: Packed | Record<string, never>;
  points: PointsState | Record<string, never>;
  progress: ProgressState | Record<string, never>;
  facts: FactsState | Record<string, never>;
  layers: LayerEntry[];
  colour_layer: InkState | Record<string, never>;
  border_layer: InkState | Record<string, never>;
  named: NamedState | Record<string, never>;
  trust: TrustState | Record<string, never>;
  seam_lines: SeamState | Record<string, never>;
  pictures: TilesState | Record<string, never>;
  own: OwnState | Record<string, never>;
  found: FoundState | Record<string, never>;
  /** what was done to the data, a sentence each */
  notes: string[];
  /** why no pictures can be had; empty where they can */
  missing: string;
  /** why no picture of one's own can be placed; empty where it can */
  no_placing: string;
  problem: string;
}
