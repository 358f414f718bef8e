import { describe, expect, it } from "vitest";
import { linksOn, ranksOnMap, saidFromState, tornOf } from "../image-map/about.ts";
import { className, type Facts, NONE } from "../image-map/facts.ts";
import { trustFigures } from "../image-map/header.ts";
import { cardPlace, fate } from "../image-map/image-cards.ts";
import { binned, figure, listed } from "../image-map/legend.ts";
import { MapData, packRows } from "../image-map/map-data.ts";
import { linksShown, namesShown } from "../image-map/scene-maker.ts";
import { classesFound, foundByClass, foundWords, rowsOf } from "../image-map/search.ts";
import { makeup, toggled, union } from "../image-map/selection.ts";
import type { NamedState, State, TrustState } from "../image-map/state.ts";
import { classesThere, entriesOf } from "../map-questions/questions.ts";
import { pack, type TypedArray, unpack } from "../shared/wire.ts";

/** Numbers below `most`, always the same. */
function random(count: number, most: number, seed = 1): number[] {
  let state = seed;
  return Array.from({ length: count }, () => {
    state = (state * 48271) % 2147483647;
    return state % most;
  });
}

function packed(arrays: Record<string, [TypedArray, number[]]>, fields: object = {}) {
  const { entries, buffers } = pack(
    Object.entries(arrays).map(([name, [data, shape]]) => ({ name, data, shape })),
  );
  return { ...fields, arrays: entries, buffers: buffers.map((b) => new DataView(b.buffer)) };
}

function dataOf(traits: Partial<Record<keyof State, unknown>>): MapData {
  const empty = { points: {}, facts: {}, _selected: {}, found: {}, colour_layer: {} };
  const more = { border_layer: {}, seam_lines: {}, layers: [], colour: "", border: "" };
  const all = { ...empty, ...more, ...traits };
  const data = new MapData(((name: keyof State) => all[name as "points"]) as never);
  data.refresh();
  return data;
}

const FACTS: Facts = {
  label: Uint16Array.of(1, 0, NONE, 1, 2),
  predicted: Uint16Array.of(1, 1, NONE, NONE, 0),
  confidence: Uint8Array.of(254, 127, 255, 255, 255),
  neighbours: null,
  near: 0,
  classes: ["cat 10", "cat 9"],
  outputs: ["tom", "kitten"],
};

