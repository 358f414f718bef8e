import { describe, expect, it } from "vitest";
import { pack, type TypedArray } from "../shared/wire.ts";
import { foundOf, verdict } from "../top-patches/answering.ts";
import { dragged, isBox, isDrag, keyed, middleBox, withSide } from "../top-patches/box.ts";
import {
  bars,
  countHeight,
  countTicks,
  edgeTicks,
  highest,
  placeOf,
} from "../top-patches/histogram.ts";
import {
  channelOrder,
  decimalsFor,
  decodeOverview,
  described,
  factsOf,
  figure,
  type Overview,
  type Pick,
  percent,
  picksOf,
  silenceOf,
} from "../top-patches/overview.ts";
import {
  channelsToAsk,
  fitted,
  metrics,
  moved,
  rowWindow,
  scrolledTo,
} from "../top-patches/rows.ts";
import type { OverviewState } from "../top-patches/state.ts";

/** An overview of three channels with two patches each, as Python sends it. */
function overviewOf(
  more: Record<string, TypedArray> = {},
  fields: Partial<OverviewState> = {},
): Overview {
  const arrays: Record<string, TypedArray> = {
    peak: Float32Array.of(5, 0, 9),
    sparsity: Float32Array.of(0.25, 1, 0.5),
    selectivity: Float32Array.of(0.4, Number.NaN, 0.9),
    best: Int32Array.of(1, -1, 0),
    state: Uint8Array.of(0, 1, 2),
    value: Float32Array.of(5, 4, 0, Number.NaN, 9, 8),
    image: Int32Array.of(30, 31, 32, -1, 34, 35),
    label: Int32Array.of(0, 1, -1, -1, 1, 1),
    flags: Uint8Array.of(0, 1, 0, 0, 2, 0),
    boxes: Int16Array.from({ length: 24 }, (_, i) => i),
    place: Int16Array.from({ length: 12 }, (_, i) => i),
    ...more,
  };
  const shapes: Record<string, number[]> = {
    value: [3, 2],
    boxes: [3, 2, 4],
    place: [3, 2, 2],
  };
  const { entries, buffers } = pack(
    Object.entries(arrays).map(([name, data]) => ({
      name,
      data,
      shape: shapes[name] ?? [data.length],
    })),
  );
  const state = { layer: "conv1", images: 9, classes_known: true, input: [8, 8], whole: false };
  return decodeOverview({
    ...state,
    search: "",
    missing: "",
    ...fields,
    arrays: entries,
    buffers: buffers.map((data) => new DataView(data.buffer)),
  }) as Overview;
}

describe("rows in view", () => {
  it("are those that any pixel of the window touches", () => {
    for (const [scrolled, viewport, height, rows] of [
      [0, 300, 76, 512],
      [75, 300, 76, 512],
      [76, 304, 76, 512],
      [38_000, 560, 76, 512],
      [0, 300, 76, 2],
      [0, 0, 76, 5],
    ] as const) {
      const touched = Array.from({ length: rows }, (_, i) => i).filter(
        (i) => (i + 1) * height > scrolled && i * height < scrolled + viewport,
      );
      const [first, end] = rowWindow(scrolled, viewport, height, rows);
      expect(Array.from({ length: end - first }, (_, i) => first + i)).toEqual(touched);
    }
  });

  it("have spare ones about them, none beyond the ends", () => {
    expect(rowWindow(760, 152, 76, 100, 3)).toEqual([7, 15]);
    expect(rowWindow(0, 152, 76, 4, 3)).toEqual([0, 4]);
    expect(rowWindow(76 * 98, 152, 76, 100, 3)).toEqual([95, 100]);
  });

  it("hold as many patches as there is room for", () => {
    expect(metrics(1200, 48, 9).across).toBe(9);
    // 132 for the facts and 4 to spare, then 54 a patch with its gap, the last without.
    expect(metrics(132 + 4 + 8 * 54 - 6, 48, 9).across).toBe(8);
    expect(metrics(132 + 4 + 8 * 54 - 7, 48, 9).across).toBe(7);
    // Where it is narrow the facts stand above, and rows are higher.
    expect(metrics(8 + 4 + 6 * 54 - 6, 48, 9)).toEqual({ height: 96, across: 6 });
    expect(metrics(8 + 4 + 6 * 54 - 7, 48, 9).across).toBe(5);
    expect(metrics(1200, 48, 9).height).toBe(76);
    expect(metrics(40, 128, 9).across).toBe(1);
  });

  it("are filled with patches where no size was chosen", () => {
    for (let width = 200; width < 2000; width += 7) {
      for (const patches of [1, 4, 9, 16]) {
        const size = fitted(width, patches);
        const { across } = metrics(width, size, patches);
        const room = width - 4 - (width < 520 ? 8 : 132);
        const filled = across * (size + 6) - 6;
        expect(filled).toBeLessThanOrEqual(room);
        // With a pixel more they would not fit, unless they are as large as they may be.
        if (size < 80) expect(filled + across).toBeGreaterThan(room);
        expect(size).toBeGreaterThanOrEqual(48);
        expect(across).toBe(Math.max(1, Math.min(patches, Math.floor((room + 6) / 54))));
      }
    }
    expect([fitted(1107, 9), fitted(514, 9), fitted(250, 9), fitted(0, 9)]).toEqual([
      80, 50, 55, 48,
    ]);
  });

  it("scroll no further than a row needs", () => {
    expect(scrolledTo(100, 300, 76, 2)).toBe(100);
    expect(scrolledTo(200, 300, 76, 2)).toBe(152);
    expect(scrolledTo(0, 300, 76, 9)).toBe(10 * 76 - 300);
  });
});

