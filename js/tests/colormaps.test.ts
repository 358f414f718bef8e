import { describe, expect, it } from "vitest";
import fixture from "../../tests/fixtures/colormaps.json";
import { type Colormap, colormapBytes, colormapPixels, pixel } from "../shared/colormaps.ts";

const vectors = fixture as Record<Colormap, Record<string, number[]>>;

/** CIE L* of an sRGB colour, from its definition. */
function lightness([r = 0, g = 0, b = 0]: number[]): number {
  const linear = (c: number) => {
    const x = c / 255;
    return x <= 0.04045 ? x / 12.92 : ((x + 0.055) / 1.055) ** 2.4;
  };
  const y = 0.2126729 * linear(r) + 0.7151522 * linear(g) + 0.072175 * linear(b);
  return y > 0.008856 ? 116 * Math.cbrt(y) - 16 : 903.3 * y;
}

const colours = (name: Colormap) => {
  const bytes = colormapBytes(name);
  return Array.from({ length: 256 }, (_, i) => Array.from(bytes.slice(3 * i, 3 * i + 3)));
};

describe("colour maps", () => {
  it.each(Object.keys(vectors) as Colormap[])("%s is the one that Python draws", (name) => {
    const drawn = colours(name);
    for (const [index, colour] of Object.entries(vectors[name])) {
      drawn[Number(index)]?.forEach((c, i) => {
        expect(Math.abs(c - (colour[i] as number))).toBeLessThanOrEqual(1);
      });
    }
  });

  it.each(["sequential", "grey"] as Colormap[])("%s gets lighter at every step", (name) => {
    const steps = colours(name).map(lightness);
    for (let i = 1; i < 256; i++) expect(steps[i]).toBeGreaterThan((steps[i - 1] as number) - 0.15);
    expect((steps[255] as number) - (steps[0] as number)).toBeGreaterThan(75);
  });

  it("sequential: equal steps of value look equal (L* within 35 % of the mean step)", () => {
    const at = Array.from({ length: 17 }, (_, i) => Math.min(255, i * 16));
    const steps = at.map((i) => lightness(colours("sequential")[i] as number[]));
    const rises = steps.slice(1).map((s, i) => s - (steps[i] as number));
    const mean = rises.reduce((a, b) => a + b) / rises.length;
    for (const rise of rises.slice(0, -1)) expect(Math.abs(rise / mean - 1)).toBeLessThan(0.35);
  });

  it("diverging is lightest and nearly grey at zero, and as light on either side", () => {
    const drawn = colours("diverging");
    const middle = drawn[127] as number[];
    expect(Math.max(...middle) - Math.min(...middle)).toBeLessThan(6);
    for (let i = 0; i < 127; i++) {
      const [left, right] = [drawn[i] as number[], drawn[255 - i] as number[]];
      expect(Math.abs(lightness(left) - lightness(right))).toBeLessThan(7);
      expect(lightness(left)).toBeLessThan(lightness(drawn[i + 1] as number[]) + 0.2);
    }
  });

  it("pixels are bytes in the order of ImageData", () => {
    const bytes = new Uint8Array(Uint32Array.of(pixel(1, 2, 3)).buffer);
    expect(Array.from(bytes)).toEqual([1, 2, 3, 255]);
    expect(colormapPixels("grey")[200]).toBe(pixel(200, 200, 200));
  });
});
