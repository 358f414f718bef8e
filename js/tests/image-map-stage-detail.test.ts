import { describe, expect, it } from "vitest";
import vectors from "../../tests/fixtures/priority.json";
import { Cover } from "../image-map/cover.ts";
import {
  FINEST,
  firstLevels,
  grown,
  HIDDEN,
  levelAt,
  priority,
  priorityOrder,
  STACKED,
  sideAt,
  spacedLevels,
  zoomForSide,
} from "../image-map/detail.ts";
import { CHOSEN, LINKED, SELECTED } from "../image-map/painter.ts";
import {
  frontList,
  frontMarks,
  pictureList,
  selectedMarks,
  uncovered,
} from "../image-map/pictures.ts";
import { PlaceIndex } from "../image-map/place-index.ts";
import type { Scene } from "../image-map/scene.ts";
import { TileSlots } from "../image-map/tile-slots.ts";

const COUNT = 700;
const ALL = { left: 0, top: 0, right: 65535, bottom: 65535 };

/** Numbers below `most`, always the same. */
function random(count: number, most: number, seed = 1): number[] {
  let state = seed;
  return Array.from({ length: count }, () => {
    state = (state * 48271) % 2147483647;
    return state % most;
  });
}

/** A map with a dense part, two images at the same place, and two that are hidden. */
function sample() {
  const places = Uint16Array.from(random(2 * COUNT, 65536));
  for (let row = 0; row < 200; row++) {
    places[2 * row] = 30000 + (places[2 * row] as number) / 100;
    places[2 * row + 1] = 9000 + (places[2 * row + 1] as number) / 100;
  }
  places.copyWithin(2 * 300, 2 * 301, 2 * 302);
  const inks = new Uint8Array(4 * COUNT).fill(255);
  inks[4 * 17 + 3] = 0;
  inks[4 * 600 + 3] = 0;
  const order = priorityOrder(COUNT);
  const ranks = new Uint32Array(COUNT);
  order.forEach((row, rank) => {
    ranks[row] = rank;
  });
  const first = firstLevels(places, ranks, inks);
  return { places, inks, order, ranks, first, index: new PlaceIndex(places, first, order) };
}

/** The rows that show at a level, by plain loops: of each cell the one of the highest priority. */
function showing(places: Uint16Array, inks: Uint8Array, level: number): Set<number> {
  const best = new Map<string, number>();
  for (let row = 0; row < places.length / 2; row++) {
    if (inks[4 * row + 3] === 0) continue;
    const side = 2 ** (FINEST - level);
    const x = Math.floor((places[2 * row] as number) / side);
    const y = Math.floor((places[2 * row + 1] as number) / side);
    const there = best.get(`${x} ${y}`);
    if (there === undefined || priority(row) < priority(there)) best.set(`${x} ${y}`, row);
  }
  return new Set(best.values());
}

describe("priority", () => {
  it("is the same as in Python", () => {
    expect(vectors.rows.map(priority)).toEqual(vectors.hashes);
  });

  it("orders all rows, each once", () => {
    const order = Array.from(priorityOrder(5000));
    expect([...order].sort((a, b) => a - b)).toEqual(Array.from({ length: 5000 }, (_, i) => i));
    expect(order).toEqual([...order].sort((a, b) => priority(a) - priority(b)));
    expect(priorityOrder(0)).toHaveLength(0);
  });
});

