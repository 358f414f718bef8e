import { describe, expect, it } from "vitest";
import { noteLine, nowShown } from "../occlusion-probe/captions.ts";
import { categoriesOf, classMap, regionLabels } from "../occlusion-probe/classes.ts";
import {
  difference,
  differenceRange,
  type Field,
  OUTSIDE,
  resampled,
  VALUE,
} from "../occlusion-probe/field.ts";
import { fading } from "../occlusion-probe/paint.ts";
import { lengthened } from "../occlusion-probe/probing.ts";
import {
  amount,
  confidenceAt,
  panesOf,
  read,
  unitOf,
  viewsOf,
} from "../occlusion-probe/reading.ts";
import type { Scale } from "../occlusion-probe/state.ts";
import { progressText } from "../occlusion-tools/run.ts";
import { axisOf } from "../occlusion-tools/trail.ts";
import { choices, mapOf } from "./occlusion-map.ts";

describe("a comparison", () => {
  const field = (height: number, width: number, values: number[]): Field => ({
    height,
    width,
    values: Float32Array.from(values),
    kind: Uint8Array.from(values, (value) => (Number.isNaN(value) ? OUTSIDE : VALUE)),
  });

  it("subtracts where both maps have a value, pixel by pixel", () => {
    const apart = difference(field(1, 3, [1, 2, Number.NaN]), field(1, 3, [4, 1, 1]));
    expect([...apart.values.slice(0, 2)]).toEqual([-3, 1]);
    expect([...apart.kind]).toEqual([VALUE, VALUE, OUTSIDE]);
  });

  it("brings a map of another network's input to the same pixels", () => {
    expect([...resampled(field(1, 2, [1, 2]), 2, 4).values]).toEqual([1, 1, 2, 2, 1, 1, 2, 2]);
    expect([...difference(field(1, 4, [5, 5, 5, 5]), field(1, 2, [1, 2])).values]).toEqual([
      4, 4, 3, 3,
    ]);
  });

  it("has the difference in the units of the maps", () => {
    const shared = { low: 0, high: 0.8, centred: false };
    expect(differenceRange(shared, [0.1, -0.05], false)).toEqual({
      low: -0.8,
      high: 0.8,
      centred: true,
    });
    expect(differenceRange(shared, [0.25, -0.5], true).high).toBe(0.5);
    const drops = { low: -0.3, high: 0.3, centred: true };
    expect(differenceRange(drops, [0.1], false).high).toBe(0.3);
    expect(differenceRange(drops, [0.6], false).high).toBeCloseTo(0.6);
  });

  it("of masks of two sizes is on one scale", () => {
    const a = read(
      mapOf({
        logits: [
          [9, 1],
          [1, 1],
          [2, 1],
          [3, 1],
          [4, 1],
          [5, 1],
        ],
      }),
      7,
      { ...choices, scale: "logit" },
      [],
    );
    const b = read(
      mapOf({ tops: [0], lefts: [0], size: [4, 4], logits: [[-2, 1]] }),
      7,
      { ...choices, scale: "logit" },
      [],
    );
    const views = viewsOf(a, b, { ...choices, scale: "logit" });
    expect([views.range.low, views.range.high]).toEqual([-2, 9]);
    expect(views.difference?.values[0]).toBe(11);
  });

  it("shows what is asked for", () => {
    expect(panesOf("both", true)).toEqual(["A", "B", "difference"]);
    expect(panesOf("difference", true)).toEqual(["difference"]);
    expect(panesOf("A", false)).toEqual(["B"]);
  });
});

