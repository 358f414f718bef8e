import { describe, expect, it } from "vitest";
import {
  channelName,
  decodeTrace,
  format,
  isPadding,
  nameOf,
  peak,
  place,
  type Step,
  type StepState,
  short,
  type TermState,
  type TraceState,
  verdict,
  written,
} from "../activation-browser/trace-state.ts";
import { pack } from "../shared/wire.ts";

const term: TermState = {
  source: "pool1",
  channel: 4,
  shape: [2, 3],
  cell: [1, 1],
  box: [-1, 2, 1, 5],
  fromUnit: [4, 0, 3],
};
const step: StepState = {
  layer: "conv2",
  kind: "Conv2d",
  operation: "convolution",
  unit: [2, 0, 3],
  expression: "-0.5 (sum over 2 input channels) + bias (-0.1) = -0.6",
  note: "",
  agrees: true,
  others: 0,
  sources: ["pool1"],
  inputs: 2,
  firstChannel: 4,
  bars: 2,
  window: [-1, 2, 1, 5],
  mapSize: [6, 7],
  terms: [term, { ...term, channel: 5 }],
};
const relu: StepState = {
  ...step,
  layer: "relu2",
  operation: "activation",
  bars: 1,
  terms: [{ ...term, source: "conv2", shape: [1, 1], channel: 2 }],
};

/** A state whose cells count up from 0 and whose numbers tell which they are. */
function state(steps: StepState[]): TraceState {
  const terms = steps.flatMap((one) => one.terms);
  const cells = terms.reduce((n, { shape }) => n + 3 * shape[0] * shape[1], 0);
  const bars = steps.reduce((n, one) => n + one.bars, 0);
  const array = <T extends Float32Array | Float64Array>(name: string, data: T) => ({
    name,
    data,
    shape: [data.length],
  });
  const { entries, buffers } = pack([
    array(
      "numbers",
      Float64Array.from({ length: 5 * steps.length }, (_, i) => i),
    ),
    array("statistics", new Float64Array(5 * steps.length)),
    array(
      "contributions",
      Float64Array.from(terms, (_, i) => 100 + i),
    ),
    array(
      "channels",
      Float32Array.from({ length: bars }, (_, i) => 200 + i),
    ),
    array(
      "cells",
      Float32Array.from({ length: cells }, (_, i) => i),
    ),
  ]);
  return {
    layer: "conv2",
    unit: [2, 0, 3],
    chosen: 0,
    steps,
    arrays: entries,
    buffers: buffers.map((one) => new DataView(one.buffer as ArrayBuffer)),
  };
}

describe("the decoded trace", () => {
  const steps = decodeTrace(state([step, relu]));
  const [conv, after] = steps as [Step, Step];

  it("gives each step its own numbers", () => {
    const { value, captured, bias, othersSum, difference } = after;
    expect([value, captured, bias, othersSum, difference]).toEqual([5, 6, 7, 8, 9]);
  });

  it("gives each term its own patch, kernel and products", () => {
    expect([...(conv.terms[1]?.patch ?? [])]).toEqual([18, 19, 20, 21, 22, 23]);
    expect([...(conv.terms[1]?.products ?? [])]).toEqual([30, 31, 32, 33, 34, 35]);
    expect([...(after.terms[0]?.kernel ?? [])]).toEqual([37]);
    expect(after.terms[0]?.contribution).toBe(102);
  });

  it("gives each step its own bars", () => {
    expect([...conv.channels]).toEqual([200, 201]);
    expect([...after.channels]).toEqual([202]);
  });

  it("calls what comes before an activation the pre-activation", () => {
    expect(nameOf(steps, 0)).toBe("pre-activation");
    expect(nameOf(steps, 1)).toBe("activation");
    expect(nameOf([conv], 0)).toBe("value");
  });
});

describe("padding", () => {
  const [conv] = decodeTrace(state([step])) as [Step];
  const first = conv.terms[0] as (typeof conv.terms)[0];
  const padded = (of: Step, one = first) =>
    [0, 1].flatMap((row) => [0, 1, 2].filter((column) => isPadding(of, one, row, column)).length);

  it("is what lies outside the map", () => {
    expect(padded(conv)).toEqual([3, 0]);
    expect(padded({ ...conv, window: [4, 5, 6, 8] })).toEqual([1, 1]);
  });

  it("is found between the places of a dilated window", () => {
    expect(padded({ ...conv, window: [-2, -2, 1, 3] })).toEqual([3, 1]);
  });

  it("is not claimed where cells stand for several, or there is no window", () => {
    expect(padded(conv, { ...first, cell: [2, 2] })).toEqual([0, 0]);
    expect(padded({ ...conv, window: null })).toEqual([0, 0]);
  });
});

describe("numbers as text", () => {
  it("have four digits and a true minus sign", () => {
    expect(format(-0.312345)).toBe("−0.3123");
    expect(format(12)).toBe("12");
    expect(format(1.23456e-9)).toBe("1.235e−9");
    expect([Number.NaN, Number.NEGATIVE_INFINITY].map((x) => format(x))).toEqual(["NaN", "−∞"]);
  });

  it("fit into a cell and still tell small ones apart", () => {
    expect([1.234, -12.34, 0].map((x) => short(x, 20))).toEqual(["1", "−12", "0"]);
    expect([1.234, -0.31].map((x) => short(x, 2))).toEqual(["1.2", "−.3"]);
    expect([0.31, -0.038, 0.001].map((x) => short(x, 0.4))).toEqual([".31", "−.04", "0"]);
    expect([0.0312, -0.0004].map((x) => short(x, 0.05))).toEqual([".031", "0"]);
    expect([short(-4321, 5000), short(Number.NaN, 1)]).toEqual(["−4e3", "NaN"]);
  });

  it("have the signs that people write", () => {
    expect(written("(0.2 - (-1)) / sqrt(1 + 1e-05) * 2 = -3")).toBe(
      "(0.2 − (−1)) / √(1 + 1e−05) × 2 = −3",
    );
  });

  it("peak at the largest finite magnitude", () => {
    expect(peak([[1, -3], [Number.NaN, Number.POSITIVE_INFINITY, 2], []])).toBe(3);
    expect(peak([])).toBe(0);
  });
});

describe("names", () => {
  const [conv, after] = decodeTrace(state([step, relu])) as [Step, Step];
  const first = conv.terms[0] as (typeof conv.terms)[0];

  it("say which channel of which layer", () => {
    expect(channelName(conv, first)).toBe("pool1, channel 4");
    expect(channelName({ ...conv, inputs: 3 }, { ...first, source: "", channel: 1 })).toBe(
      "Green of the input",
    );
    expect(channelName(after, { ...first, source: null })).toBe("A parameter");
    const linear: Step = { ...conv, operation: "linear" };
    expect(channelName(linear, { ...first, box: null })).toBe("pool1, 24 to 29");
  });

  it("say where a unit is, also a token before the grid", () => {
    expect(place([3, 4, 5])).toBe("channel 3, row 4, column 5");
    expect(place([3, -1, 0])).toBe("channel 3, token 0 before the grid");
  });

  it("say whether the sum is the network's, and by how much not", () => {
    expect(verdict(conv)).toContain("equals what the network computed (1)");
    const off = verdict({ ...conv, agrees: false, difference: -0.0123 });
    expect(off).toContain("off by 1.2 %");
    expect(verdict({ ...conv, operation: "other" })).toBe(", as the network computed it");
  });
});
