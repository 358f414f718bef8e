import { describe, expect, it } from "vitest";
import {
  decodeFrame,
  type Frame,
  isFiniteWeight,
  type KernelsState,
  layerRange,
  shownRange,
  sortedOutputs,
} from "../filter-grid/frame.ts";
import { type Paint, paintGrid } from "../filter-grid/paint.ts";
import { decodeHistory, Film } from "../filter-grid/state.ts";
import { colormapPixels, pixel } from "../shared/colormaps.ts";
import { makeLayout, stripOrigin } from "../shared/tiles.ts";
import type { ArrayEntry } from "../shared/wire.ts";

const OUTPUTS = 6;
const INPUTS = 3;
const SIDE = 4;
const EACH = INPUTS * SIDE * SIDE;

/** Any repeatable weights; nothing about them is special. */
const weight = (i: number) => Math.round(127 * Math.sin(12.9898 * (i + 1)));

function state(step = -1, options: { nonfinite?: number[] } = {}): KernelsState {
  const values = Int8Array.from({ length: OUTPUTS * EACH }, (_, i) => weight(i));
  const nonfinite = new Uint8Array(Math.ceil(values.length / 8));
  for (const i of options.nonfinite ?? [])
    nonfinite[i >> 3] = (nonfinite[i >> 3] ?? 0) | (1 << (i & 7));
  const arrays: [string, Int8Array | Uint8Array | Uint16Array | Float32Array, number[]][] = [
    ["values", values, [OUTPUTS, INPUTS, SIDE, SIDE]],
    ["scale", Float32Array.of(1, 2, 3, 4, 5, 6), [OUTPUTS]],
    ["norm", Float32Array.of(3, 1, 2, 2, 9, 0), [OUTPUTS]],
    ["noise", Uint16Array.of(0, 65534, 65535, 32767, 100, 65535), [OUTPUTS]],
    ["flags", Uint8Array.of(0, 8, 0, 0, 0, 1), [OUTPUTS]],
  ];
  if (options.nonfinite) arrays.push(["nonfinite", nonfinite, [nonfinite.length]]);
  const entries = arrays.map(([name, array, shape]) => ({
    name,
    dtype: array.constructor.name.replace("Array", "").toLowerCase(),
    shape,
  })) as ArrayEntry[];
  return {
    layer: "conv1",
    step,
    colour: true,
    outputs: OUTPUTS,
    note: "",
    health: { verdict: "healthy", sentence: `at ${step}` },
    duplicates: {},
    arrays: entries,
    buffers: arrays.map(([, a]) => new DataView(a.buffer, a.byteOffset, a.byteLength)),
  };
}

describe("sorting", () => {
  const frame = decodeFrame(state());

  it("puts the largest norm first, ties by channel", () => {
    expect(Array.from(sortedOutputs(frame, "norm"))).toEqual([4, 0, 2, 3, 1, 5]);
  });

  it("puts the noisiest first and what cannot be judged last", () => {
    expect(Array.from(sortedOutputs(frame, "noise"))).toEqual([1, 3, 4, 0, 2, 5]);
    expect(frame.noise[1]).toBe(1);
    expect(frame.noise[2]).toBeNaN();
  });

  it("by look-alikes takes the kernel's order, and channels where there is none", () => {
    expect(Array.from(sortedOutputs(frame, "similarity"))).toEqual([0, 1, 2, 3, 4, 5]);
    const order = Uint16Array.of(5, 4, 3, 2, 1, 0);
    expect(sortedOutputs({ ...frame, similarity: order }, "similarity")).toBe(order);
  });
});

describe("ranges", () => {
  it("of a layer run from its least to its largest weight", () => {
    const frame = decodeFrame(state());
    let low = Number.POSITIVE_INFINITY;
    let high = Number.NEGATIVE_INFINITY;
    for (let i = 0; i < OUTPUTS * EACH; i++) {
      const value = (weight(i) / 127) * (Math.floor(i / EACH) + 1);
      low = Math.min(low, value);
      high = Math.max(high, value);
    }
    expect(layerRange(frame).low).toBeCloseTo(low, 5);
    expect(layerRange(frame).high).toBeCloseTo(high, 5);
  });

  it("about zero have it in the middle", () => {
    expect(shownRange({ low: -1, high: 3 }, true)).toEqual({ low: -3, high: 3 });
    expect(shownRange({ low: -1, high: 3 }, false)).toEqual({ low: -1, high: 3 });
  });
});