describe("the most probable class", () => {
  it("has a letter and a share for each, the target first, over both maps", () => {
    const map = mapOf({ top: [7, 3, 3, 3, 3, 3] });
    const found = categoriesOf([map, map], 7);
    expect(found.map(({ number, letter, name }) => [number, letter, name])).toEqual([
      [7, "A", "dog"],
      [3, "B", "cat"],
    ]);
    expect(found[0]?.share).toBeCloseTo(1 / 6);
    expect([...classMap(map, found).values]).toEqual([0, 1, 1, 1, 1, 1]);
  });

  it("puts classes beyond the colours together, as others", () => {
    const tops = Array.from({ length: 10 }, (_, i) => 2 * i);
    const map = mapOf({
      tops,
      lefts: [0],
      image: [20, 2],
      logits: tops.map(() => [1, 1]),
      top: tops.map((_, i) => i),
    });
    const found = categoriesOf([map], 9);
    expect(found[0]?.number).toBe(9);
    expect(found.at(-1)).toMatchObject({ number: -1, name: "3 other classes" });
    expect(found.at(-1)?.share).toBeCloseTo(0.3);
    expect(new Set(found.map(({ colour }) => colour)).size).toBe(found.length);
  });

  it("labels each region once, on a cell of its own", () => {
    const labels = regionLabels(Float32Array.of(0, 0, 1, 0, 0, 1, 1, 1, 1), 3, 3);
    expect(labels.map(({ category, size }) => [category, size])).toEqual([
      [0, 4],
      [1, 5],
    ]);
    const values = [0, 0, 1, 0, 0, 1, 1, 1, 1];
    for (const { category, cell } of labels) expect(values[cell]).toBe(category);
  });
});

describe("a total of a feature map", () => {
  it("is shown as it is, with the unmasked total", () => {
    const reading = read(
      mapOf({ sums: [1, 2, 3, 4, 5, 6] }),
      7,
      { ...choices, show: "feature map" },
      [],
    );
    expect(reading?.base).toBe(5);
    expect([...(reading?.values ?? [])]).toEqual([1, 2, 3, 4, 5, 6]);
  });
});

describe("words", () => {
  it("carry sign and unit, and no false sign at zero", () => {
    expect(amount(0.342, "%")).toBe("34.2 %");
    expect(amount(-0.342, "%p", true)).toBe("−34.2 %p");
    expect(amount(0.00001, "%p", true)).toBe("±0.0 %p");
    expect(amount(12.345, "", true)).toBe("+12.3");
    expect(amount(Number.NaN, "%")).toBe("NaN");
    expect(unitOf({ ...choices, scale: "logit" })).toBe("");
    expect(unitOf({ ...choices, scale: "probability" }, true)).toBe("%p");
  });

  it("of a cell come from the map alone, with the change against the unmasked picture", () => {
    const map = mapOf();
    const { top, target } = confidenceAt(map, 5, 7);
    expect(target).toMatchObject({
      number: 7,
      name: "dog",
      before: 0.9,
      logit_before: 4,
      logit: 5,
    });
    expect(target.probability).toBeCloseTo(Math.exp(5) / (Math.exp(5) + Math.E + 1), 5);
    expect(top[0]?.number).toBe(7);
    expect(Number(confidenceAt(map, 0, 9).target.probability)).toBeNaN();
  });

  it("say that the nearest position is read when Python does not answer", () => {
    const map = mapOf();
    const mask = { shape: "circle", top: 2, left: 1, height: 2, width: 2 } as const;
    const given = { spot: null, prediction: null, confidence: null, masks: [mask], map, target: 7 };
    const now = nowShown({ ...given, unanswered: true });
    expect(now?.of).toContain("Without Python");
    expect(now?.of).toContain("nearest position");
    expect(now?.of).toContain("rectangle of 2×2 px on rows 2–4, columns 0–2");
    expect(now?.state.target.logit).toBe(2);
    expect(nowShown({ ...given, unanswered: false })).toBeNull();
    // What is known is of no mask, and no share of it is told.
    const confidence = { ...confidenceAt(map, 0, 7), covered: 0 };
    const before = { ...given, map: null, confidence };
    expect(nowShown({ ...before, unanswered: true })?.of).toBe("Not current. With a mask");
    expect(nowShown({ ...before, unanswered: false })?.of).toBe("With a mask");
  });

  it("say what is not current, stopped, and how pixels come about", () => {
    const given = {
      ...choices,
      map: mapOf(),
      other: true,
      fill: "grey",
      input: "",
      stale: "",
      lacking: "",
    };
    expect(noteLine(given)).toBe(
      "The map: masks of 2×2 px. Each cell stands at the middle of its mask.",
    );
    expect(noteLine({ ...given, stale: "the fill has changed" })).toContain(
      "Not current: the fill has changed",
    );
    expect(noteLine({ ...given, coverage: "overlap average" })).toContain(
      "mean of all masks over it",
    );
    expect(noteLine({ ...given, map: null })).toContain("another picture");
  });

  it("tell the time left", () => {
    expect(progressText({ running: true, done: 100, total: 400, seconds: 2, way: "" })).toBe(
      "100 of 400 positions, 2.0 s, about 6.0 s left",
    );
    expect(progressText({ running: false, done: 400, total: 400, seconds: 8, way: "" })).toBe(
      "400 of 400 positions, 8.0 s",
    );
  });
});

