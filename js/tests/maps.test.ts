import { describe, expect, it } from "vitest";
import {
  boxOf,
  decodeMaps,
  differencePixels,
  isDead,
  levelPixels,
  paintDifference,
  paintMap,
  peakOf,
  shrunk,
  sortedChannels,
  spotOf,
  summaryOf,
  type Tone,
  valueAt,
} from "../activation-browser/maps.ts";
import type { MapsState } from "../activation-browser/state.ts";
import type { ArrayEntry, TypedArray } from "../shared/wire.ts";

/** Greys by level, so that a pixel tells the place on the map: 0 ... 255. */
const colours = Uint32Array.from({ length: 256 }, (_, i) => i);
const tone: Tone = { normalise: "channel", centred: false, gamma: 1, boost: 0, colours };

function state(
  arrays: Record<string, [TypedArray, number[]]>,
  low: number,
  high: number,
): MapsState {
  const names = Object.entries(arrays);
  return {
    layer: "conv",
    kind: "maps",
    low,
    high,
    labels: [],
    note: "",
    pictures: [1],
    prefix: 0,
    query: -1,
    image: 0,
    compared: -1,
    asked: -1,
    nonfinite: 0,
    related: { to: "", units: [] },
    arrays: names.map(([name, [data, shape]]): ArrayEntry => {
      const dtype = data.constructor.name.replace("Array", "").toLowerCase();
      return { name, dtype: dtype as "uint8", shape };
    }),
    buffers: names.map(([, [data]]) => new DataView(data.buffer, data.byteOffset, data.byteLength)),
  };
}

/** Channels of 2 x 2 units: zeros and a peak; half the layer's range; the same everywhere; negative. */
const values = Uint8Array.of(0, 0, 255, 51, 0, 255, 0, 0, 0, 0, 0, 0, 0, 255, 102, 255);
const ends = {
  low: Uint16Array.of(13107, 13107, 39321, 0),
  high: Uint16Array.of(65535, 39321, 39321, 13107),
};
function maps(more: Record<string, [TypedArray, number[]]> = {}) {
  return decodeMaps(
    state(
      { values_a: [values, [4, 2, 2]], low: [ends.low, [4]], high: [ends.high, [4]], ...more },
      -1,
      4,
    ),
  );
}

describe("values of maps", () => {
  it("come back from levels and ends", () => {
    const there = maps();
    const close = (value: number, wanted: number) => expect(value).toBeCloseTo(wanted, 3);
    close(valueAt(there, 0, 0, 2), 4);
    close(valueAt(there, 0, 0, 3), 0.8);
    close(valueAt(there, 0, 1, 1), 2);
    close(valueAt(there, 0, 2, 0), 2);
    close(valueAt(there, 0, 3, 0), -1);
    close(valueAt(there, 0, 3, 2), -0.6);
  });

  it("are no numbers where the kernel said so", () => {
    const there = maps({ nonfinite_a: [Uint8Array.of(0b100, 0), [2]] });
    expect(valueAt(there, 0, 0, 2)).toBeNaN();
    expect(valueAt(there, 0, 0, 3)).toBeCloseTo(0.8, 3);
    expect(summaryOf(there, 0).nonfinite).toBe(1);
    expect(peakOf(there, 0)).toEqual([1, 1]);
  });

  it("are summed up by channel", () => {
    const there = maps();
    expect(summaryOf(there, 0).mean).toBeCloseTo(1.2, 3);
    expect(summaryOf(there, 1).peak).toBeCloseTo(2, 3);
    const each = [0, 1, 2, 3];
    expect(each.map((i) => summaryOf(there, i).sparsity)).toEqual([0.5, 0.75, 0, 0.5]);
    expect(each.map((i) => isDead(there, i))).toEqual([false, false, true, false]);
  });
});

