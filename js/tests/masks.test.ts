import { describe, expect, it } from "vitest";
import fixture from "../../tests/fixtures/masks.json";
import { bounds, type Run, stroke, union } from "../occlusion-probe/brush.ts";
import { maskKey } from "../occlusion-probe/mask-keys.ts";
import {
  covered,
  grown,
  HANDLES,
  handlePoint,
  handlesOf,
  type MaskState,
  maskAt,
  maskOf,
  moved,
  outlineOf,
  painted,
  resized,
} from "../occlusion-probe/masks.ts";

const picture = { height: 40, width: 60 };
const box = (top: number, left: number, height: number, width: number): MaskState => ({
  shape: "rectangle",
  top,
  left,
  height,
  width,
});
const sides = ({ top, left, height, width }: MaskState) => [top, left, height, width];
const rows = (plane: Uint8Array, width: number) =>
  Array.from({ length: plane.length / width }, (_, row) =>
    [...plane.subarray(row * width, (row + 1) * width)].map((one) => (one ? "#" : ".")).join(""),
  );

describe("masks", () => {
  it.each(fixture.map((vector) => [vector.name, vector] as const))(
    "cover what they cover in Python: %s",
    (_, vector) => {
      const width = vector.covered[0]?.length ?? 0;
      const masks = vector.masks as MaskState[];
      const plane = covered(masks, vector.covered.length, width);
      expect(rows(plane, width)).toEqual(vector.covered);
    },
  );

  it("go where they are moved, in whole pixels, and a part of them stays in the picture", () => {
    const mask = box(10, 20, 8, 6);
    expect(sides(moved(mask, 2.4, -3.6, picture))).toEqual([12, 16, 8, 6]);
    expect(sides(moved(mask, -1e6, -1e6, picture))).toEqual([-7, -5, 8, 6]);
    expect(sides(moved(mask, 1e6, 1e6, picture))).toEqual([39, 59, 8, 6]);
  });

  it("of a brush take along all that it covers, and bring it back", () => {
    const mask = painted(null, [5, 5], [9, 30], 7, picture);
    const away = moved(mask, -100, 0, picture);
    expect(covered([away], 40, 60).filter(Boolean).length).toBeGreaterThan(0);
    expect(moved(away, mask.top - away.top, 0, picture)).toEqual(mask);
  });

  it("are resized at a handle, and the side across stays", () => {
    const mask = box(10, 20, 8, 6);
    for (const handle of HANDLES) {
      const [down, across] = handle;
      const result = resized(mask, handle, [3 * down, 2 * across], false, picture);
      expect([result.height, result.width]).toEqual([
        8 + 3 * Math.abs(down),
        6 + 2 * Math.abs(across),
      ]);
      expect(result.top).toBe(down < 0 ? 7 : 10);
      expect(result.left).toBe(across < 0 ? 18 : 20);
    }
  });

  it("keep their ratio where asked", () => {
    const mask = box(10, 20, 8, 4);
    expect(sides(resized(mask, [1, 1], [8, 0], true, picture))).toEqual([10, 20, 16, 8]);
    expect(sides(resized(mask, [-1, -1], [0, -4], true, picture))).toEqual([2, 16, 16, 8]);
    // A handle on a side leaves the middle of the other axis.
    expect(sides(resized(mask, [1, 0], [8, 5], true, picture))).toEqual([10, 18, 16, 8]);
  });

  it("have one pixel at least and twice the picture at most", () => {
    const mask = box(10, 20, 8, 6);
    expect(sides(resized(mask, [1, 1], [-50, -50], false, picture))).toEqual([10, 20, 1, 1]);
    expect(sides(grown(mask, -50, -50, picture)).slice(2)).toEqual([1, 1]);
    expect(sides(grown(mask, 500, 500, picture)).slice(2)).toEqual([80, 120]);
  });

  it("grow around their middle", () => {
    expect(sides(grown(box(10, 20, 8, 6), 1, 2, picture))).toEqual([9, 18, 10, 10]);
  });

  it("over the border are resized from where their handle shows", () => {
    const mask = box(30, 50, 20, 20);
    expect(handlePoint(mask, [1, 1], picture)).toEqual([40, 60]);
    expect(sides(resized(mask, [1, 1], [-4, -3], false, picture))).toEqual([30, 50, 6, 7]);
  });

  it("of a brush are resized with what they cover", () => {
    const runs: Run[] = [
      [4, 4, 6],
      [5, 8, 10],
    ];
    const mask: MaskState = { shape: "brush", ...bounds(runs), runs };
    expect(resized(mask, [1, 1], [2, 6], false, picture).runs).toEqual([
      [4, 4, 8],
      [5, 4, 8],
      [6, 12, 16],
      [7, 12, 16],
    ]);
  });

  it("of a brush keep to what is covered, so that none gets lost outside the picture", () => {
    const runs: Run[] = [
      [0, 0, 1],
      [1, 5, 6],
      [20, 30, 31],
    ];
    const mask: MaskState = { shape: "brush", ...bounds(runs), runs };
    for (const by of [-8, -10, -12, -15, -100]) {
      const small = resized(mask, [1, 1], [by, by], false, picture);
      expect(small.runs?.length).toBeGreaterThan(0);
      expect(sides(small)).toEqual(Object.values(bounds(small.runs ?? [])));
      expect(covered([moved(small, 99, 99, picture)], 40, 60)).toContain(1);
    }
  });

  it("show the handles that can be told apart, and one that the border leaves", () => {
    expect(handlesOf(box(5, 5, 30, 30), 10, picture)).toEqual(HANDLES);
    expect(handlesOf(box(5, 5, 15, 15), 10, picture)).toHaveLength(4);
    expect(handlesOf(box(5, 5, 6, 30), 10, picture)).toEqual([[1, 1]]);
    expect(handlesOf(box(36, 56, 30, 30), 10, picture)).toEqual([[-1, -1]]);
    expect(handlesOf(box(-26, 56, 30, 30), 10, picture)).toEqual([[1, -1]]);
  });

  it("are found by a hand: the topmost, or one that it just missed", () => {
    const circle: MaskState = { ...box(10, 10, 20, 20), shape: "circle" };
    const masks = [box(0, 0, 30, 30), circle];
    expect(maskAt(masks, [20, 20], 0)).toBe(1);
    expect(maskAt(masks, [20.5, 10.5], 0)).toBe(1);
    expect(maskAt(masks, [10.5, 10.5], 0)).toBe(0);
    expect(maskAt(masks, [35, 35], 0)).toBe(-1);
    expect(maskAt(masks, [33, 28], 4)).toBe(1);
    expect(maskAt([], [3, 3], 4)).toBe(-1);
  });

  it("stand around the point where they are made", () => {
    for (const shape of ["rectangle", "circle", "brush"] as const) {
      const mask = maskOf(shape, [20, 30], 8, picture);
      expect([mask.shape, ...sides(mask)]).toEqual([shape, 16, 26, 8, 8]);
    }
    expect(sides(maskOf("rectangle", [0, 0], 5, picture))).toEqual([-2, -2, 5, 5]);
  });
});

