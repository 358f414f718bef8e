import { describe, expect, it } from "vitest";
import { noteLine, nowShown } from "../occlusion-probe/captions.ts";
import { Cells, maskAtPosition, placeText } from "../occlusion-probe/cells.ts";
import { categoriesOf, classMap, regionLabels } from "../occlusion-probe/classes.ts";
import {
  cellsAlong,
  colourRange,
  difference,
  differenceRange,
  emptyField,
  type Field,
  gridField,
  HATCHED,
  levelOf,
  OUTSIDE,
  overlapField,
  resampled,
  VALUE,
} from "../occlusion-probe/field.ts";
import {
  baseValue,
  classValues,
  decodeMap,
  type MapData,
  nearestOf,
  nearestPosition,
  standIns,
} from "../occlusion-probe/map-data.ts";
import { runsOf } from "../occlusion-probe/masks.ts";
import { lengthened } from "../occlusion-probe/probing.ts";
import {
  amount,
  type Choices,
  confidenceAt,
  lacking,
  panesOf,
  read,
  unitOf,
  viewsOf,
} from "../occlusion-probe/reading.ts";
import type { MapState, Scale } from "../occlusion-probe/state.ts";
import { positionsAlong } from "../occlusion-tools/map-work.ts";
import { progressText } from "../occlusion-tools/run.ts";
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
function mapOf(given: Given = {}): MapData {
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

const choices: Choices = {
  scale: "probability",
  show: "confidence",
  coverage: "grid",
  stretch: false,
  settled: true,
};

describe("values of a map", () => {
  const map = mapOf();
  const values = (scale: Scale) => [...(classValues(map, 7, scale) as Float32Array)];

  it("are probabilities of all classes, not only of those kept", () => {
    values("probability").forEach((value, i) => {
      expect(value).toBeCloseTo(Math.exp(i) / (Math.exp(i) + Math.E + 1), 5);
    });
  });

  it("fall by as much as is lost against the unmasked picture", () => {
    expect(values("logit")).toEqual([0, 1, 2, 3, 4, 5]);
    expect(values("logit drop")).toEqual([4, 3, 2, 1, 0, -1]);
    const drop = values("probability drop");
    values("probability").forEach((value, i) => {
      expect(drop[i]).toBeCloseTo(0.9 - value, 5);
    });
    expect(baseValue(map, 7, "probability")).toBe(0.9);
    expect(baseValue(map, 7, "logit drop")).toBe(0);
    expect(baseValue(map, 3, "probability")).toBeNaN();
  });

  it("are missing where nothing was computed, and null for a class that was not kept", () => {
    const partial = mapOf({ state: [1, 0, 2, 0, 1, 1] });
    expect([...(classValues(partial, 7, "logit") as Float32Array)]).toEqual([
      0,
      Number.NaN,
      2,
      Number.NaN,
      4,
      5,
    ]);
    expect(classValues(map, 4, "logit")).toBeNull();
    expect(lacking(map, 4, choices)).toContain("class 4");
    expect(lacking(map, 7, { ...choices, show: "feature map" })).toContain("choose a layer");
  });
});

describe("positions", () => {
  it("are found by the mask's middle, the first of two as near", () => {
    const starts = Int32Array.of(0, 8, 16, 20);
    expect([-5, 3, 4, 4.1, 12, 18, 18.5, 99].map((at) => nearestOf(starts, at))).toEqual([
      0, 0, 0, 1, 1, 2, 3, 3,
    ]);
    const map = mapOf();
    expect(nearestPosition(map, 1, 1)).toBe(0);
    expect(nearestPosition(map, 4.9, 3.9)).toBe(5);
    expect(nearestPosition(map, 3, 1.2)).toBe(2);
  });

  it("are as many as Python's, with the last flush with the border", () => {
    expect(positionsAlong(224, 32, 8)).toBe(25);
    expect(positionsAlong(10, 4, 4)).toBe(3);
    expect(positionsAlong(4, 5, 1)).toBe(0);
  });

  it("that are open take the value of the nearest that is not", () => {
    // Two corners are computed; the other two are as far from both.
    const near = [...standIns(Uint8Array.of(1, 0, 0, 0, 0, 0, 0, 0, 2), 3, 3)];
    expect([0, 1, 3, 5, 7, 8].map((i) => near[i])).toEqual([0, 0, 0, 8, 8, 8]);
    for (const i of [2, 4, 6]) expect([0, 8]).toContain(near[i]);
    expect([...standIns(new Uint8Array(4), 2, 2)]).toEqual([-1, -1, -1, -1]);
  });

  it("are walked by keys and stay within the map", () => {
    const map = mapOf();
    const cells = new Cells();
    cells.enter(map);
    const places = [
      "ArrowUp",
      "ArrowUp",
      "ArrowUp",
      "ArrowLeft",
      "ArrowLeft",
      "ArrowDown",
      "ArrowRight",
    ];
    for (const key of places) expect(cells.move(key)).toBe(true);
    expect(cells.spot?.position).toBe(3);
    expect(cells.move("x")).toBe(false);
    expect(maskAtPosition({ map, position: 3 })).toEqual({
      shape: "rectangle",
      top: 2,
      left: 2,
      height: 2,
      width: 2,
    });
    const next = mapOf({ state: [1, 1, 1, 2, 1, 1] });
    cells.keepTo([next, null]);
    expect(cells.spot?.map).toBe(next);
    expect(placeText({ map: next, position: 3 })).toBe(
      "rows 2–4, columns 2–4 (interpolated, not computed)",
    );
    cells.keepTo([null]);
    expect(cells.spot).toBeNull();
  });
});

describe("cells over the picture", () => {
  it("stand about the middle of their masks and reach half way to the next", () => {
    expect([...cellsAlong(Int32Array.of(0, 4, 6), 4, 10)]).toEqual([0, 0, 0, 0, 1, 1, 1, 2, 2, -1]);
    expect([...cellsAlong(Int32Array.of(0), 4, 6)]).toEqual([0, 0, 0, 0, -1, -1]);
  });

  it("never vanish, however narrow the last one is", () => {
    const cells = cellsAlong(Int32Array.of(0, 8, 9), 3, 12);
    expect(new Set(cells)).toEqual(new Set([-1, 0, 1, 2]));
  });

  it("show stand-ins while the map grows, and are hatched once it was stopped", () => {
    const map = mapOf({ tops: [0, 2], lefts: [0, 2], state: [1, 0, 0, 0], image: [4, 4] });
    const values = classValues(map, 7, "logit") as Float32Array;
    const growing = gridField(map, values, false);
    expect(new Set(growing.kind)).toEqual(new Set([VALUE]));
    expect(new Set(growing.values)).toEqual(new Set([0]));
    const stopped = gridField(map, values, true);
    expect([...stopped.kind].filter((kind) => kind === VALUE)).toHaveLength(4);
    expect([...stopped.kind].filter((kind) => kind === HATCHED)).toHaveLength(12);
  });

  it("that gave NaN are hatched", () => {
    const map = mapOf({
      logits: [
        [0, 1],
        [Number.NaN, 1],
        [2, 1],
        [3, 1],
        [4, 1],
        [5, 1],
      ],
    });
    const field = gridField(map, classValues(map, 7, "logit") as Float32Array, true);
    expect(field.kind[3]).toBe(HATCHED);
    expect(field.kind[0]).toBe(VALUE);
  });
});

describe("the overlap average", () => {
  /** As the definition has it: each pixel, all masks. */
  function byHand(map: MapData, values: ArrayLike<number>): number[] {
    const [height, width] = map.fields.size;
    const shape = map.fields.mask_shape;
    const plain: number[] = [];
    for (let y = 0; y < map.height; y++) {
      for (let x = 0; x < map.width; x++) {
        const over: number[] = [];
        for (let i = 0; i < values.length; i++) {
          const top = map.tops[Math.floor(i / map.columns)] as number;
          const left = map.lefts[i % map.columns] as number;
          const runs = runsOf({ shape, top, left, height, width });
          if (runs.some(([row, from, to]) => row === y && from <= x && x < to))
            over.push(values[i] as number);
        }
        plain.push(over.reduce((a, b) => a + b, 0) / over.length);
      }
    }
    return plain;
  }

  it.each(["rectangle", "circle"] as const)(
    "is the mean of all masks (%s) over a pixel",
    (shape) => {
      const map = mapOf({ tops: [0, 2, 4], lefts: [0, 3], size: [5, 4], shape, image: [9, 7] });
      const values = classValues(map, 7, "probability") as Float32Array;
      const field = overlapField(map, values, true);
      byHand(map, values).forEach((value, i) => {
        if (Number.isNaN(value)) expect(field.kind[i]).toBe(OUTSIDE);
        else expect(field.values[i]).toBeCloseTo(value, 5);
      });
    },
  );

  it("leaves out what is NaN or was not computed, and hatches what only such masks cover", () => {
    const map = mapOf({
      tops: [0, 2],
      lefts: [0],
      image: [4, 2],
      state: [1, 0],
      logits: [
        [3, 1],
        [5, 1],
      ],
    });
    const field = overlapField(map, classValues(map, 7, "logit") as Float32Array, true);
    expect([...field.values.slice(0, 4)]).toEqual([3, 3, 3, 3]);
    expect([...field.kind.slice(4)]).toEqual([HATCHED, HATCHED, HATCHED, HATCHED]);
  });
});

describe("colours", () => {
  const one = (values: number[], base: number, probability = base) => ({
    values,
    base,
    probability,
  });

  it("of probabilities begin at zero, so that a flat map looks flat", () => {
    const range = colourRange([one([0.991, 0.999], 0.998)], "probability", false);
    expect([range.low, range.high, range.centred]).toEqual([0, 0.999, false]);
    expect(levelOf(0.999, range) - levelOf(0.991, range)).toBeLessThan(4);
    const stretched = colourRange([one([0.991, 0.999], 0.998)], "probability", true);
    expect([stretched.low, stretched.high]).toEqual([0.991, 0.999]);
  });

  it("of drops have zero in the middle and full colour at a fifth of the confidence at least", () => {
    const range = colourRange([one([-0.01, 0.02], 0, 0.9)], "probability drop", false);
    expect(range.high).toBeCloseTo(0.18);
    expect(range.low).toBeCloseTo(-0.18);
    expect(colourRange([one([-0.1, 0.7], 0, 0.9)], "probability drop", false).high).toBe(0.7);
    expect(colourRange([one([-0.01, 0.02], 0, 0.9)], "probability drop", true).high).toBe(0.02);
    expect(levelOf(0, range)).toBeCloseTo(127.5, -1);
  });

  it("of two maps are on one scale, unmasked values included", () => {
    const range = colourRange([one([1, 2], 9), one([-3, 4], 5)], "logit", false);
    expect([range.low, range.high]).toEqual([-3, 9]);
  });

  it("skip what is no number, and have a range when there is nothing", () => {
    const range = colourRange(
      [one([Number.NaN, 2, Number.POSITIVE_INFINITY], Number.NaN)],
      "logit",
      false,
    );
    expect(range.low).toBe(2);
    expect(range.high).toBeGreaterThan(range.low);
    expect(colourRange([], "probability drop", false).high).toBe(1);
  });
});

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
    expect(now?.of).toContain("No answer from Python");
    expect(now?.of).toContain("nearest position");
    expect(now?.of).toContain("rectangle of 2×2 px on rows 2–4, columns 0–2");
    expect(now?.state.target.logit).toBe(2);
    expect(nowShown({ ...given, unanswered: false })).toBeNull();
  });

  it("say what is not current, stopped, and how pixels come about", () => {
    const given = { ...choices, map: mapOf(), other: true, fill: "grey", stale: "", lacking: "" };
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

it("an empty field has nothing to show", () => {
  expect(new Set(emptyField(2, 3).kind)).toEqual(new Set([OUTSIDE]));
});