describe("order of channels", () => {
  it("follows the largest first, ties by number", () => {
    const order = (sort: "peak" | "mean" | "sparsity" | "index") => [
      ...sortedChannels(maps(), sort, null, false),
    ];
    expect(order("index")).toEqual([0, 1, 2, 3]);
    expect(order("peak")).toEqual([0, 1, 2, 3]);
    expect(order("mean")).toEqual([2, 0, 1, 3]);
    expect(order("sparsity")).toEqual([1, 0, 3, 2]);
  });

  it("leaves dead channels out when told to, and puts NaN last", () => {
    expect([...sortedChannels(maps(), "index", null, true)]).toEqual([0, 1, 3]);
    const byClass = Float32Array.of(Number.NaN, 1, 3, 2);
    expect([...sortedChannels(maps(), "class", byClass, false)]).toEqual([2, 3, 1, 0]);
  });
});

describe("colours", () => {
  const paint = (own: Tone, channel: number) => {
    const pixels = new Uint32Array(4);
    paintMap(maps(), 0, channel, levelPixels(maps(), channel, own), pixels);
    return [...pixels];
  };

  it("span each channel, or the layer", () => {
    expect(paint(tone, 1)).toEqual([0, 255, 0, 0]);
    expect(paint({ ...tone, normalise: "layer" }, 1)).toEqual([51, 153, 51, 51]);
  });

  it("have zero in the middle where they are symmetric", () => {
    const symmetric = paint({ ...tone, normalise: "symmetric" }, 1);
    expect(symmetric[0]).toBe(128);
    expect(symmetric[1]).toBe(191);
  });

  it("lift weak values by gamma and weak channels by boost, never beyond the map", () => {
    expect(paint({ ...tone, gamma: 0.5 }, 0)[3]).toBe(Math.round(255 * Math.sqrt(0.2)));
    const layer = { ...tone, normalise: "layer" as const };
    expect(paint({ ...layer, boost: 1 }, 1)[1]).toBe(255);
    const half = paint({ ...layer, boost: 0.5 }, 1)[1] as number;
    expect(half).toBeGreaterThan(153);
    expect(half).toBeLessThan(255);
  });

  it("of a difference have zero in the middle, and the sign of A less B", () => {
    const b = Uint8Array.from(values);
    b[0] = 255;
    b[2] = 0;
    const there = maps({ values_b: [b, [4, 2, 2]] });
    const pixels = new Uint32Array(4);
    paintDifference(there, 0, differencePixels(there, 0, { ...tone, centred: true }), pixels);
    expect([...pixels]).toEqual([0, 128, 255, 128]);
    expect(summaryOf(there, 0).difference).toBeCloseTo(2, 3);
  });
});

describe("what a unit sees", () => {
  it("is read by row and column where these separate", () => {
    const edges = Int16Array.of(0, 5, 3, 9, 1, 4, 2, 8);
    const there = maps({ edges: [edges, [8]] });
    expect(boxOf(there, 1, 0)).toEqual([3, 1, 9, 4]);
    expect(boxOf(there, 0, 1)).toEqual([0, 2, 5, 8]);
  });

  it("is read by unit where they do not", () => {
    const edges = Int16Array.from({ length: 16 }, (_, i) => i);
    expect(boxOf(maps({ edges: [edges, [16]] }), 1, 0)).toEqual([8, 9, 10, 11]);
  });

  it("is found from a place on a tile, inside at the edges", () => {
    expect(spotOf(maps(), 0.6, 0.2)).toEqual([0, 1]);
    expect(spotOf(maps(), 1, 1)).toEqual([1, 1]);
  });
});

describe("shrunk maps", () => {
  it("average the units that fall together, the last ones too", () => {
    const data = Uint8Array.from({ length: 18 }, (_, i) => 10 * i);
    const there = decodeMaps(state({ values_a: [data, [2, 3, 3]] }, 0, 1));
    const small = shrunk(there, 2);
    expect([small.rows, small.columns]).toEqual([2, 2]);
    expect([...(small.sides[0]?.values ?? [])]).toEqual([20, 35, 65, 80, 110, 125, 155, 170]);
    expect(shrunk(there, 2)).toBe(small);
    expect(shrunk(there, 1)).toBe(there);
  });

  it("are left as they are where a value is no number", () => {
    const there = maps({ nonfinite_a: [Uint8Array.of(1, 0), [2]] });
    expect(shrunk(there, 2)).toBe(there);
  });
});
