/** The traits that this view shares with `nbviz.ActivationBrowser`; a Python test holds the two together. */

import type { Colormap } from "../shared/colormaps.ts";
import type { ArrayEntry } from "../shared/wire.ts";

export type Normalise = "channel" | "layer" | "symmetric";
export type Sort = "index" | "peak" | "mean" | "sparsity" | "difference" | "class";
export type Side = "A" | "B" | "difference" | "both";
export type Source = "dataset" | "own" | "drawing" | "camera";

/** Rows and columns, or pixels: top, left, bottom, right; half-open. */
export type Box = [number, number, number, number];

export interface LayerEntry {
  name: string;
  kind: string;
  /** as a person writes it: 64×55×55 */
  shape: string;
  channels: number;
  /** rows and columns of units; empty where there is no grid */
  grid: number[];
  /** by what the image is divided, and how much of it a unit sees: short, then in words */
  coarse: string;
  field: string;
  sees: string;
  /** 0 is the trunk */
  lane: number;
  /** numbers of the layers that it reads; -1 is the input */
  inputs: number[];
  /** heads, where attention is computed here; 0 elsewhere */
  heads: number;
  /** why it cannot be drawn; empty where it can */
  problem: string;
}

export interface Packed {
  arrays: ArrayEntry[];
  buffers: DataView[];
}

/** The value of the trait `maps`: feature maps, or attention by head. */
export interface MapsState extends Packed {
  layer: string;
  kind: "maps" | "attention";
  /** of all channels, both sides; what the 16-bit ranges of channels are fractions of */
  low: number;
  high: number;
  /** names of channels where numbers do not serve: classes, heads */
  labels: string[];
  /** what else to know of them */
  note: string;
  /** which pictures they answer to: numbers that rise with every new one */
  pictures: number[];
  /** tokens before the grid's */
  prefix: number;
  /** the choices that they answer to; `asked` is that of the query */
  image: number;
  compared: number;
  asked: number;
  /** query token of attention: -1 elsewhere */
  query: number;
  /** values that are no numbers, of side A */
  nonfinite: number;
  /** units that may feed, or be fed by, the origin; empty without one */
  related: { to: "feeds" | "fed by" | "is" | ""; units: number[] };
}

export interface PictureState extends Packed {
  note: string;
  /** rises with every new picture */
  number: number;
}

export interface Guess {
  index: number;
  name: string;
  probability: number;
  /** NaN and infinity come as text */
  logit: number | string;
}

export interface PredictionState {
  /** one list a picture, most probable first */
  top: Guess[][];
}

export interface RailState extends Packed {
  /** strongest channel of each layer; -1 where it has none */
  strongest: number[];
  number: number;
}

export interface PinsState extends Packed {
  /** what each array shows, and the range that it was scaled by */
  pins: { layer: string; channel: number; low: number; high: number }[];
}

export interface Place {
  layer: string;
  channel: number;
  unit: number[];
}

export interface InputsState {
  images: number;
  labels: string;
  channels: number;
  height: number;
  width: number;
  dark: boolean;
  source: Source;
  /** whether pictures have labels, which the class difference needs */
  labelled: boolean;
}

export interface State {
  /** both ways */
  layer: string;
  channel: number;
  /** row and column; empty for none */
  unit: number[];
  image: number;
  compared: number;
  side: Side;
  show: "maps" | "attention";
  query: number;
  normalise: Normalise;
  colormap: Colormap | "auto";
  sort: Sort;
  gamma: number;
  boost: number;
  /** CSS pixels a map is wide; 0 fits */
  zoom: number;
  hide_dead: boolean;
  overlay: number;
  pinned: [string, number][];
  origin: Place | Record<string, never>;
  trail: Place[];
  /** from Python only */
  layers: LayerEntry[];
  maps: MapsState;
  rail: RailState;
  picture: PictureState;
  prediction: PredictionState;
  pins: PinsState;
  trace: Record<string, unknown>;
  inputs: InputsState;
  problem: string;
}

/** Traits of the model with their types. */
export interface Model {
  get<K extends keyof State>(name: K): State[K];
  set<K extends keyof State>(name: K, value: State[K]): void;
  save_changes(): void;
}
