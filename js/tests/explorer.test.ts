import { describe, expect, it } from "vitest";
import { chosenOf, columnsFor, GAP, moved, placesOf, ROW, toggled } from "../explorer/layout.ts";

describe("columns of the explorer", () => {
  it("are as many as fit well, at most three and at most one a pane", () => {
    expect([360, 800, 1040, 1100, 1500, 1700, 3000].map((w) => columnsFor(w, 0, 5))).toEqual([
      1, 1, 1, 2, 2, 3, 3,
    ]);
    expect([1, 2, 5].map((panes) => columnsFor(1900, 0, panes))).toEqual([1, 2, 3]);
  });

  it("are as asked for where there is room at all", () => {
    expect([1, 2, 3].map((asked) => columnsFor(1000, asked, 5))).toEqual([1, 2, 3]);
    expect([1, 2, 3].map((asked) => columnsFor(620, asked, 5))).toEqual([1, 2, 2]);
    expect([1, 2, 3].map((asked) => columnsFor(360, asked, 5))).toEqual([1, 1, 1]);
  });

  it("is one where nothing is open, or the page has no width yet", () => {
    expect(columnsFor(1900, 3, 0)).toBe(1);
    expect(columnsFor(0, 2, 4)).toBe(1);
  });
});

describe("places of panes", () => {
  const heights = [300, 517, 90, 700, 41];

  it("go through the columns in order, and no two of a column overlap", () => {
    for (const columns of [1, 2, 3]) {
      const places = placesOf(heights, columns);
      expect(places.map(({ column }) => column)).toEqual(heights.map((_, i) => (i % columns) + 1));
      for (let column = 1; column <= columns; column++) {
        let end = 1;
        places.forEach((place, i) => {
          if (place.column !== column) return;
          expect(place.row).toBe(end);
          end = place.row + place.span;
          // room for the pane and a gap below, and less than a row more
          const spare = place.span * ROW - ((heights[i] as number) + GAP);
          expect(spare).toBeGreaterThanOrEqual(0);
          expect(spare).toBeLessThan(ROW);
        });
      }
    }
  });

  it("change in one column only when one pane grows", () => {
    const before = placesOf(heights, 2);
    const after = placesOf([900, ...heights.slice(1)], 2);
    expect(after[1]).toEqual(before[1]);
    expect(after[3]).toEqual(before[3]);
    expect(after[2]?.row).toBeGreaterThan(before[2]?.row as number);
  });
});

describe("the order of panes", () => {
  const panes = ["filters", "activations", "map"];

  it("changes by a place, and stays at the ends", () => {
    expect(moved(panes, "activations", 1)).toEqual(["filters", "map", "activations"]);
    expect(moved(panes, "map", -1)).toEqual(["filters", "map", "activations"]);
    expect(moved(panes, "filters", -1)).toBe(panes);
    expect(moved(panes, "map", 1)).toBe(panes);
    expect(moved(panes, "patches", 1)).toBe(panes);
    expect(panes).toEqual(["filters", "activations", "map"]);
  });

  it("loses what is closed, and gets what is opened at its end", () => {
    expect(toggled(panes, "activations")).toEqual(["filters", "map"]);
    expect(toggled(toggled(panes, "filters"), "filters")).toEqual([
      "activations",
      "map",
      "filters",
    ]);
  });
});

it("what is chosen is told by its numbers where Python tells nothing", () => {
  expect(chosenOf({ layer: "conv1", channel: -1, unit: [], image: -1 })).toEqual([
    ["Layer", "conv1"],
    ["Channel", "none"],
  ]);
  expect(chosenOf({ layer: "a", channel: 3, unit: [1, 2], image: 0 }).slice(1)).toEqual([
    ["Channel", "3"],
    ["Unit", "1, 2"],
    ["Image", "0"],
  ]);
});
