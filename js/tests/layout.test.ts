import { describe, expect, it } from "vitest";
import {
  cellAt,
  fittingScale,
  type LayoutInput,
  makeLayout,
  neighbour,
  pointOf,
  reveal,
  spotAt,
  stripOrigin,
} from "../shared/tiles.ts";

const gallery: LayoutInput = {
  outputs: 10,
  panels: 1,
  kernelWidth: 7,
  kernelHeight: 7,
  matrix: false,
  width: 400,
  scale: 8,
  density: 1,
};
const matrix: LayoutInput = {
  ...gallery,
  outputs: 64,
  panels: 32,
  kernelWidth: 3,
  kernelHeight: 3,
  matrix: true,
  scale: 5,
};

/** Every weight's middle, found by laying strips out one after the other. */
function* weights(input: LayoutInput) {
  const layout = makeLayout(input);
  for (let position = 0; position < layout.outputs; position++) {
    const { x, y } = stripOrigin(layout, position);
    for (let panel = 0; panel < layout.panels; panel++) {
      for (let row = 0; row < input.kernelHeight; row++) {
        for (let column = 0; column < input.kernelWidth; column++) {
          yield {
            cell: { position, panel, row, column },
            x: x + panel * (layout.panelWidth + layout.panelGap) + (column + 0.5) * layout.scaleX,
            y: y + (row + 0.5) * layout.scaleY,
          };
        }
      }
    }
  }
}

describe.each([
  ["a gallery", gallery],
  ["a gallery with panels, on a dense screen", { ...gallery, panels: 3, density: 2 }],
  ["a matrix", matrix],
  ["strips", { ...gallery, kernelHeight: 1, kernelWidth: 9 }],
  ["one kernel wider than the page", { ...gallery, width: 20 }],
])("the point in the middle of each weight of %s", (_name, input) => {
  it("is found to be that weight", () => {
    const layout = makeLayout(input);
    for (const { cell, x, y } of weights(input)) expect(cellAt(layout, x, y)).toEqual(cell);
  });

  it("lies within the content", () => {
    const layout = makeLayout(input);
    for (const { x, y } of weights(input)) {
      expect(x).toBeLessThan(layout.contentWidth);
      expect(y).toBeLessThan(layout.contentHeight);
    }
  });
});

describe("a gallery", () => {
  it("fits its width", () => {
    const layout = makeLayout(gallery);
    const line = layout.perLine * (layout.stripWidth + layout.stripGap) - layout.stripGap;
    expect(line).toBeLessThanOrEqual(394);
    expect(line + layout.stripGap + layout.stripWidth).toBeGreaterThan(394);
  });

  it("has nothing between kernels and behind the last", () => {
    const layout = makeLayout(gallery);
    expect(cellAt(layout, layout.gutterX + layout.stripWidth + 1, 8)).toBeNull();
    const { x, y } = stripOrigin(layout, 10);
    expect(cellAt(layout, x + 3, y + 3)).toBeNull();
  });
});

describe("arrow keys", () => {
  it("walk a gallery by line and stop at its ends", () => {
    const layout = makeLayout(gallery);
    const go = (from: number, key: string) => neighbour(layout, from, 0, key).position;
    expect(go(0, "ArrowRight")).toBe(1);
    expect(go(0, "ArrowLeft")).toBe(0);
    expect(go(0, "ArrowDown")).toBe(layout.perLine);
    expect(go(9, "ArrowDown")).toBe(9);
    expect(go(4, "End")).toBe(9);
    expect(go(4, "Home")).toBe(0);
    expect(go(1, "PageDown")).toBe(9);
  });

  it("walk a matrix by output and input", () => {
    const layout = makeLayout(matrix);
    expect(neighbour(layout, 3, 4, "ArrowRight")).toEqual({ position: 3, panel: 5 });
    expect(neighbour(layout, 3, 4, "ArrowDown")).toEqual({ position: 4, panel: 4 });
    expect(neighbour(layout, 63, 31, "ArrowDown")).toEqual({ position: 63, panel: 31 });
    expect(neighbour(layout, 60, 31, "PageDown")).toEqual({ position: 63, panel: 31 });
  });
});

it("scrolling shows a kernel and moves least", () => {
  expect(reveal(0, 100, 20, 10)).toBe(0);
  expect(reveal(50, 100, 20, 10)).toBe(20);
  expect(reveal(0, 100, 120, 10)).toBe(30);
  expect(reveal(0, 100, 120, 300)).toBe(120);
});

describe("the scale that fits", () => {
  const fitted = (input: Partial<LayoutInput>, height = 440) =>
    fittingScale({ ...gallery, ...input }, height);

  it("shows few kernels large, and all of them without scrolling", () => {
    const scale = fitted({ outputs: 16, width: 900 });
    expect(scale * 7).toBeGreaterThan(80);
    const layout = makeLayout({ ...gallery, outputs: 16, width: 900, scale });
    expect(layout.contentHeight).toBeLessThanOrEqual(440);
  });

  it("shows many at the least that can be read", () => {
    expect(fitted({ outputs: 500, width: 900 }) * 7).toBeCloseTo(63, -1);
    expect(fitted({ ...matrix, outputs: 512, panels: 512 }) * 3).toBe(15);
    expect(fitted({ ...matrix, outputs: 512, panels: 512, density: 2 }) * 3).toBe(30);
    expect(fitted({ kernelWidth: 224, kernelHeight: 224 })).toBe(1);
  });
});

it.each([gallery, matrix])("a spot is found again after zooming", (input) => {
  const before = makeLayout(input);
  const after = makeLayout({ ...input, scale: 13 });
  for (const { cell, x, y } of weights(input)) {
    const spot = spotAt(before, x, y);
    expect(spot.position).toBe(cell.position);
    const back = pointOf(before, spot);
    expect(back.x).toBeCloseTo(x, 6);
    expect(back.y).toBeCloseTo(y, 6);
    expect(cellAt(after, pointOf(after, spot).x, pointOf(after, spot).y)?.position).toBe(
      cell.position,
    );
  }
});
