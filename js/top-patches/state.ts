/** The traits that this view shares with `nbviz.TopPatches`, and what its questions are answered with. */

import type { ArrayEntry } from "../shared/wire.ts";

export type Sort = "index" | "peak" | "selectivity" | "sparsity" | "diversity" | "purity";
export type Show = "patch" | "image" | "masked";

/** Pixels of the input: top, left, bottom, right; half-open. */
export type Box = [number, number, number, number];

export interface Packed {
  arrays: ArrayEntry[];
  buffers: DataView[];
}

export interface LayerEntry {
  name: string;
  kind: string;
  channels: number;
  /** rows and columns of units; empty where there is no grid */
  grid: number[];
  /** how much of the image a unit sees, in words */
  rf: string;
}

/** The value of the trait `overview`: what is known of every channel of a layer. */
export interface OverviewState extends Packed {
  layer: string;
  /** counted images of the scan */
  images: number;
  classes_known: boolean;
  /** height and width of the network's input */
  input: number[];
  /** a unit sees the whole image */
  whole: boolean;
  /** why no pictures can be had; empty where they can */
  missing: string;
  /** what selectivity was worked out for; empty for each channel's best class */
  search: string;
}

/** Strips of patches, one image file a channel; the answer to "rows" and the trait `pictures`. */
export interface StripsState {
  layer: string;
  channels: number[];
  show: Show;
  patches: number;
  /** side of a tile in pixels */
  tile: number;
}

export interface GroupEntry {
  name: "top" | "middle" | "bottom";
  count: number;
}

export interface ClassShare {
  number: number;
  name: string;
  /** 0 to 1, of the top */
  share: number;
  count: number;
}

/** The answer to "channel" and the trait `opened`. */
export interface OpenedState {
  layer: string;
  channel: number;
  show: Show;
  tile: number;
  groups: GroupEntry[];
  title: string;
  sentence: string;
  class_shares: ClassShare[];
  /** share of the most frequent class; NaN comes as text */
  purity: number | string | null;
}

/** The answer to "image". */
export interface ImageState {
  layer: string;
  channel: number;
  image: number;
  label: number;
  predicted: number;
  confidence: number | string | null;
  /** of the strongest unit; empty without a channel */
  box: number[];
  place: number[];
  value: number | string | null;
  /** height and width in pixels of the input */
  size: number[];
  /** what 0 and 255 of the map stand for */
  low: number;
  high: number;
  /** of the class */
  name: string;
  /** as it was chosen when this was asked */
  unit: number[];
}

/** The answer to "answering". */
export interface AnsweringState {
  tested: number;
  total: number;
  note: string;
  layers: string[];
}

export interface State {
  /** both ways */
  layer: string;
  channel: number;
  image: number;
  /** row and column; empty for none */
  unit: number[];
  sort: Sort;
  descending: boolean;
  search: string;
  show: Show;
  patches: number;
  size: number;
  /** on the image; empty for none */
  box: number[];
  /** from Python only */
  layers: LayerEntry[];
  classes: string[];
  outputs: string[];
  found: { classes?: { number: number; name: string }[]; note?: string };
  overview: OverviewState;
  pictures: StripsState & Packed;
  opened: OpenedState & Packed;
  problem: string;
}

/** Traits of the model with their types. */
export interface Model {
  get<K extends keyof State>(name: K): State[K];
  set<K extends keyof State>(name: K, value: State[K]): void;
  save_changes(): void;
}

/** What parts of the view read and change. */
export interface Hands {
  get<K extends keyof State>(name: K): State[K];
  set(values: Partial<State>): void;
  /** CSS pixels of a patch, whether chosen or fitted */
  size(): number;
}

export const SIZES = { least: 32, most: 128, step: 8 };