const GREY = colormapPixels("grey");
const PAPER = pixel(9, 9, 9);

function painted(
  frame: Frame,
  choices: Partial<Paint>,
  panels: number,
  scroll = { x: 0, y: 0 },
  size = { width: 300, height: 200 },
) {
  const layout = makeLayout({
    outputs: OUTPUTS,
    panels,
    kernelWidth: SIDE,
    kernelHeight: SIDE,
    matrix: false,
    width: 300,
    scale: 5,
    density: 1,
  });
  const paint: Paint = {
    frame,
    layout,
    order: sortedOutputs(frame, "index"),
    normalise: "layer",
    centred: false,
    map: GREY,
    background: PAPER,
    ...choices,
  };
  const pixels = new Uint32Array(size.width * size.height);
  paintGrid(paint, { pixels, ...size, scrollX: scroll.x, scrollY: scroll.y });
  return { layout, at: (x: number, y: number) => pixels[y * size.width + x] as number };
}

/** Colour that a plain reading of the definition gives. */
function expectedIndex(output: number, input: number, within: number, low: number, high: number) {
  const value = (weight(output * EACH + input * SIDE * SIDE + within) / 127) * (output + 1);
  return Math.floor((255 * (value - low)) / (high - low) + 0.5);
}

describe("painting", () => {
  const frame = decodeFrame(state());
  const whole = layerRange(frame);

  it("every weight has the colour of its value, and nothing else is painted", () => {
    const { layout, at } = painted(frame, {}, INPUTS);
    for (let output = 0; output < OUTPUTS; output++) {
      const { x, y } = stripOrigin(layout, output);
      for (let input = 0; input < INPUTS; input++) {
        for (let within = 0; within < SIDE * SIDE; within++) {
          const left = x + input * (layout.panelWidth + layout.panelGap) + (within % SIDE) * 5;
          const top = y + Math.floor(within / SIDE) * 5;
          const index = expectedIndex(output, input, within, whole.low, whole.high);
          expect(Math.abs((at(left, top) & 255) - index)).toBeLessThanOrEqual(1);
          expect(at(left + 4, top + 4)).toBe(at(left, top));
        }
        expect(at(x + input * (layout.panelWidth + layout.panelGap) + layout.panelWidth, y)).toBe(
          PAPER,
        );
      }
    }
  });

  it("three inputs are red, green and blue on one scale", () => {
    const { layout, at } = painted(frame, { map: null }, 1);
    const { x, y } = stripOrigin(layout, 2);
    const colour = at(x, y);
    [0, 1, 2].forEach((input) => {
      const index = expectedIndex(2, input, 0, whole.low, whole.high);
      expect(Math.abs(((colour >> (8 * input)) & 255) - index)).toBeLessThanOrEqual(1);
    });
  });

  it("scrolling moves the picture and does not change it", () => {
    const still = painted(frame, {}, INPUTS);
    const moved = painted(frame, {}, INPUTS, { x: 7, y: 11 });
    for (let y = 0; y < 150; y += 3) {
      for (let x = 0; x < 200; x += 3) expect(moved.at(x, y)).toBe(still.at(x + 7, y + 11));
    }
  });

  it("zero is the middle of a centred map, in every kernel", () => {
    const zeros = { ...frame, values: frame.values.slice() };
    for (let output = 0; output < OUTPUTS; output++) zeros.values[output * EACH] = 0;
    const { layout, at } = painted(zeros, { centred: true, normalise: "kernel" }, INPUTS);
    for (let output = 0; output < OUTPUTS; output++) {
      const { x, y } = stripOrigin(layout, output);
      expect(Math.abs((at(x, y) & 255) - 127.5)).toBeLessThanOrEqual(0.5);
    }
  });

  it("a constant kernel is drawn at the middle and divides nothing by zero", () => {
    const constant = { ...frame, values: frame.values.slice().fill(40) };
    const { layout, at } = painted(constant, { normalise: "kernel" }, INPUTS);
    const { x, y } = stripOrigin(layout, 3);
    expect(at(x, y) & 255).toBe(128);
  });

  it("a weight that is no number is hatched, and only that", () => {
    const odd = 2 * EACH + 5;
    const broken = decodeFrame(state(-1, { nonfinite: [odd] }));
    expect(isFiniteWeight(broken, odd)).toBe(false);
    expect(isFiniteWeight(broken, odd + 1)).toBe(true);
    const { layout, at } = painted(broken, {}, INPUTS);
    const { x, y } = stripOrigin(layout, 2);
    const block = new Set<number>();
    for (let dy = 0; dy < 5; dy++)
      for (let dx = 0; dx < 5; dx++) block.add(at(x + 5 + dx, y + 5 + dy));
    expect(block).toEqual(new Set([pixel(255, 0, 200), pixel(40, 40, 40)]));
    const beside = at(x + 10, y + 5);
    expect(beside & 255).toBe((beside >> 8) & 255);
  });
});