describe("levels of detail", () => {
  const { places, inks, order, ranks, first } = sample();

  it.each([0, 1, 3, 6, 9, 16])("shows at level %i the first of each cell", (level) => {
    const shown = new Set(Array.from(order).filter((row) => (first[row] as number) <= level));
    expect(shown).toEqual(showing(places, inks, level));
  });

  it("stacks what lies at the same place and leaves out what is hidden", () => {
    const behind = priority(300) > priority(301) ? 300 : 301;
    expect(first[behind]).toBe(STACKED);
    expect([first[17], first[600]]).toEqual([HIDDEN, HIDDEN]);
    expect(first.filter((level) => level === 0)).toHaveLength(1);
  });

  it("takes one image, none, and all at one place", () => {
    const one = new Uint8Array(4).fill(255);
    expect(Array.from(firstLevels(new Uint16Array(2), new Uint32Array(1), one))).toEqual([0]);
    expect(firstLevels(new Uint16Array(), new Uint32Array(), one)).toHaveLength(0);
    const same = firstLevels(new Uint16Array(8).fill(5), ranks.slice(0, 4), inks);
    expect(Array.from(same).sort((a, b) => a - b)).toEqual([0, STACKED, STACKED, STACKED]);
  });

  it("keeps pictures clear of each other, and shows all that are", () => {
    const { places, first, order } = sample();
    const levels = spacedLevels(places, first, order);
    const near = (a: number, b: number, least: number) =>
      [0, 1].every((i) => Math.abs((places[2 * a + i] ?? 0) - (places[2 * b + i] ?? 0)) < least);
    for (let level = 0; level <= 18; level++) {
      // Nine tenths of a cell.
      const least = 0.9 * 2 ** (16 - level / 2);
      const upTo = Math.ceil(level / 2) + 1;
      const may = Array.from(order).filter((row) => (first[row] as number) <= upTo);
      const shown = may.filter((row) => (levels[row] as number) <= level);
      for (const row of may) {
        const close = shown.filter((other) => other !== row && near(row, other, least));
        expect(close.length > 0).toBe((levels[row] as number) > level);
      }
    }
    first.forEach((level, row) => {
      if (level > 10) expect(levels[row]).toBe(level === HIDDEN ? HIDDEN : 2 * level);
    });
  });

  it("lets pictures grow once they have room, and levels go on beyond that", () => {
    const crowd = { count: 10_000, size: 32, spacing: 4 };
    expect([sideAt(crowd, 1), sideAt(crowd, 8)]).toEqual([32, 32]);
    expect(sideAt(crowd, zoomForSide(crowd, 200))).toBeCloseTo(200, 6);
    let before = 0;
    for (let zoom = 1; zoom < 500; zoom *= 1.3) {
      const level = levelAt(0.01 * zoom, sideAt(crowd, zoom));
      expect(level).toBeGreaterThan(before);
      before = level;
    }
    expect([grown(5, 4), grown(5, 5), grown(0, 0)]).toEqual([0, 1, 1]);
  });
});

describe("the index", () => {
  const { places, first, order, index, inks } = sample();
  const inside = (row: number, box: typeof ALL) => {
    const [x, y] = [places[2 * row] as number, places[2 * row + 1] as number];
    return x >= box.left && x <= box.right && y >= box.top && y <= box.bottom;
  };
  const drawn = Array.from(order).filter((row) => first[row] !== HIDDEN);

  it.each([
    ALL,
    { left: 29000, top: 8000, right: 31000, bottom: 9800 },
    { left: -500, top: 60000, right: 700, bottom: 99999 },
  ])("finds what lies in a box, up to a level", (box) => {
    for (const level of [0, 4, 8, HIDDEN]) {
      const found: number[] = [];
      index.each(box, level, (row) => {
        found.push(row);
      });
      const wanted = drawn.filter((row) => inside(row, box) && (first[row] as number) <= level);
      expect(found.sort((a, b) => a - b)).toEqual(wanted.sort((a, b) => a - b));
    }
    const runs = new Set(index.runs(box).flatMap(([a, b]) => Array.from(index.rows.slice(a, b))));
    expect(drawn.filter((row) => inside(row, box) && !runs.has(row))).toEqual([]);
  });

  it("says up to which level a box has no more than so many", () => {
    for (const most of [0, 1, 10, 200, 5000]) {
      const level = index.levelFor(ALL, most);
      const upTo = (k: number) => drawn.filter((row) => (first[row] as number) <= k).length;
      expect(upTo(level)).toBeLessThanOrEqual(most);
      if (level < HIDDEN) expect(upTo(level + 1)).toBeGreaterThan(most);
    }
  });

  it("lists pictures by priority, with what is selected in any case", () => {
    const { ranks } = sample();
    const rare = drawn.find((row) => (first[row] as number) > 9) as number;
    const marks = selectedMarks({ selected: Int32Array.of(rare) } as Scene);
    const wanted = { index, box: ALL, marks, also: new Uint32Array() };
    const list = pictureList({ ...wanted, level: 3, most: 500, ranks, order });
    const rows = Array.from(list.rows);
    expect(rows).toEqual([...rows].sort((a, b) => priority(a) - priority(b)));
    expect(new Set(rows)).toEqual(new Set([...showing(places, inks, 3), rare]));
    expect(list.marks[rows.indexOf(rare)]).toBe(SELECTED);
    expect(list.levels[rows.indexOf(rare)]).toBe(0);
    const few = pictureList({ ...wanted, level: Infinity, most: 40, ranks, order });
    expect(few.rows.length).toBeLessThanOrEqual(41);
  });

  it("puts in front what is chosen and what is joined by lines, but nothing hidden", () => {
    const hidden = first.indexOf(HIDDEN);
    const neighbours = Int32Array.of(8, hidden, 9);
    const links = { row: 7, neighbours, torn: new Float32Array(3) };
    const front = frontMarks({ chosen: 8, links } as Scene);
    const list = frontList(front, new Map([[9, SELECTED]]), first);
    const marks = Array.from(list.rows, (row, i) => [row, list.marks[i]]);
    expect(hidden).toBeGreaterThan(9);
    expect(new Map(marks as [number, number][])).toEqual(
      new Map([
        [7, LINKED],
        [8, CHOSEN | LINKED],
        [9, SELECTED | LINKED],
      ]),
    );
    expect(Array.from(list.levels)).toEqual([0, 0, 0]);
  });
});