describe("neighbours on the map", () => {
  it("ranks count images that lie nearer, as plain loops count them, ties and all", () => {
    for (const [count, most] of [
      [400, 65536],
      [300, 12],
      [3, 5],
    ] as const) {
      const places = Uint16Array.from(random(2 * count, most));
      for (const row of [0, count - 1]) {
        const neighbours = Int32Array.from(
          new Set(random(15, count, 7).filter((other) => other !== row)),
        );
        const away = (other: number) =>
          ((places[2 * other] as number) - (places[2 * row] as number)) ** 2 +
          ((places[2 * other + 1] as number) - (places[2 * row + 1] as number)) ** 2;
        const expected = [...neighbours].map((one) => {
          let nearer = 0;
          for (let other = 0; other < count; other++) {
            if (other !== row && away(other) < away(one)) nearer += 1;
          }
          return nearer;
        });
        const at = { x: places[2 * row] as number, y: places[2 * row + 1] as number };
        expect([...ranksOnMap(places, at, neighbours, row)]).toEqual(expected);
      }
    }
  });

  it("torn is nothing among the nearest, all beyond a quarter, and grows between", () => {
    expect(tornOf(14, 15, 1000)).toBe(0);
    expect(tornOf(15, 15, 1000)).toBe(0);
    expect(tornOf(250, 15, 1000)).toBeCloseTo(1, 6);
    expect(tornOf(999, 15, 1000)).toBe(1);
    const rising = [20, 40, 80, 160].map((rank) => tornOf(rank, 15, 1000));
    expect(rising).toEqual([...rising].sort((a, b) => a - b));
    expect(new Set(rising).size).toBe(4);
    // Of few images none is far.
    expect(tornOf(8, 9, 10)).toBe(0);
  });

  it("of a picture of one's own count from its place, and every image", () => {
    const places = Uint16Array.of(0, 0, 10, 0, 20, 0, 30, 0);
    const from = { x: 12, y: 0 };
    const links = linksOn(places, Int32Array.of(3, 1), -1, from);
    expect([links.row, links.from, [...links.ranks]]).toEqual([-1, from, [3, 0]]);
    expect([...linksOn(places, Int32Array.of(3, 0), 1).ranks]).toEqual([2, 0]);
  });

  it("lead to nothing that is filtered away", () => {
    const inks = new Uint8Array(16).fill(255);
    inks[4 * 2 + 3] = 0;
    const links = {
      row: 0,
      neighbours: Int32Array.of(1, 2, 3),
      ranks: new Int32Array(3),
      torn: Float32Array.of(0.25, 0.5, 1),
    };
    const shown = linksShown(links, inks);
    expect([[...(shown?.neighbours ?? [])], [...(shown?.torn ?? [])]]).toEqual([
      [1, 3],
      [0.25, 1],
    ]);
    expect(linksShown({ ...links, row: 2 }, inks)).toBeNull();
    expect(linksShown({ ...links, row: -1, from: { x: 1, y: 1 } }, inks)?.from).toBeDefined();
  });

  it("are told in a sentence", () => {
    const links = {
      row: 0,
      neighbours: Int32Array.of(1, 2, 3),
      ranks: new Int32Array(3),
      torn: Float32Array.of(0.2, 0.5, 1),
    };
    expect(fate(links)).toMatch(/^Of its 3 nearest in feature space 2 lie/);
    expect(fate({ ...links, torn: new Float32Array(3) })).toMatch(/^Its 3 nearest/);
    expect(fate({ ...links, neighbours: new Int32Array(), torn: new Float32Array() })).toBe("");
  });
});

describe("sets of rows", () => {
  it("union is ascending, each once", () => {
    for (const seed of [3, 5, 8]) {
      const [a, b] = [random(40, 60, seed), random(30, 60, seed + 1)].map((rows) =>
        Int32Array.from(new Set(rows)).sort(),
      ) as [Int32Array, Int32Array];
      expect([...union(a, b)]).toEqual([...new Set([...a, ...b])].sort((x, y) => x - y));
    }
    expect([...union(new Int32Array(), Int32Array.of(4))]).toEqual([4]);
  });

  it("a row goes in where it belongs, and out again", () => {
    const rows = Int32Array.of(2, 9);
    expect([...toggled(rows, 5)]).toEqual([2, 5, 9]);
    expect([...toggled(Int32Array.of(2, 5, 9), 5)]).toEqual([2, 9]);
  });

  it("go to Python as a whole buffer", () => {
    const part = Int32Array.of(0, 7, 8, 9).subarray(1, 3);
    const { arrays, buffers } = packRows(part);
    expect((buffers[0] as DataView).buffer.byteLength).toBe(8);
    expect([...(unpack(arrays, buffers).get("rows")?.data ?? [])]).toEqual([7, 8]);
  });

  it("are told by class, the most frequent first", () => {
    expect(makeup(Int32Array.of(0, 1, 2, 3, 4), FACTS)).toEqual([
      ["cat 9", 2],
      ["cat 10", 1],
      ["class 2", 1],
      ["class not known", 1],
    ]);
    expect(makeup(Int32Array.of(0), { ...FACTS, label: null })).toEqual([]);
  });
});

