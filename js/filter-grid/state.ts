/** The traits that this view shares with `nbviz.FilterGrid`; a Python test holds the two together. */

import type { Colormap } from "../shared/colormaps.ts";
import { type ArrayEntry, unpack } from "../shared/wire.ts";
import {
  decodeFrame,
  type Frame,
  type Health,
  type KernelsState,
  type Normalise,
  type Sort,
} from "./frame.ts";

export interface LayerEntry {
  name: string;
  /** outputs, inputs a kernel, height, width */
  shape: [number, number, number, number];
  /** why it cannot be drawn; empty where it can */
  problem: string;
}

/** Snapshots of one layer, stacked along the first axis of every array. */
export interface HistoryState {
  layer: string;
  steps: number[];
  health: Health[];
  arrays: ArrayEntry[];
  buffers: DataView[];
}

export interface Watching {
  active: boolean;
  frames: number;
  bytes: number;
  limit: number;
}

export interface State {
  /** both ways */
  layer: string;
  sort: Sort;
  normalise: Normalise;
  colormap: Colormap | "auto";
  /** CSS pixels a weight; 0 fits */
  zoom: number;
  /** output channels */
  selected: number[];
  /** the one selected last; -1 for none */
  channel: number;
  /** snapshot on show: its step, or -1 for the newest */
  step: number;
  /** from Python only */
  layers: LayerEntry[];
  kernels: KernelsState;
  history: HistoryState | Record<string, never>;
  watching: Watching;
  problem: string;
}

/** Traits of the model with their types. */
export interface Model {
  get<K extends keyof State>(name: K): State[K];
  set<K extends keyof State>(name: K, value: State[K]): void;
  save_changes(): void;
}

/** Snapshots of a packed history, oldest first. */
export function decodeHistory(state: HistoryState | Record<string, never>): Frame[] {
  if (!("steps" in state) || !Array.isArray(state.steps)) return [];
  const { steps, health, layer, arrays, buffers } = state as HistoryState;
  // Checks sizes of the stack before any slice of it is trusted.
  unpack(arrays, buffers);
  return steps.map((step, i) =>
    decodeFrame({
      layer,
      step,
      health: health[i] ?? { verdict: "", sentence: "" },
      colour: false,
      outputs: 0,
      note: "",
      duplicates: {},
      arrays: arrays.map((entry) => ({ ...entry, shape: entry.shape.slice(1) })),
      buffers: buffers.map((buffer) => {
        const each = buffer.byteLength / steps.length;
        return new DataView(buffer.buffer, buffer.byteOffset + i * each, each);
      }),
    }),
  );
}

/**
 * Snapshots by step, bounded: when full, every second one goes and later ones are kept at the wider
 * spacing, so that what is left spans the whole training evenly; the first and the newest stay.
 */
export class Film {
  private frames: Frame[] = [];
  /** steps between snapshots that are kept; grows when the film is thinned */
  private spacing = 0;

  constructor(private readonly limit: number) {}

  get steps(): number[] {
    return this.frames.map((frame) => frame.step);
  }

  replace(frames: Frame[]): void {
    this.frames = frames.slice();
    this.spacing = 0;
  }

  /** `bytes`: most that all snapshots may take together, whatever their number. */
  add(frame: Frame, bytes = Number.POSITIVE_INFINITY): void {
    if (frame.step < 0) return;
    const newest = this.frames.at(-1);
    if (newest && (newest.layer !== frame.layer || newest.step > frame.step)) this.replace([]);
    if (newest?.layer === frame.layer && newest.step === frame.step) this.frames.pop();
    const [before, last] = this.frames.slice(-2);
    if (before && last && last.step - before.step < this.spacing) this.frames.pop();
    this.frames.push(frame);
    const most = Math.max(2, Math.min(this.limit, Math.floor(bytes / frame.values.length)));
    if (this.frames.length > most) {
      const last = this.frames.length - 1;
      this.frames = this.frames.filter((_, i) => i % 2 === 0 || i === last);
      this.spacing = (this.frames[1]?.step ?? 0) - (this.frames[0]?.step ?? 0);
    }
  }

  /** Snapshot at a step, or the nearest before it. */
  at(step: number): Frame | null {
    let found: Frame | null = this.frames[0] ?? null;
    for (const frame of this.frames) if (frame.step <= step) found = frame;
    return found;
  }
}