describe("what is covered", () => {
  it("leaves out nothing of which a pixel shows", () => {
    const { places, ranks, order, index } = sample();
    const marks = new Map<number, number>();
    const box = { left: 29000, top: 8000, right: 31500, bottom: 10500 };
    const wanted = { index, box, marks, also: new Uint32Array(), most: 999, ranks, order };
    const list = pictureList({ ...wanted, level: Infinity });
    const side = 170;
    const aspectOf = (row: number) => [1, 2, 0.6][row % 3] as number;
    const kept = new Set(uncovered(list, places, box, side, 1, aspectOf).rows);
    // By plain painting, front first, a unit of place a pixel.
    const painted = new Uint8Array(2500 * 2500);
    const seen = new Set<number>();
    for (const row of list.rows) {
      const aspect = aspectOf(row);
      const [w, h] = [side * Math.min(1, aspect), side * Math.min(1, 1 / aspect)];
      const left = Math.round((places[2 * row] as number) - w / 2 - box.left);
      const top = Math.round((places[2 * row + 1] as number) - h / 2 - box.top);
      for (let y = Math.max(0, top); y < Math.min(2500, top + h - 1); y++) {
        for (let x = Math.max(0, left); x < Math.min(2500, left + w - 1); x++) {
          if (painted[2500 * y + x] === 0) seen.add(row);
          painted[2500 * y + x] = 1;
        }
      }
    }
    expect([...seen].filter((row) => !kept.has(row))).toEqual([]);
    expect(kept.size).toBeLessThan(list.rows.length);
  });

  it("wants more than a sliver to show where that is asked for", () => {
    const cover = new Cover(0, 0, 60, 60, 12, 12);
    expect(cover.put(24, 24, 12, 12)).toBe(true);
    expect(cover.put(25, 24, 12, 12)).toBe(false);
    expect(cover.put(29, 24, 12, 12)).toBe(true);
  });

  it("covers no cell that is covered in part", () => {
    const cover = new Cover(0, 0, 60, 60, 12);
    expect(cover.put(15, 15, 13, 13)).toBe(true);
    expect(cover.put(15, 15, 10, 10)).toBe(false);
    expect(cover.put(15, 15, 11, 10)).toBe(true);
    expect(cover.put(15, 15, 14, 14)).toBe(true);
    expect(cover.put(-100, 5, 10, 10)).toBe(false);
  });
});

describe("slots of tiles", () => {
  it("lie side by side on pages, the next page after the last of one", () => {
    const slots = new TileSlots(32, 25, 10_000);
    for (let row = 0; row < 4097; row++) slots.take(row, 1);
    expect(slots.corner(slots.slot(0))).toEqual({ page: 0, x: 0, y: 0 });
    expect(slots.corner(slots.slot(64))).toEqual({ page: 0, x: 0, y: 32 });
    expect(slots.corner(slots.slot(4095))).toEqual({ page: 0, x: 2016, y: 2016 });
    expect(slots.corner(slots.slot(4096))).toEqual({ page: 1, x: 0, y: 0 });
    expect(new TileSlots(32, 25, 500_000).capacity).toBe(102_400);
  });

  it("give way in the order of their last use, as a plain list does", () => {
    const slots = new TileSlots(256, 1, 1000);
    const plain: number[] = [];
    let stamp = 0;
    for (const row of random(4000, 200, 5)) {
      stamp += 1;
      slots.take(row, stamp);
      if (plain.includes(row)) plain.splice(plain.indexOf(row), 1);
      else if (plain.length === slots.capacity) plain.shift();
      plain.push(row);
      if (stamp % 500 === 0) {
        const kept = Array.from({ length: 200 }, (_, r) => r).filter((r) => slots.slot(r) >= 0);
        expect(kept).toEqual([...plain].sort((a, b) => a - b));
        expect(new Set(kept.map((r) => slots.slot(r))).size).toBe(kept.length);
      }
    }
  });

  it("never take a slot from what is in use now", () => {
    const slots = new TileSlots(256, 1, 1000);
    for (let row = 0; row < slots.capacity; row++) expect(slots.take(row, 7)).toBe(row);
    expect(slots.take(500, 7)).toBe(-1);
    slots.touch(0, 8);
    expect(slots.take(500, 8)).toBe(1);
    expect([slots.slot(0), slots.slot(1)]).toEqual([0, -1]);
    expect([slots.take(-1, 9), slots.take(1000, 9)]).toEqual([-1, -1]);
  });
});