describe("the way of a mask", () => {
  it("keeps its length in pixels and at most 400 points", () => {
    let way = lengthened([], { row: 0, col: 0, probability: 1, logit: 1 });
    for (let i = 1; i <= 1000; i++)
      way = lengthened(way, { row: 3 * i, col: 4 * i, probability: 1, logit: 1 });
    expect(way.length).toBeLessThanOrEqual(400);
    expect(way.at(-1)?.path).toBeCloseTo(5000);
    expect(way[0]?.path).toBe(0);
  });
});

describe("a map that hardly changes", () => {
  const base = { ...choices, show: "confidence" } as const;
  const viewsFor = (logits: number[], scale: Scale, stretch = false) => {
    const map = mapOf({ logits: logits.map((logit) => [logit, 0]) });
    const told = { ...base, scale, stretch };
    return viewsOf(null, read(map, 7, told, []), told);
  };

  it("says so with its numbers, stretched or not", () => {
    for (const stretch of [false, true]) {
      const { slight } = viewsFor([4, 4.1, 4.2, 4.3, 4.4, 4.5], "probability", stretch);
      expect(slight?.low).toBeCloseTo(Math.exp(4) / (Math.exp(4) + 2), 5);
      expect(slight?.high).toBeCloseTo(Math.exp(4.5) / (Math.exp(4.5) + 2), 5);
    }
    expect(viewsFor([0, 1, 2, 3, 4, 5], "probability").slight).toBeNull();
  });

  it("does not where there are no numbers, or classes and not numbers", () => {
    expect(viewsFor(Array(6).fill(Number.NaN), "probability").slight).toBeNull();
    const told = { ...base, show: "most probable" } as const;
    const map = mapOf();
    expect(viewsOf(null, read(map, 7, told, categoriesOf([map], 7)), told).slight).toBeNull();
  });

  it("leaves the picture to be seen where nothing happens", () => {
    const range = { low: 0, high: 1, centred: false };
    // As unmasked: at the usual opacity next to nothing; far from it nearly all colour.
    expect(0.6 ** fading(range, 1, 255)).toBeLessThan(0.08);
    expect(0.6 ** fading(range, 1, 0)).toBeGreaterThan(0.7);
    expect(0.6 ** fading({ low: -1, high: 1, centred: true }, 0, 127)).toBeLessThan(0.08);
    expect(fading(range, Number.NaN, 9)).toBe(1);
  });
});

describe("the axis of a way", () => {
  it("fits the values, from zero on unless they hardly differ", () => {
    const ends = (values: number[]) => {
      const { low, high } = axisOf(values);
      return [low, high].map((value) => Number(value.toFixed(6)));
    };
    expect(ends([0.2, 0.9])).toEqual([0, 1]);
    expect(ends([0.01, 0.038])).toEqual([0, 0.04]);
    expect(ends([0.0001, 0.0002])).toEqual([0, 0.01]);
    expect(ends([0.982, 0.999])).toEqual([0.98, 1]);
    expect(ends([0.5, 0.5, Number.NaN])).toEqual([0.49, 0.5]);
    expect(ends([1, 1])).toEqual([0.99, 1]);
    expect(ends([])).toEqual([0, 0.01]);
  });
});
