import { describe, expect, it } from "vitest";
import { Cells, maskAtPosition, placeText } from "../occlusion-probe/cells.ts";
import {
  cellsAlong,
  colourRange,
  emptyField,
  gridField,
  HATCHED,
  levelOf,
  OUTSIDE,
  overlapField,
  VALUE,
} from "../occlusion-probe/field.ts";
import {
  baseValue,
  classValues,
  type MapData,
  nearestOf,
  nearestPosition,
  standIns,
} from "../occlusion-probe/map-data.ts";
import { runsOf } from "../occlusion-probe/masks.ts";
import { lacking } from "../occlusion-probe/reading.ts";
import type { Scale } from "../occlusion-probe/state.ts";
import { positionsAlong } from "../occlusion-tools/map-work.ts";
import { choices, mapOf } from "./occlusion-map.ts";

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

it("an empty field has nothing to show", () => {
  expect(new Set(emptyField(2, 3).kind)).toEqual(new Set([OUTSIDE]));
});
