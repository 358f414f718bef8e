/** The traits that this view shares with `nbviz.OcclusionProbe`; a Python test holds the two together. */

import type { ArrayEntry } from "../shared/wire.ts";
import type { MaskState } from "./masks.ts";

export type Shape = MaskState["shape"];
export type Fill = "mean" | "grey" | "black" | "blur" | "noise" | "colour" | "picture";
export type Scale = "probability" | "logit" | "probability drop" | "logit drop";
export type Show = "confidence" | "most probable" | "feature map";
export type Side = "A" | "B" | "both" | "difference";
export type Coverage = "grid" | "overlap average";

/** Pixels of the input: top, left, bottom, right; half-open. */
export type Box = [number, number, number, number];

export interface Packed {
  arrays: ArrayEntry[];
  buffers: DataView[];
}

export interface PictureState extends Packed {
  note: string;
  /** rises with every new picture */
  number: number;
  /** of the data set; -1 for another */
  image: number;
  height: number;
  width: number;
}

export interface ReplacementState extends Packed {
  name: string;
  /** what it is in pixels */
  note: string;
  /** the choice that it answers to */
  fill: Fill;
}

/** NaN and infinity come as text that `Number` reads. */
export type Value = number | string;

export interface Guess {
  number: number;
  name: string;
  probability: Value;
  logit: Value;
}

/** `before`: without masks. */
export interface Change extends Guess {
  before: Value;
  logit_before: Value;
}

export interface PredictionState {
  /** most probable first */
  top: Guess[];
  target: Guess;
  /** number of classes that the network tells apart */
  classes: number;
  /** the target is what the network takes the picture for, whatever that is */
  follows: boolean;
  way: string;
  reason: string;
}

export interface ConfidenceState {
  top: Change[];
  target: Change;
  /** share of the pixels */
  covered: number;
}

export interface TrailPoint {
  row: number;
  col: number;
  probability: Value;
  logit: Value;
  /** pixels gone so far */
  path: number;
}

export interface MapState extends Packed {
  /** number and name of each class that logits are kept of */
  classes: [number, string][];
  /** of every number that appears in the map */
  names: Record<string, string>;
  base: Record<string, { probability: Value; logit: Value }>;
  /** when it was packed; a map that is kept keeps its own */
  target: { number: number; name: string };
  feature: { layer: string; channel: number; base: Value } | null;
  /** of the picture: rows, columns */
  image: [number, number];
  size: [number, number];
  stride: [number, number];
  mask_shape: "rectangle" | "circle";
  fill: string;
  fill_note: string;
  way: string;
  reason: string;
  tolerance: number;
  complete: boolean;
  computed: number;
  interpolated: number;
  total: number;
  network: string;
  /** `PictureState.number` of the picture that it belongs to */
  picture: number;
  nonfinite: number;
  /** the settings as one line, and as a title */
  settings: string;
  /** the same for the same picture, of any network */
  picture_id?: string;
  title: string;
}

export interface Region {
  rank: number;
  box: Box;
  /** largest probability lost there */
  drop: Value;
  /** of all probability that is lost anywhere */
  share: Value;
}

export interface EvidenceState {
  regions: Region[];
  boxes: Box[];
  inside: Value | null;
  area: Value | null;
  concentration: Value | null;
  verdict: string;
  target: { number: number; name: string };
}

export interface Progress {
  running: boolean;
  done: number;
  total: number;
  /** that the work has taken so far */
  seconds: number;
  way: string;
}

export interface LayerEntry {
  name: string;
  channels: number;
}

export interface InputsState {
  images: number;
  labels: string;
  channels: number;
  height: number;
  width: number;
  dark: boolean;
  source: "dataset" | "own" | "drawing" | "camera";
}

type Empty = Record<string, never>;

export interface State {
  /** both ways */
  image: number;
  target: number;
  masks: MaskState[];
  mask_shape: Shape;
  size: number;
  stride: number;
  fill: Fill;
  colour: number[];
  fill_image: number;
  scale: Scale;
  show: Show;
  side: Side;
  coverage: Coverage;
  opacity: number;
  stretch: boolean;
  layer: string;
  channel: number;
  tolerance: number;
  /** from Python only */
  inputs: InputsState;
  problem: string;
  picture: PictureState | Empty;
  replacement: ReplacementState | Empty;
  prediction: PredictionState | Empty;
  confidence: ConfidenceState | Empty;
  trail: TrailPoint[];
  /** why the map does not belong to what is set; "" where it does */
  stale: string;
  map: MapState | Empty;
  kept: MapState | Empty;
  evidence_shown: EvidenceState | Empty;
  progress: Progress | Empty;
  layers: LayerEntry[];
}

/** Traits of the model with their types. */
export interface Model {
  get<K extends keyof State>(name: K): State[K];
  set<K extends keyof State>(name: K, value: State[K]): void;
  save_changes(): void;
}

/** Hands of a part on the state. */
export interface Hands {
  get<K extends keyof State>(name: K): State[K];
  set(values: Partial<State>): void;
}

export function isThere<T extends object>(value: T | Empty | undefined): value is T {
  return value !== undefined && Object.keys(value).length > 0;
}