describe("channels to ask for", () => {
  const order = [5, 3, 8, 1, 0, 2, 4, 6, 7, 9, 11, 10, 12, 13];

  it("are those in view from the top, without those that are there", () => {
    expect(channelsToAsk(order, [2, 5], (channel) => channel === 1)).toEqual([8, 0]);
  });

  it("are a page below and one above once the view is full", () => {
    const inView = new Set([0, 2]);
    expect(channelsToAsk(order, [4, 6], (channel) => inView.has(channel))).toEqual([4, 6, 1, 8]);
    expect(channelsToAsk(order, [0, 2], (channel) => channel === 5 || channel === 3)).toEqual([
      8, 1,
    ]);
    expect(channelsToAsk(order, [12, 14], (channel) => channel >= 12)).toEqual([10, 11]);
  });

  it("are at most eight, and none when all is there", () => {
    expect(channelsToAsk(order, [0, 14], () => false)).toEqual(order.slice(0, 8));
    expect(channelsToAsk(order, [0, 14], () => true)).toEqual([]);
  });
});

describe("the cursor", () => {
  const patchesOf = (row: number) => (row === 2 ? 1 : 4);
  const go = (from: [number, number], key: string) => moved(from, key, 10, 5, patchesOf);

  it("goes by rows and patches and stops at the ends", () => {
    expect(go([3, 2], "ArrowDown")).toEqual([4, 2]);
    expect(go([3, 2], "ArrowUp")).toEqual([2, 0]);
    expect(go([3, 3], "ArrowRight")).toEqual([3, 3]);
    expect(go([3, 0], "ArrowLeft")).toEqual([3, 0]);
    expect(go([7, 0], "PageDown")).toEqual([9, 0]);
    expect(go([7, 1], "Home")).toEqual([0, 1]);
    expect(go([1, 1], "End")).toEqual([9, 1]);
  });
});

describe("the order of channels", () => {
  it("has ties by number and what has no value last, either way", () => {
    const purity = Float32Array.of(2, Number.NaN, 5, 2, -1);
    const overview = { ...overviewOf({ purity }), channels: 5 };
    expect([...channelOrder(overview, "purity", true)]).toEqual([2, 0, 3, 4, 1]);
    expect([...channelOrder(overview, "purity", false)]).toEqual([4, 0, 3, 2, 1]);
  });

  it("is by number, by a value, or by number where the value is unknown", () => {
    const overview = overviewOf();
    expect([...channelOrder(overview, "index", false)]).toEqual([0, 1, 2]);
    expect([...channelOrder(overview, "index", true)]).toEqual([2, 1, 0]);
    expect([...channelOrder(overview, "peak", true)]).toEqual([2, 0, 1]);
    expect([...channelOrder(overview, "selectivity", true)]).toEqual([2, 0, 1]);
  });
});

