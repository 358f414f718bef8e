/** A small occlusion map, as it comes from Python, for tests. */

import { decodeMap, type MapData } from "../occlusion-probe/map-data.ts";
import type { Choices } from "../occlusion-probe/reading.ts";
import type { MapState } from "../occlusion-probe/state.ts";
import type { ArrayEntry, TypedArray } from "../shared/wire.ts";

interface Given {
  tops?: number[];
  lefts?: number[];
  size?: [number, number];
  shape?: "rectangle" | "circle";
  state?: number[];
  /** of classes 7 and 3 at each position */
  logits?: number[][];
  top?: number[];
  sums?: number[];
  image?: [number, number];
}

const NAMES = { 3: "cat", 7: "dog" };

/** A map of the classes 7 and 3 of three; the third has a logit of 0 everywhere. */
export function mapOf(given: Given = {}): MapData {
  const tops = given.tops ?? [0, 2, 3];
  const lefts = given.lefts ?? [0, 2];
  const count = tops.length * lefts.length;
  const logits = given.logits ?? Array.from({ length: count }, (_, i) => [i, 1]);
  const normalisers = logits.map(([a, b]) =>
    Math.log(Math.exp(a as number) + Math.exp(b as number) + 1),
  );
  const arrays: Record<string, [TypedArray, number[]]> = {
    tops: [Int32Array.from(tops), [tops.length]],
    lefts: [Int32Array.from(lefts), [lefts.length]],
    state: [Uint8Array.from(given.state ?? logits.map(() => 1)), [tops.length, lefts.length]],
    log_normaliser: [Float32Array.from(normalisers), [tops.length, lefts.length]],
    logits: [Float32Array.from(logits.flat()), [tops.length, lefts.length, 2]],
    top_classes: [
      Int32Array.from(given.top ?? logits.map(([a, b]) => ((a as number) > (b as number) ? 7 : 3))),
      [tops.length, lefts.length, 1],
    ],
    top_probabilities: [
      Float32Array.from(logits, (pair, i) =>
        Math.exp(Math.max(...pair) - (normalisers[i] as number)),
      ),
      [tops.length, lefts.length, 1],
    ],
    ...(given.sums ? { sums: [Float32Array.from(given.sums), [tops.length, lefts.length]] } : {}),
  };
  const packed = Object.entries(arrays);
  const state: MapState = {
    arrays: packed.map(([name, [data, shape]]): ArrayEntry => {
      const dtype = data.constructor.name.replace("Array", "").toLowerCase();
      return { name, dtype: dtype as "uint8", shape };
    }),
    buffers: packed.map(
      ([, [data]]) => new DataView(data.buffer, data.byteOffset, data.byteLength),
    ),
    classes: [
      [7, "dog"],
      [3, "cat"],
    ],
    names: NAMES,
    base: { 7: { logit: 4, probability: 0.9 }, 3: { logit: 1, probability: "NaN" } },
    target: { number: 7, name: "dog" },
    feature: given.sums ? { layer: "conv", channel: -1, base: 5 } : null,
    image: given.image ?? [5, 4],
    size: given.size ?? [2, 2],
    stride: [2, 2],
    mask_shape: given.shape ?? "rectangle",
    fill: "mean",
    fill_note: "",
    way: "plain",
    reason: "",
    tolerance: 0,
    complete: true,
    computed: count,
    interpolated: 0,
    total: count,
    network: "net",
    picture: 1,
    nonfinite: 0,
    settings: "masks of 2×2 px",
    title: "dog",
  };
  return decodeMap(state);
}

export const choices: Choices = {
  scale: "probability",
  show: "confidence",
  coverage: "grid",
  stretch: false,
  settled: true,
};