describe("search", () => {
  it("finds classes by every word that was typed", () => {
    const names = ["tabby cat", "Tiger Cat", "catamaran", "dog"];
    expect(classesFound(names, "CAT")).toEqual([0, 1, 2]);
    expect(classesFound(names, " cat  t")).toEqual([0, 1, 2]);
    expect(classesFound(names, "tig cat")).toEqual([1]);
    expect(classesFound(names, "  ")).toEqual([]);
  });

  it("finds the rows of classes", () => {
    expect([...rowsOf(FACTS.label, [1, 2])]).toEqual([0, 3, 4]);
    expect([...rowsOf(null, [1])]).toEqual([]);
  });
});

describe("a search", () => {
  it("finds by class, or by what images are taken for; only what was found is named", () => {
    const facts = { ...FACTS, classes: ["cat 10", "cat 9", "dog", "cat of none"] };
    const found = foundByClass(facts, "cat");
    expect([[...found.rows], found.names]).toEqual([
      [0, 1, 3],
      ["cat 10", "cat 9"],
    ]);
    const guessed = foundByClass({ ...facts, label: null }, "kit");
    expect([[...guessed.rows], guessed.names]).toEqual([[0, 1], ["kitten"]]);
    expect(foundByClass({ ...facts, label: null, predicted: null }, "kit").rows).toHaveLength(0);
  });

  it("is told in few words", () => {
    expect(foundWords(1790, ["7"], false, "3 files found.")).toBe("1,790 images found (class 7)");
    const many = foundWords(9, ["a", "b", "c", "d", "e"], true, "");
    expect(many).toBe("9 images found (taken for a, b, c and 2 more)");
    expect(foundWords(1, [], false, "1 file found.")).toBe("1 image found");
    expect(foundWords(0, [], false, "No file either.")).toBe("0 images found. No file either.");
  });
});

describe("names", () => {
  it("stand at categories of three images or more, thirty at most, the largest first", () => {
    const named = (counts: number[]) =>
      ({
        places: counts.map((count, i) => [i + 5, i, 2 * i, count]),
        texts: counts.map((_, i) => (i === 0 ? "a name with many more letters" : `n${i}`)),
      }) as unknown as NamedState;
    expect(namesShown(named([3, 2, 9, 4]), [8])).toEqual([
      { number: 7, x: 2, y: 4, text: "n2" },
      { number: 5, x: 0, y: 0, text: "a name with many more…" },
    ]);
    expect(namesShown(named(new Array(50).fill(7)), [])).toHaveLength(30);
  });

  it("in a legend keep their order, but of many the largest come first, and can be sought", () => {
    const categories = (count: number) =>
      Array.from({ length: count }, (_, i) => ({ number: i, name: `kind ${i}`, count: i % 7 }));
    const numbers = (count: number, sought = "") =>
      listed(categories(count), sought).map(({ number }) => number);
    expect(numbers(4)).toEqual([0, 1, 2, 3]);
    expect(numbers(30).slice(0, 5)).toEqual([6, 13, 20, 27, 5]);
    expect(numbers(30, "kind 27")).toEqual([27]);
  });

  it("stand in for a picture that does not come", () => {
    expect([0, 2, 4].map((row) => className(FACTS, row))).toEqual(["cat 9", "", "class 2"]);
    expect(className({ ...FACTS, label: null }, 4)).toBe("tom");
  });
});

describe("questions", () => {
  it("lists what came, with partners where there are some", () => {
    const { arrays, buffers } = packed({
      rows: [Int32Array.of(3, 8), [2]],
      partners: [Int32Array.of(-1, 9), [2]],
    });
    expect(entriesOf(["a"], unpack(arrays, buffers))).toEqual([
      { row: 3, partner: -1, said: "a" },
      { row: 8, partner: 9, said: "" },
    ]);
  });

  it("offers the classes that have images, by name, numbers as numbers", () => {
    expect(classesThere(FACTS)).toEqual([1, 0, 2]);
    expect(classesThere({ ...FACTS, label: null })).toEqual([]);
  });
});

