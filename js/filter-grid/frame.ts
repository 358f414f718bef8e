/** One layer's kernels at one step of training, as the kernel sent them, and what follows from it. */

import { type ArrayEntry, unpack, type WireArray } from "../shared/wire.ts";

export type Sort = "index" | "norm" | "noise" | "similarity";
export type Normalise = "kernel" | "layer" | "symmetric";

export interface Health {
  verdict: string;
  sentence: string;
}

/** The value of the synced trait `kernels`; see `FilterGrid.kernels` in Python. */
export interface KernelsState {
  layer: string;
  step: number;
  colour: boolean;
  /** output channels of the layer; more than are sent where the layer is huge */
  outputs: number;
  /** how the kernels are drawn, where that needs saying */
  note: string;
  health: Health;
  /** channel -> the first channel that it resembles */
  duplicates: Record<string, number>;
  arrays: ArrayEntry[];
  buffers: DataView[];
}

export interface Frame {
  layer: string;
  step: number;
  health: Health;
  outputs: number;
  inputs: number;
  height: number;
  width: number;
  /** weight = value / 127 * scale of its output channel */
  values: Int8Array;
  scale: Float32Array;
  norm: Float32Array;
  /** 0 structured ... 1 like random numbers; NaN where it cannot be judged */
  noise: Float32Array;
  flags: Uint8Array;
  /** bit per weight that is NaN or infinite, lowest bit first; null where there is none */
  nonfinite: Uint8Array | null;
  /** output channels so that look-alikes stand together; null where it was not computed */
  similarity: Uint16Array | null;
}

export const FLAG = { dead: 1, duplicate: 2, nonfinite: 4, noisy: 8 } as const;
export const LEVELS = 127;
const NOT_JUDGED = 65535;

export function decodeFrame(state: KernelsState): Frame {
  const arrays = unpack(state.arrays, state.buffers);
  const values = need(arrays, "values");
  const [outputs, inputs, height, width] = values.shape as [number, number, number, number];
  return {
    layer: state.layer,
    step: state.step,
    health: state.health,
    outputs,
    inputs,
    height,
    width,
    values: values.data as Int8Array,
    scale: need(arrays, "scale").data as Float32Array,
    norm: need(arrays, "norm").data as Float32Array,
    noise: noiseOf(need(arrays, "noise").data as Uint16Array),
    flags: need(arrays, "flags").data as Uint8Array,
    nonfinite: (arrays.get("nonfinite")?.data as Uint8Array | undefined) ?? null,
    similarity: (arrays.get("similarity")?.data as Uint16Array | undefined) ?? null,
  };
}

function need(arrays: Map<string, WireArray>, name: string): WireArray {
  const array = arrays.get(name);
  if (!array) throw new Error(`the kernel sent no array ${name}`);
  return array;
}

function noiseOf(fixed: Uint16Array): Float32Array {
  return Float32Array.from(fixed, (n) => (n === NOT_JUDGED ? Number.NaN : n / (NOT_JUDGED - 1)));
}

/** Weights of one kernel: a single (output, input) pair. */
export function kernelOffset(frame: Frame, output: number, input: number): number {
  return (output * frame.inputs + input) * frame.height * frame.width;
}

export function isFiniteWeight(frame: Frame, index: number): boolean {
  return (
    frame.nonfinite === null || (((frame.nonfinite[index >> 3] ?? 0) >> (index & 7)) & 1) === 0
  );
}

/** Output channels in the order of `sort`: largest norm, or noisiest, first; ties by index. */
export function sortedOutputs(frame: Frame, sort: Sort): Uint16Array {
  const order = Uint16Array.from({ length: frame.outputs }, (_, i) => i);
  if (sort === "similarity" && frame.similarity) return frame.similarity;
  if (sort === "norm" || sort === "noise") {
    const key = frame[sort];
    const at = (i: number) => {
      const value = key[i] as number;
      return Number.isNaN(value) ? Number.NEGATIVE_INFINITY : value;
    };
    order.sort((a, b) => at(b) - at(a) || a - b);
  }
  return order;
}

export interface Range {
  low: number;
  high: number;
}

const kernelRanges = new WeakMap<Frame, Range[]>();

/** Smallest and largest weight of each output channel, over all its inputs. */
function rangesOf(frame: Frame): Range[] {
  const known = kernelRanges.get(frame);
  if (known) return known;
  const each = frame.inputs * frame.height * frame.width;
  const ranges = Array.from(frame.scale, (scale, output) => {
    let low = LEVELS;
    let high = -LEVELS;
    for (let i = output * each; i < (output + 1) * each; i++) {
      const value = frame.values[i] as number;
      if (value < low) low = value;
      if (value > high) high = value;
    }
    return { low: (low / LEVELS) * scale, high: (high / LEVELS) * scale };
  });
  kernelRanges.set(frame, ranges);
  return ranges;
}

/** Smallest and largest weight of an output channel, over all its inputs. */
export function kernelRange(frame: Frame, output: number): Range {
  return rangesOf(frame)[output] ?? { low: 0, high: 0 };
}

/** Smallest and largest weight of the whole layer. */
export function layerRange(frame: Frame): Range {
  const ranges = rangesOf(frame);
  return ranges.reduce(
    (all, one) => ({ low: Math.min(all.low, one.low), high: Math.max(all.high, one.high) }),
    ranges[0] ?? { low: 0, high: 0 },
  );
}

/**
 * The range that a colour map spans.
 *
 * `centred` (a diverging map, or symmetric scaling) puts zero in the middle.
 */
export function shownRange(range: Range, centred: boolean): Range {
  if (!centred) return range;
  const most = Math.max(Math.abs(range.low), Math.abs(range.high));
  return { low: -most, high: most };
}
