import { describe, expect, it } from "vitest";
import { type InkLayer, NONE } from "../image-map/facts.ts";
import {
  categoryColour,
  FAINT,
  type Filter,
  inks,
  kept,
  valueColours,
} from "../image-map/palette.ts";
import type { InkState } from "../image-map/state.ts";

type Triple = [number, number, number];

const linear = (byte: number) => {
  const x = byte / 255;
  return x <= 0.04045 ? x / 12.92 : ((x + 0.055) / 1.055) ** 2.4;
};

/** OKLab of linear sRGB, from its definition (Ottosson 2020). */
function oklab([r, g, b]: Triple): Triple {
  const l = Math.cbrt(0.4122214708 * r + 0.5363325363 * g + 0.0514459929 * b);
  const m = Math.cbrt(0.2119034982 * r + 0.6806995451 * g + 0.1073969566 * b);
  const s = Math.cbrt(0.0883024619 * r + 0.2817188376 * g + 0.6299787005 * b);
  return [
    0.2104542553 * l + 0.793617785 * m - 0.0040720468 * s,
    1.9779984951 * l - 2.428592205 * m + 0.4505937099 * s,
    0.0259040371 * l + 0.7827717662 * m - 0.808675766 * s,
  ];
}

/** Severity 1 of Machado, Oliveira & Fernandes 2009, on linear sRGB. */
const SIGHT: Record<string, Triple[]> = {
  normal: [
    [1, 0, 0],
    [0, 1, 0],
    [0, 0, 1],
  ],
  protanopia: [
    [0.152286, 1.052583, -0.204868],
    [0.114503, 0.786281, 0.099216],
    [-0.003882, -0.048116, 1.051998],
  ],
  deuteranopia: [
    [0.367322, 0.860646, -0.227968],
    [0.280085, 0.672501, 0.047413],
    [-0.01182, 0.04294, 0.968881],
  ],
  tritanopia: [
    [1.255528, -0.076749, -0.178779],
    [-0.078411, 0.930809, 0.147602],
    [0.004733, 0.691367, 0.3039],
  ],
};

function seen(colour: Triple, sight: Triple[]): Triple {
  const rgb = colour.map(linear) as Triple;
  const part = ([a, b, c]: Triple) => a * rgb[0] + b * rgb[1] + c * rgb[2];
  return oklab(sight.map((row) => Math.min(1, Math.max(0, part(row)))) as Triple);
}

function nearest(count: number, sight: Triple[]): number {
  const colours = Array.from({ length: count }, (_, i) => seen(categoryColour(i), sight));
  let least = Number.POSITIVE_INFINITY;
  for (const [i, a] of colours.entries()) {
    for (const b of colours.slice(0, i)) {
      least = Math.min(least, Math.hypot(a[0] - b[0], a[1] - b[1], a[2] - b[2]));
    }
  }
  return least;
}

describe("colours of categories", () => {
  it.each([
    ["normal", 0.12],
    ["protanopia", 0.07],
    ["deuteranopia", 0.07],
    ["tritanopia", 0.06],
  ] as const)("ten are told apart with %s sight", (sight, apart) => {
    expect(nearest(10, SIGHT[sight] as Triple[])).toBeGreaterThan(apart);
  });

  it("thirty are different ones", () => {
    expect(nearest(30, SIGHT.normal as Triple[])).toBeGreaterThan(0.02);
  });

  it("stand out from white and from black paper", () => {
    for (let i = 0; i < 10; i++) {
      const [r, g, b] = categoryColour(i).map(linear) as Triple;
      const luminance = 0.2126 * r + 0.7152 * g + 0.0722 * b;
      expect(1.05 / (luminance + 0.05)).toBeGreaterThan(1.6);
      expect((luminance + 0.05) / (0.006 + 0.05)).toBeGreaterThan(2.4);
    }
  });
});