describe("what is told of a channel", () => {
  it("is its peak and the class that it prefers, or what the order is by", () => {
    const overview = overviewOf();
    expect(factsOf(overview, 0, "index", ["cat", "dog"])).toEqual(["peak 5.00", "sel. 0.40 · dog"]);
    expect(factsOf(overview, 0, "sparsity", ["cat", "dog"])).toEqual(["peak 5.00", "25 % zeros"]);
    expect(factsOf(overview, 1, "index", [])).toEqual(["peak 0", "100 % zeros"]);
    expect(factsOf(overview, 2, "index", [])[1]).toMatch(/NaN/);
  });

  it("says in words that it is dead, and counts the dead", () => {
    const overview = overviewOf();
    expect(silenceOf(overview, 1)).toMatch(/^dead/);
    expect(silenceOf(overview, 0)).toBe("");
    expect(overview.dead).toBe(1);
    expect(overview.flags).toBe(3);
  });

  it("holds the patches that there are, each with its own numbers", () => {
    const overview = overviewOf();
    expect(picksOf(overview, 1, 9)).toHaveLength(1);
    expect(picksOf(overview, 2, 1)).toHaveLength(1);
    const second = picksOf(overview, 2, 2)[1];
    expect(second).toMatchObject({ value: 8, image: 35, label: 1, predicted: -1 });
    expect(second?.box).toEqual([20, 21, 22, 23]);
    expect(second?.place).toEqual([10, 11]);
  });

  it("counts images beyond what 32 bits hold", () => {
    const image = Float64Array.of(30, 2 ** 31, 2 ** 53 - 1, -1, 34, 35);
    const overview = overviewOf({ image });
    expect(picksOf(overview, 0, 2).map((pick) => pick.image)).toEqual([30, 2147483648]);
    const [last] = picksOf(overview, 1, 2) as [Pick];
    expect(picksOf(overview, 1, 2)).toHaveLength(1);
    expect(described(last, { classes: [], outputs: [] }, true)).toMatch("image 9007199254740991");
  });

  it("names false friends in words beside their symbols", () => {
    const overview = overviewOf();
    const [, friend] = picksOf(overview, 0, 2);
    const [other] = picksOf(overview, 2, 1);
    const names = { classes: ["cat", "dog"], outputs: ["lynx", "hound"] };
    expect(described(friend as never, names, false)).toBe(
      "4.000 · dog · image 31 · unit in row 2, column 3 · ≠ another class than most here",
    );
    expect(described({ ...(other as Pick), predicted: 1 }, names, true)).toMatch(
      /dog.*taken for hound \(–\).*◇ looks/,
    );
  });
});

describe("figures", () => {
  it("show three digits of the largest, so that they stand in columns", () => {
    expect(decimalsFor([0.5, 12.3, -3])).toBe(1);
    expect(decimalsFor([0.0123])).toBe(4);
    expect(decimalsFor([1234])).toBe(0);
    expect(decimalsFor([0, Number.NaN])).toBe(1);
    expect([0, 0.3, 0.0123].map((value) => figure(value, 1))).toEqual(["0", "0.3", "0.01"]);
    expect(figure(0.000034, 4)).toBe("3.4e−5");
    expect(figure(-1.25, 1)).toMatch(/^−1\.[23]$/);
    expect(figure(Number.NaN, 2)).toBe("–");
    expect(figure(-Infinity, 2)).toBe("−∞");
    expect(figure(3e7, 0)).toBe("3.0e+7");
  });

  it("give small shares their digits", () => {
    expect([1, 0.125, 0.0123, 0.0004, 0].map(percent)).toEqual([
      "100 %",
      "13 %",
      "1.2 %",
      "0.04 %",
      "0 %",
    ]);
  });
});

describe("a histogram", () => {
  const edges = [0, 1, 2, 4, 8];

  it("has bars as high as the log of their count, and none where nothing is", () => {
    const [a, b, c] = bars(edges, [0, 1, 99, 9]);
    expect([a?.height, c?.height]).toEqual([0, 1]);
    expect(b?.height).toBeCloseTo(Math.log(2) / Math.log(100), 12);
    expect([c?.left, c?.right, c?.from, c?.to]).toEqual([0.5, 0.75, 2, 4]);
    expect(countHeight(9, highest([0, 1, 99, 9]))).toBeCloseTo(0.5, 12);
  });

  it("places a value by the bin that holds it", () => {
    expect(placeOf(0.5, edges)).toBe(0.125);
    expect(placeOf(2, edges)).toBe(0.5);
    expect(placeOf(6, edges)).toBe(0.875);
    expect([placeOf(-3, edges), placeOf(9, edges), placeOf(8, edges)]).toEqual([0, 1, 1]);
    expect(placeOf(Number.NaN, edges)).toBeNull();
    expect(placeOf(-5, [-Infinity, 0, 1])).toBe(0.25);
  });

  it("writes few numbers beside its axes", () => {
    expect(countTicks(5)).toEqual([1]);
    expect(countTicks(20_000)).toEqual([1, 100, 10_000]);
    expect(edgeTicks({ length: 41 }, 6)).toEqual([0, 8, 16, 24, 32, 40]);
  });
});