describe("the brush", () => {
  const far = (row: number, column: number, [y, x, toY, toX]: number[]) => {
    let least = Infinity;
    for (let t = 0; t <= 1; t += 1 / 512) {
      const [atY, atX] = [y as number, x as number];
      const down = atY + t * ((toY as number) - atY) - row - 0.5;
      const across = atX + t * ((toX as number) - atX) - column - 0.5;
      least = Math.min(least, Math.hypot(down, across));
    }
    return least;
  };

  it.each([
    [[10, 10, 10, 10], 4],
    [[3, 5, 30, 41], 3.5],
    [[35, 50, 35, 12.3], 2],
    [[-3, 58, 20, 70], 6],
  ] as const)("covers what is near its way %o, radius %d", (way, radius) => {
    const runs = stroke([way[0], way[1]], [way[2], way[3]], radius, picture);
    const plane = covered([{ shape: "brush", ...bounds(runs), runs }], 40, 60);
    for (let row = 0; row < 40; row++) {
      for (let column = 0; column < 60; column++) {
        const off = far(row, column, [...way]) - radius;
        if (Math.abs(off) < 0.01) continue;
        expect([row, column, plane[row * 60 + column]]).toEqual([row, column, off < 0 ? 1 : 0]);
      }
    }
  });

  it("covers the pixel that it is on, however thin it is", () => {
    expect(stroke([3.9, 4.1], [3.9, 4.1], 0.5, picture)).toContainEqual([3, 4, 5]);
    expect(stroke([-9, 4], [-9, 4], 2, picture)).toEqual([]);
  });

  it("makes runs one that touch or overlap", () => {
    const one: Run[] = [
      [5, 0, 3],
      [2, 4, 6],
      [2, 8, 9],
    ];
    const other: Run[] = [
      [2, 6, 8],
      [5, 2, 7],
      [5, 9, 10],
      [5, 1, 2],
    ];
    expect(union(one, other)).toEqual([
      [2, 4, 9],
      [5, 0, 7],
      [5, 9, 10],
    ]);
    // What was there is not changed: masks of before are kept to go back to.
    expect(one[0]).toEqual([5, 0, 3]);
  });

  it("has an outline around what it covers and around holes", () => {
    const runs: Run[] = [
      [1, 1, 4],
      [2, 1, 2],
      [2, 3, 4],
      [3, 1, 4],
    ];
    const path = outlineOf({ shape: "brush", ...bounds(runs), runs });
    const lengths = [...path.matchAll(/M(\d+) \d+H(\d+)/g)].map(
      ([, a, b]) => Number(b) - Number(a),
    );
    expect(lengths.reduce((sum, length) => sum + length, 0)).toBe(3 + 1 + 1 + 3);
    expect(path.match(/v1/g)).toHaveLength(2 + 4 + 2);
    expect(path).toContain("M2 2H3");
  });
});

describe("keys", () => {
  const press = (key: string, held = {}) =>
    maskKey({ key, shiftKey: false, ctrlKey: false, metaKey: false, altKey: false, ...held }, 8);

  it("move by a pixel, with Shift by a stride", () => {
    expect(press("ArrowLeft")).toEqual({ does: "move", down: 0, across: -1 });
    expect(press("ArrowDown", { shiftKey: true })).toEqual({ does: "move", down: 8, across: 0 });
  });

  it("make larger and smaller, both ways or one", () => {
    expect(press("+")).toEqual({ does: "grow", rows: 1, columns: 1 });
    expect(press("-")).toEqual({ does: "grow", rows: -1, columns: -1 });
    expect(press("W", { shiftKey: true })).toEqual({ does: "grow", rows: 0, columns: 1 });
  });

  it("of the browser and the page stay theirs", () => {
    expect(press("ArrowLeft", { altKey: true })).toBeNull();
    expect(press("-", { ctrlKey: true })).toBeNull();
    expect(press("Tab")).toBeNull();
    expect(press("x")).toBeNull();
  });

  it("add, take away and let go", () => {
    const does = ["Enter", "Delete", "Backspace", "Escape"].map((key) => press(key)?.does);
    expect(does).toEqual(["add", "remove", "remove", "deselect"]);
  });
});