describe("snapshots", () => {
  const stack = (steps: number[]) => {
    const states = steps.map((step) => state(step));
    const first = states[0] as KernelsState;
    return {
      layer: "conv1",
      steps,
      health: states.map((s) => s.health),
      arrays: first.arrays.map((e) => ({ ...e, shape: [steps.length, ...e.shape] })),
      buffers: first.arrays.map((_, i) => {
        const parts = states.map((s) => new Uint8Array(s.buffers[i]?.buffer as ArrayBuffer));
        const each = parts[0]?.length ?? 0;
        const all = new Uint8Array(each * steps.length + 4);
        parts.forEach((part, n) => {
          all.set(part, 4 + n * each);
        });
        return new DataView(all.buffer, 4, each * steps.length);
      }),
    };
  };

  it("of a history are the kernels of their steps", () => {
    const frames = decodeHistory(stack([0, 50, 100]));
    expect(frames.map((f) => f.step)).toEqual([0, 50, 100]);
    expect(frames[1]?.health.sentence).toBe("at 50");
    expect(Array.from(frames[2]?.values ?? [])).toEqual(Array.from(decodeFrame(state()).values));
    expect(decodeHistory({})).toEqual([]);
  });

  it("span the whole training when they are thinned", () => {
    const film = new Film(8);
    for (let step = 0; step <= 1000; step += 10) film.add(decodeFrame(state(step)));
    expect(film.steps.length).toBeLessThanOrEqual(8);
    expect(film.steps[0]).toBe(0);
    expect(film.steps.at(-1)).toBe(1000);
    const gaps = film.steps.slice(1).map((s, i) => s - (film.steps[i] as number));
    expect(new Set(gaps.slice(0, -1)).size).toBe(1);
    expect(film.at(1000)?.step).toBe(1000);
    expect(film.at(-1)?.step).toBe(0);
  });

  it("take no more memory than they may", () => {
    const film = new Film(128);
    const frame = (step: number) => decodeFrame(state(step));
    const most = 5 * frame(0).values.length;
    for (let step = 0; step < 60; step++) film.add(frame(step), most);
    expect(film.steps.length).toBeLessThanOrEqual(5);
    expect(film.steps[0]).toBe(0);
    expect(film.steps.at(-1)).toBe(59);
  });

  it("of no training are not kept", () => {
    const film = new Film(8);
    film.add(decodeFrame(state(-1)));
    expect(film.steps).toEqual([]);
  });

  it("of a second training replace those of the first", () => {
    const film = new Film(8);
    for (const step of [0, 10, 20, 0, 10]) film.add(decodeFrame(state(step)));
    expect(film.steps).toEqual([0, 10]);
  });
});