describe("inks", () => {
  const paper = { dark: false, plain: [1, 2, 3] as Triple };
  const all: Filter = { hidden: [], range: [], emphasis: null, meant: null };
  const layer = (kind: InkState["kind"], values: number[], more: Partial<InkState> = {}) =>
    ({
      state: {
        name: "x",
        label: "x",
        kind,
        categories: [0, 1, 12].map((number) => ({ number, name: `c${number}`, count: 1 })),
        low: -1,
        high: 1,
        colormap: "sequential",
        meaning: "",
        ...more,
      },
      values: Uint16Array.from(values),
    }) as InkLayer;
  const opacity = (rgba: Uint8Array) => [...rgba].filter((_, i) => i % 4 === 3);

  it("are plain without a layer, and without a value", () => {
    expect([...inks(2, null, all, paper)]).toEqual([1, 2, 3, 255, 1, 2, 3, 255]);
    const unknown = inks(2, layer("category", [1, NONE]), all, paper);
    expect([...unknown.subarray(0, 3)]).toEqual(categoryColour(1));
    expect([...unknown.subarray(4, 8)]).toEqual([1, 2, 3, 255]);
  });

  it("hidden categories leave, those without one with −1", () => {
    const values = layer("category", [0, 1, 12, NONE]);
    expect(opacity(inks(4, values, { ...all, hidden: [12, 0] }, paper))).toEqual([0, 255, 0, 255]);
    expect(opacity(inks(4, values, { ...all, hidden: [-1] }, paper))).toEqual([255, 255, 255, 0]);
  });

  it("one category stands out, hidden ones stay away", () => {
    const values = layer("category", [0, 1, 12]);
    const filter = { ...all, hidden: [12], emphasis: 1 };
    expect(opacity(inks(3, values, filter, paper))).toEqual([FAINT, 255, 0]);
    // One that is hidden itself does not make the others stand back.
    expect(opacity(inks(3, values, { ...filter, emphasis: 12 }, paper))).toEqual([255, 255, 0]);
    const unknown = layer("category", [0, NONE]);
    expect(opacity(inks(2, unknown, { ...all, emphasis: -1 }, paper))).toEqual([FAINT, 255]);
  });

  it("a range keeps its bounds, and lets go what has no value", () => {
    const at = (value: number) => Math.round(((value + 1) / 2) * (NONE - 1));
    const values = layer("value", [at(-1), at(0), at(0.5), at(1), NONE]);
    const filter = { ...all, range: [0, 0.5] };
    expect(opacity(inks(5, values, filter, paper))).toEqual([0, 255, 255, 0, 0]);
    expect(opacity(inks(5, values, all, paper))).toEqual([255, 255, 255, 255, 255]);
    expect(kept([], -1, 1)).toEqual([0, NONE - 1]);
    expect(kept([0, 1], 3, 3)).toEqual([0, NONE - 1]);
  });

  it("values are coloured from the low end to the high end of the ramp", () => {
    const ramp = valueColours("sequential", false);
    const rgba = inks(2, layer("value", [0, NONE - 1]), all, paper);
    expect([...rgba.subarray(0, 3)]).toEqual([...ramp.subarray(0, 3)]);
    expect([...rgba.subarray(4, 7)]).toEqual([...ramp.subarray(765)]);
  });

  it("what was not found stands back; what is filtered away stays away", () => {
    const values = layer("category", [0, 1, 12]);
    const filter = { ...all, hidden: [0], meant: Int32Array.of(0, 2) };
    expect(opacity(inks(3, values, filter, paper))).toEqual([0, FAINT, 255]);
  });

  it("ends of value colours stand out from their paper", () => {
    const light = valueColours("sequential", false).subarray(765);
    const dark = valueColours("sequential", true).subarray(0, 3);
    expect(Math.min(...light)).toBeLessThan(200);
    expect(Math.max(...dark)).toBeGreaterThan(70);
  });
});
