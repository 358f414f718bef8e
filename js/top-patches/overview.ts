/** What is known of every channel of a layer, decoded; and the order that channels stand in. */

import { type TypedArray, unpack, type WireArray } from "../shared/wire.ts";
import type { Box, OverviewState, Sort } from "./state.ts";

export const DEAD = 1;
export const NONFINITE = 2;
export const CONSTANT = 4;
/** Bits of a patch's flags: its class, its look, its box. */
export const OTHER_CLASS = 1;
export const OTHER_LOOK = 2;
export const AT_BORDER = 4;

export interface Overview {
  state: OverviewState;
  channels: number;
  /** patches that are known of a channel */
  most: number;
  arrays: Record<string, TypedArray>;
  /** channels that are dead, and every bit that some patch has among its flags */
  dead: number;
  flags: number;
}

/** One place of the data where a channel answers. */
export interface Pick {
  value: number;
  /** -1 where there is none */
  image: number;
  /** -1 where it is not known */
  label: number;
  predicted: number;
  confidence: number;
  flags: number;
  box: Box;
  place: [number, number];
}

export function decodeOverview(state: OverviewState): Overview | null {
  if (!Array.isArray(state.arrays)) return null;
  const arrays = unpack(state.arrays, state.buffers);
  const value = arrays.get("value");
  if (!value) throw new Error("the overview came without the array value");
  const [channels, most] = value.shape as [number, number];
  const data = dataOf(arrays);
  const dead = Array.from(data.state ?? []).filter((bits) => bits & DEAD).length;
  const flags = Array.from(data.flags ?? []).reduce((all, bits) => all | bits, 0);
  return { state, channels, most, arrays: data, dead, flags };
}

export function dataOf(arrays: Map<string, WireArray>): Record<string, TypedArray> {
  return Object.fromEntries([...arrays].map(([name, { data }]) => [name, data]));
}

/** The pick at a place of arrays that hold one pick after the other. */
export function pickAt(arrays: Record<string, TypedArray>, at: number): Pick {
  const of = (name: string, index: number, missing: number) => arrays[name]?.[index] ?? missing;
  return {
    value: of("value", at, Number.NaN),
    image: of("image", at, -1),
    label: of("label", at, -1),
    predicted: of("predicted", at, -1),
    confidence: of("confidence", at, Number.NaN),
    flags: of("flags", at, 0),
    box: [0, 1, 2, 3].map((side) => of("boxes", 4 * at + side, 0)) as Box,
    place: [of("place", 2 * at, 0), of("place", 2 * at + 1, 0)],
  };
}

export function picksOf(overview: Overview, channel: number, count: number): Pick[] {
  const { most, arrays } = overview;
  return Array.from({ length: Math.min(count, most) }, (_, k) =>
    pickAt(arrays, channel * most + k),
  ).filter(({ image }) => image >= 0);
}

/**
 * Channels in the order that was chosen, as `TopPatches.order` has them: made here too, so that
 * sorting waits for no kernel. What has no value stands last either way; ties stand by number.
 */
export function channelOrder(
  { channels, arrays }: Overview,
  sort: Sort,
  descending: boolean,
): Uint32Array {
  const values = sort === "index" ? null : arrays[sort];
  const order = Uint32Array.from({ length: channels }, (_, i) => i);
  if (!values) return descending ? order.reverse() : order;
  const sign = descending ? -1 : 1;
  return order.sort((a, b) => {
    const [x, y] = [values[a] as number, values[b] as number];
    const [noX, noY] = [Number.isNaN(x), Number.isNaN(y)];
    if (noX || noY) return Number(noX) - Number(noY) || a - b;
    return sign * (x - y) || a - b;
  });
}

/** Names by number: of the labels, and of what the network takes images for. */
export interface Names {
  classes: string[];
  outputs: string[];
}

export function className(classes: string[], number: number): string {
  return number < 0 ? "" : (classes[number] ?? `class ${number}`);
}

/** Decimals that show three figures of the largest of some values, so that they stand in columns. */
export function decimalsFor(values: Iterable<number>): number {
  let most = 0;
  for (const value of values) if (Number.isFinite(value)) most = Math.max(most, Math.abs(value));
  return most === 0 ? 1 : Math.min(4, Math.max(0, 2 - Math.floor(Math.log10(most))));
}

export function figure(value: number, decimals: number): string {
  if (Number.isNaN(value)) return "–";
  if (!Number.isFinite(value)) return value > 0 ? "∞" : "−∞";
  if (value === 0) return "0";
  const size = Math.abs(value);
  // What would show as zero, or too wide to stand below a patch, is told in another way.
  const shown =
    size >= 1e5 || size < 0.001
      ? value.toExponential(1)
      : size < 0.5 * 10 ** -decimals
        ? String(Number(value.toPrecision(1)))
        : value.toFixed(decimals);
  return shown.replaceAll("-", "−");
}

export function percent(share: number): string {
  const value = 100 * share;
  if (!Number.isFinite(value)) return "–";
  return `${value >= 10 || value === 0 ? Math.round(value) : value.toPrecision(value < 0.1 ? 1 : 2)} %`;
}

/** Why a channel tells nothing, in words; empty where it does. */
export function silenceOf({ arrays }: Overview, channel: number): string {
  const state = (arrays.state?.[channel] ?? 0) as number;
  if (state & DEAD) return "dead: never above zero";
  return state & CONSTANT ? "the same for every image" : "";
}

/** Two facts of a channel: what is always told, and what the order or the classes suggest. */
export function factsOf(
  overview: Overview,
  channel: number,
  sort: Sort,
  classes: string[],
): [string, string] {
  const of = (name: string) => Number(overview.arrays[name]?.[channel] ?? Number.NaN);
  const peak = of("peak");
  const first = `peak ${figure(peak, decimalsFor([peak]))}`;
  if (of("state") & NONFINITE) return [first, "NaN or too large"];
  const told: Partial<Record<Sort, string>> = {
    sparsity: `${percent(of("sparsity"))} zeros`,
    diversity: `diversity ${figure(of("diversity"), 2)}`,
    purity: `purity ${percent(of("purity"))}`,
  };
  const name = className(classes, of("best"));
  const best = name && Number.isFinite(of("selectivity"));
  const second =
    told[sort] ?? (best ? `sel. ${figure(of("selectivity"), 2)} · ${name}` : told.sparsity);
  return [first, second ?? ""];
}

/** Everything about a pick in one sentence, for a tooltip and for who cannot see it. */
export function described(pick: Pick, { classes, outputs }: Names, whole: boolean): string {
  const { value, image, label, predicted, confidence, flags, place } = pick;
  const parts = [figure(value, decimalsFor([value]) + 1)];
  if (label >= 0) parts.push(className(classes, label));
  parts.push(`image ${image}`);
  if (predicted >= 0) {
    parts.push(`taken for ${className(outputs, predicted)} (${percent(confidence)})`);
  }
  if (!whole) parts.push(`unit in row ${place[0]}, column ${place[1]}`);
  if (flags & OTHER_CLASS) parts.push("≠ another class than most here");
  if (flags & OTHER_LOOK) parts.push("◇ looks unlike the rest");
  if (flags & AT_BORDER) parts.push("reaches beyond the border");
  return parts.join(" · ");
}