describe("figures", () => {
  it("have as many digits as their range needs", () => {
    expect(figure(0.123456, 0, 1)).toBe("0.12");
    expect(figure(1, 0, 1)).toBe("1");
    expect(figure(-1234.5, -5000, 5000)).toBe("−1235");
    expect(figure(100, 0, 200)).toBe("100");
    expect(figure(0.000123, 0, 0.001)).toBe("0.00012");
    expect(figure(2.71428, 3, 3)).toBe("2.71");
  });

  it("bins cover every value, none is left out", () => {
    expect(binned(Uint16Array.of(0, 1, 65534, NONE, 32767), 2)).toEqual([3, 1]);
  });

  it("of trust: what could not be measured is not told", () => {
    const trust = { trustworthiness: 0.9712, continuity: null, preserved: 0.584, neighbours: 10 };
    const figures = trustFigures({ ...trust, sentence: "" } as TrustState);
    expect(figures).toBe("Trustworthiness 0.97 · 58 % of 10 neighbours kept");
    // What is not perfect is not called so.
    const high = { ...trust, trustworthiness: 0.9972, continuity: 1, preserved: 0.999 };
    expect(trustFigures({ ...high, sentence: "" } as TrustState)).toBe(
      "Trustworthiness 0.99 · continuity 1.00 · 99 % of 10 neighbours kept",
    );
  });
});

describe("the card at the pointer", () => {
  it("leaves neighbours free where it can", () => {
    const card = { width: 200, height: 150 };
    const room = { width: 1000, height: 800 };
    const below = [
      { x: 600, y: 500 },
      { x: 400, y: 500 },
    ];
    const place = cardPlace({ x: 500, y: 400 }, card, room, [...below, { x: 600, y: 300 }]);
    expect([place.x < 500, place.y < 400]).toEqual([true, true]);
  });

  it("stays on the stage, and off the pointer where there is room", () => {
    const card = { width: 200, height: 150 };
    const room = { width: 600, height: 400 };
    for (const [x, y] of [
      [0, 0],
      [590, 10],
      [300, 395],
      [599, 399],
    ] as [number, number][]) {
      const place = cardPlace({ x, y }, card, room, []);
      expect(place.x).toBeGreaterThanOrEqual(0);
      expect(place.y).toBeGreaterThanOrEqual(0);
      expect(place.x + card.width).toBeLessThanOrEqual(room.width);
      expect(place.y + card.height).toBeLessThanOrEqual(room.height);
      const across = x > place.x && x < place.x + card.width;
      expect(across && y > place.y && y < place.y + card.height).toBe(false);
    }
    // A stage narrower than the card: its left edge shows.
    expect(cardPlace({ x: 50, y: 50 }, card, { width: 150, height: 400 }, []).x).toBe(4);
  });
});

