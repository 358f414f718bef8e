/** The trace of one unit as `nbviz/widgets/trace_state.py` packs it, decoded, and its numbers as text. */

import { type ArrayEntry, unpack } from "../shared/wire.ts";

export type Operation =
  | "convolution"
  | "linear"
  | "max pooling"
  | "average pooling"
  | "normalisation"
  | "addition"
  | "multiplication"
  | "concatenation"
  | "activation"
  | "identity"
  | "other";

/** channel, row, column */
export type TraceUnit = [number, number, number];
/** top, left, bottom, right; half open */
export type TraceBox = [number, number, number, number];

export interface TermState {
  /** "" is the network's input, null a constant or not known */
  source: string | null;
  channel: number;
  /** rows and columns of patch, kernel and products */
  shape: [number, number];
  /** how many rows and columns of the network's each of these cells stands for */
  cell: [number, number];
  box: TraceBox | null;
  fromUnit: TraceUnit | null;
}

export interface StepState {
  layer: string;
  kind: string;
  operation: Operation;
  unit: TraceUnit;
  expression: string;
  note: string;
  agrees: boolean;
  /** how many contributions are not among the terms */
  others: number;
  sources: string[];
  /** how many contributions there are */
  inputs: number;
  firstChannel: number;
  /** how many of them, or of groups of them, are in the array `channels` */
  bars: number;
  window: TraceBox | null;
  mapSize: [number, number] | null;
  terms: TermState[];
}

/** Value of the trait `trace` when a unit is chosen. */
export interface TraceState {
  layer: string;
  unit: TraceUnit;
  chosen: number;
  steps: StepState[];
  arrays: ArrayEntry[];
  buffers: DataView[];
}

export interface Term extends TermState {
  contribution: number;
  patch: Float32Array;
  kernel: Float32Array;
  products: Float32Array;
}

export interface Step extends Omit<StepState, "terms"> {
  value: number;
  captured: number;
  bias: number;
  othersSum: number;
  difference: number;
  channels: Float32Array;
  terms: Term[];
}

/** The steps with their numbers. */
export function decodeTrace(state: TraceState): Step[] {
  const arrays = unpack(state.arrays, state.buffers);
  const data = <T>(name: string) => arrays.get(name)?.data as T;
  const numbers = data<Float64Array>("numbers");
  const contributions = data<Float64Array>("contributions");
  const channels = data<Float32Array>("channels");
  const cells = data<Float32Array>("cells");
  let term = 0;
  let bar = 0;
  let cell = 0;
  const take = (count: number) => {
    cell += count;
    return cells.subarray(cell - count, cell);
  };
  return state.steps.map((step, i) => {
    const [value, captured, bias, othersSum, difference] = numbers.subarray(5 * i, 5 * i + 5);
    bar += step.bars;
    return {
      ...step,
      value: value as number,
      captured: captured as number,
      bias: bias as number,
      othersSum: othersSum as number,
      difference: difference as number,
      channels: channels.subarray(bar - step.bars, bar),
      terms: step.terms.map((one) => {
        const count = one.shape[0] * one.shape[1];
        const contribution = contributions[term++] as number;
        return {
          ...one,
          contribution,
          patch: take(count),
          kernel: take(count),
          products: take(count),
        };
      }),
    };
  });
}

/** Whether a cell of a patch lies outside the map that the layer reads. */
export function isPadding(step: Step, term: Term, row: number, column: number): boolean {
  const { window, mapSize } = step;
  if (!window || !mapSize || term.cell[0] * term.cell[1] > 1) return false;
  return [row, column].some((at, axis) => {
    const first = window[axis] as number;
    const last = (window[axis + 2] as number) - 1;
    const count = term.shape[axis] as number;
    const place = count > 1 ? first + (at * (last - first)) / (count - 1) : first;
    return place < 0 || place >= (mapSize[axis] as number);
  });
}

/** Largest magnitude of finite values; 0 if there is none. */
export function peak(lists: Iterable<ArrayLike<number>>): number {
  let most = 0;
  for (const list of lists) {
    for (let i = 0; i < list.length; i++) {
      const size = Math.abs(list[i] as number);
      if (size > most && size < Number.POSITIVE_INFINITY) most = size;
    }
  }
  return most;
}

const minus = (text: string) => text.replaceAll("-", "−");

/** Four digits, or as many as are asked for, with a true minus sign. */
export function format(value: number, digits = 4): string {
  if (!Number.isFinite(value)) return minus(String(value)).replace("Infinity", "∞");
  return minus(String(Number(value.toPrecision(digits))));
}

/** What fits into a small cell, with digits that tell values up to `end` apart. */
export function short(value: number, end: number): string {
  if (!Number.isFinite(value)) return format(value);
  if (end >= 1000) return minus(value.toExponential(0).replace("+", ""));
  const text = value.toFixed(Math.max(0, Math.min(3, 1 - Math.floor(Math.log10(end)))));
  return Number(text) === 0 ? "0" : minus(text.replace(/^(-?)0\./, "$1."));
}

/** Arithmetic from Python, with the signs that people write. */
export const written = (expression: string) =>
  minus(expression).replaceAll("*", "×").replaceAll("sqrt", "√");

/** What the value of a step is called in its chain. */
export function nameOf(steps: Step[], i: number): string {
  const last = steps.findLastIndex(({ operation }) => operation === "activation");
  return i < last ? "pre-activation" : i === last ? "activation" : "value";
}

/** Where a unit is, in words. */
export function place([channel, row, column]: TraceUnit): string {
  const at = row < 0 ? `token ${column} before the grid` : `row ${row}, column ${column}`;
  return `channel ${channel}, ${at}`;
}

/** Name of the input channel that a term is about. */
export function channelName(step: Step, term: Term): string {
  if (term.source === "") {
    if (step.inputs === 3 && step.operation === "convolution")
      return `${["Red", "Green", "Blue"][term.channel]} of the input`;
    return `Input, channel ${term.channel}`;
  }
  if (term.source === null) return step.inputs > 2 ? `Channel ${term.channel}` : "A parameter";
  const count = term.shape[0] * term.shape[1];
  if (step.operation === "linear" && count > 1 && !term.box) {
    const first = term.channel * count;
    return `${term.source}, ${first} to ${first + count - 1}`;
  }
  return `${term.source}, channel ${(term.fromUnit ?? [term.channel])[0]}`;
}

/** Whether what the layer returned is what the terms add up to, in words. */
export function verdict(step: Step): string {
  if (step.operation === "other") return ", as the network computed it";
  const captured = format(step.captured, 6);
  if (step.agrees) return ` ✓ equals what the network computed (${captured})`;
  const by = format(100 * Math.abs(step.difference), 2);
  return ` ≠ ${captured}, which the network computed: off by ${by} % of the largest number`;
}