describe("a box on the image", () => {
  it("covers every pixel that the drag touched, whichever way it went", () => {
    expect(dragged([2.2, 3.7], [5.1, 6], [10, 10])).toEqual([2, 3, 6, 6]);
    expect(dragged([5.1, 6], [2.2, 3.7], [10, 10])).toEqual([2, 3, 6, 6]);
  });

  it("is cut at the image and holds a pixel at least", () => {
    expect(dragged([-4, -4], [50, 3], [10, 8])).toEqual([0, 0, 10, 3]);
    expect(dragged([20, 20], [30, 30], [10, 8])).toEqual([9, 7, 10, 8]);
    expect(dragged([4, 4], [4, 4], [10, 8])).toEqual([4, 4, 5, 5]);
  });

  it("is not made by a press that hardly moves", () => {
    expect([isDrag([0, 0], [2, 2]), isDrag([0, 0], [3, 3])]).toEqual([false, true]);
  });

  it("is refused where it is none", () => {
    expect(isBox([0, 0, 10, 8], [10, 8])).toBe(true);
    for (const box of [[], [3, 0, 3, 8], [0, 0, 11, 8], [-1, 0, 3, 3], [0, 0.5, 3, 3]]) {
      expect(isBox(box, [10, 8])).toBe(false);
    }
  });

  it("moves whole by arrow keys, and grows with Shift", () => {
    expect(keyed([2, 2, 4, 4], "ArrowRight", 3, false, [10, 8])).toEqual([2, 5, 4, 7]);
    expect(keyed([2, 2, 4, 4], "ArrowRight", 9, false, [10, 8])).toEqual([2, 6, 4, 8]);
    expect(keyed([2, 2, 4, 4], "ArrowUp", 9, false, [10, 8])).toEqual([0, 2, 2, 4]);
    expect(keyed([2, 2, 4, 4], "ArrowDown", 9, true, [10, 8])).toEqual([2, 2, 10, 4]);
    expect(keyed([2, 2, 4, 4], "ArrowLeft", 9, true, [10, 8])).toEqual([2, 2, 4, 3]);
    expect(isBox(middleBox([1, 1]), [1, 1])).toBe(true);
  });

  it("takes numbers that are typed, and stays a box", () => {
    expect(withSide([2, 2, 4, 4], 0, 7, [10, 8])).toEqual([7, 2, 8, 4]);
    expect(withSide([2, 2, 4, 4], 2, 1, [10, 8])).toEqual([0, 2, 1, 4]);
    expect(withSide([2, 2, 4, 4], 3, 99, [10, 8])).toEqual([2, 2, 4, 8]);
    expect(withSide([2, 2, 4, 4], 1, Number.NaN, [10, 8])).toEqual([2, 2, 4, 4]);
  });
});

describe("channels that answer", () => {
  const state = { tested: 64, total: 2, note: "As noted.", layers: ["a", "b"] };

  it("are listed with their layer and unit", () => {
    const found = foundOf(state, {
      channel: Int32Array.of(7, 9),
      value: Float32Array.of(2, 1),
      share: Float32Array.of(0.5, 0.25),
      place: Int16Array.of(1, 2, 3, 4),
      layer_index: Int32Array.of(1, 0),
    });
    expect(found[0]).toEqual({ layer: "b", channel: 7, value: 2, share: 0.5, unit: [1, 2] });
    expect(found[1]).toEqual({ layer: "a", channel: 9, value: 1, share: 0.25, unit: [3, 4] });
  });

  it("are counted in a sentence", () => {
    expect(verdict(state)).toBe("2 of 64 channels tested. As noted.");
    expect(verdict({ ...state, tested: 1, total: 1 })).toBe("1 of 1 channel tested. As noted.");
  });
});