describe("what the traits hold", () => {
  const points = (more: Record<string, [TypedArray, number[]]> = {}) =>
    packed(
      { map: [Uint16Array.of(1, 2, 3, 4, 5, 6), [3, 2]], ...more },
      { count: 3, cell: 0, method: "PCA" },
    );

  it("rows are numbers where no others are given", () => {
    const data = dataOf({ points: points() });
    expect([data.count, data.method, data.rowOf(2), data.rowOf(3)]).toEqual([3, "PCA", 2, -1]);
    expect(data.rowOf(-1)).toBe(-1);
    expect(Object.keys(data.layouts)).toEqual(["map"]);
  });

  it("rows and numbers are told apart where images were left out", () => {
    const data = dataOf({ points: points({ numbers: [Int32Array.of(10, 20, 40), [3]] }) });
    expect([data.numberOf(1), data.rowOf(40), data.rowOf(1)]).toEqual([20, 2, -1]);
    expect(Object.keys(data.layouts)).toEqual(["map"]);
  });

  it("places on the way are taken, the same ones keep their identity", () => {
    const data = dataOf({ points: points() });
    const before = data.layouts.map;
    data.takeLive(Uint16Array.of(1, 2, 3, 4, 5, 6));
    expect(data.layouts.map).toBe(before);
    data.takeLive(Uint16Array.of(1, 2, 3, 4, 5, 7));
    expect(data.layouts.map?.[5]).toBe(7);
  });

  it("an image is told without Python", () => {
    const arrays: Record<string, [TypedArray, number[]]> = {
      label: [FACTS.label as Uint16Array<ArrayBuffer>, [5]],
      predicted: [FACTS.predicted as Uint16Array<ArrayBuffer>, [5]],
      confidence: [FACTS.confidence as Uint8Array<ArrayBuffer>, [5]],
    };
    const { classes, outputs } = FACTS;
    const data = dataOf({ facts: packed(arrays, { classes, outputs }) });
    expect(saidFromState(data, 1)).toEqual(["Class: cat 10", "Taken for: kitten, 50 %"]);
    expect(saidFromState(data, 2)).toEqual([]);
    expect(saidFromState(data, 4)).toEqual(["Class: class 2", "Taken for: tom"]);
  });

  it("what was found for another search counts no more", () => {
    const found = packed({ rows: [Int32Array.of(2), [1]] }, { note: "1 file found.", search: "a" });
    const { note, rows } = dataOf({ found, search: "a" }).found;
    expect([note, [...rows]]).toEqual(["1 file found.", [2]]);
    expect(dataOf({ found, search: "ab" }).found).toEqual({ note: "", rows: new Int32Array() });
  });

  it("colours follow from the facts, until Python sends them", () => {
    const sent = packed({ values: [Uint16Array.of(9, 9), [2]] }, { name: "trust", kind: "value" });
    const facts = packed(
      {
        label: [Uint16Array.of(0, 1, NONE), [3]],
        predicted: [Uint16Array.of(1, 0, 1), [3]],
        confidence: [Uint8Array.of(0, 254, 255), [3]],
      },
      { classes: ["a", "b"], outputs: ["b", "c"] },
    );
    const names = ["class", "prediction", "right", "confidence", "trust", "cluster"];
    const layers = names.map((name) => ({ name, label: `the ${name}`, kind: "category" }));
    const coloured = (colour: string) =>
      dataOf({ facts, layers, colour, colour_layer: sent }).colour;
    const values = (colour: string) => [...(coloured(colour)?.values ?? [])];
    expect(values("class")).toEqual([0, 1, NONE]);
    expect(coloured("class")?.state).toMatchObject({ name: "class", label: "the class" });
    expect(coloured("class")?.state.categories).toEqual([
      { number: 0, name: "a", count: 1 },
      { number: 1, name: "b", count: 1 },
      { number: -1, name: "not known", count: 1 },
    ]);
    expect(coloured("prediction")?.state.categories[1]).toEqual({ number: 1, name: "c", count: 2 });
    // By name: "a" is none of the outputs; "b", which is, was taken for.
    expect(values("right")).toEqual([NONE, 1, NONE]);
    expect(values("confidence")).toEqual([0, NONE - 1, NONE]);
    // Of what only Python can tell the last that it sent stays.
    expect(values("cluster")).toEqual([9, 9]);
    expect(coloured("trust")?.state.name).toBe("trust");
    const own = packed(
      { values: [Uint16Array.of(9, 9), [2]] },
      { name: "class", kind: "category" },
    );
    const python = dataOf({ facts, layers, colour: "class", colour_layer: own }).colour;
    expect([...(python?.values ?? [])]).toEqual([9, 9]);
  });

  it("seams of another layout do not show", () => {
    const seams = packed(
      { pairs: [Int32Array.of(0, 1), [1, 2]], strength: [Uint8Array.of(9), [1]] },
      { layout: "map", meaning: "" },
    );
    const data = dataOf({ seam_lines: seams });
    expect(data.seams("grid")).toBeNull();
    expect([...(data.seams("map")?.pairs ?? [])]).toEqual([0, 1]);
  });
});
