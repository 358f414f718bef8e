import { describe, expect, it } from "vitest";
import { firstLevels, priorityOrder } from "../image-map/detail.ts";
import { MapLayout } from "../image-map/map-layout.ts";
import { freeBox } from "../image-map/names.ts";
import { Pace } from "../image-map/pace.ts";
import {
  boxBetween,
  hit,
  inReadingOrder,
  type Point,
  type Shown,
  towards,
  within,
} from "../image-map/picking.ts";
import { frontMarks } from "../image-map/pictures.ts";
import { PlaceIndex } from "../image-map/place-index.ts";
import type { Scene } from "../image-map/scene.ts";
import {
  bounded,
  eased,
  extentOf,
  flight,
  inView,
  projection,
  showing,
  toPlace,
  toScreen,
  whole,
  zoomedAt,
} from "../image-map/viewpoint.ts";

const EXTENT = { left: 5000, top: 2000, right: 45000, bottom: 62000 };
const ROOM = { width: 900, height: 500 };

describe("viewpoint", () => {
  it("shows all at zoom 1, in the middle", () => {
    const view = projection(whole(EXTENT), EXTENT, ROOM);
    const [start, end] = [toScreen(view, 5000, 2000), toScreen(view, 45000, 62000)];
    expect(start.x).toBeGreaterThan(0);
    expect(start.y).toBeCloseTo(12, 6);
    expect(end.y).toBeCloseTo(488, 6);
    expect(start.x + end.x).toBeCloseTo(900, 6);
    const back = toPlace(view, start.x, start.y);
    expect([back.x, back.y].map(Math.round)).toEqual([5000, 2000]);
  });

  it("zooms at a point: what is there stays there", () => {
    const viewpoint = { x: 20000, y: 30000, zoom: 2 };
    const view = projection(viewpoint, EXTENT, ROOM);
    const place = toPlace(view, 123, 77);
    const nearer = projection(zoomedAt(viewpoint, view, { x: 123, y: 77 }, 9), EXTENT, ROOM);
    const at = toScreen(nearer, place.x, place.y);
    expect([at.x, at.y]).toEqual([expect.closeTo(123, 6), expect.closeTo(77, 6)]);
  });

  it("takes one image and none", () => {
    expect(extentOf(new Uint16Array())).toEqual({ left: 0, top: 0, right: 65535, bottom: 65535 });
    const one = extentOf(Uint16Array.of(7, 9));
    const view = projection(whole(one), one, { width: 0, height: 0 });
    expect(Number.isFinite(view.scale) && view.scale > 0).toBe(true);
    expect(toScreen(projection(whole(one), one, ROOM), 7, 9)).toEqual({ x: 450, y: 250 });
  });

  it("keeps the middle on the map and the zoom within bounds", () => {
    const far = bounded({ x: -9e9, y: 9e9, zoom: 1e9 }, EXTENT, 40);
    expect(far).toEqual({ x: 5000, y: 62000, zoom: 40 });
  });

  it("shows some images with room about them", () => {
    const some = { left: 10000, top: 10000, right: 14000, bottom: 12000 };
    const view = projection(showing(some, EXTENT, ROOM, 50), EXTENT, ROOM);
    const seen = inView(view);
    expect(seen.left).toBeLessThan(some.left);
    expect(seen.right).toBeGreaterThan(some.right);
    expect(seen.right - seen.left).toBeLessThan(12000);
  });

  it.each([
    [{ x: 9000, y: 9000, zoom: 8 }, true],
    [{ x: 20000, y: 30000, zoom: 30 }, false],
    [{ x: 20000, y: 30000, zoom: 2 }, false],
  ])("flies from one place to another, far ones by way of a wider view", (to, wider) => {
    const from = { x: 20000, y: 30000, zoom: 8 };
    const way = flight(from, to, 60000);
    const [start, middle, end] = [way(0), way(0.5), way(1)];
    for (const key of ["x", "y", "zoom"] as const) {
      expect(start[key]).toBeCloseTo(from[key], 6);
      expect(end[key]).toBeCloseTo(to[key], 6);
      expect(way(0.999)[key]).toBeCloseTo(to[key], -2);
    }
    expect(middle.zoom < 0.9 * Math.min(from.zoom, to.zoom)).toBe(wider);
    expect([eased(-1), eased(0), eased(0.5), eased(2)]).toEqual([0, 0, 0.5, 1]);
  });
});

/** A map whose unit of place is a pixel of the screen: five images of given places. */
function five() {
  const places = Uint16Array.of(100, 100, 110, 104, 300, 100, 300, 300, 100, 320);
  const inks = new Uint8Array(20).fill(255);
  const order = priorityOrder(5);
  const ranks = new Uint32Array(5);
  order.forEach((row, rank) => {
    ranks[row] = rank;
  });
  const index = new PlaceIndex(places, firstLevels(places, ranks, inks), order);
  const view = { x: 200, y: 200, scale: 1, width: 400, height: 400 };
  return { index, view };
}

describe("picking", () => {
  const { index, view } = five();
  const shown = (pictures: Record<number, Point>, front: number): Shown => ({
    picture: (row) => pictures[row] ?? null,
    depth: (row) => (row === front ? 0 : 1),
    reach: 60,
  });

  it("hits the picture in front, and no further than its sides", () => {
    const pictures: Record<number, Point> = { 0: [40, 20], 1: [40, 40] };
    expect(hit(index, view, shown(pictures, 0), 105, 102)).toBe(0);
    expect(hit(index, view, shown(pictures, 1), 105, 102)).toBe(1);
    // Below the flat picture, within the square one.
    expect(hit(index, view, shown(pictures, 0), 105, 115)).toBe(1);
    expect(hit(index, view, shown({ 0: [40, 20] }, 0), 81, 100)).toBe(0);
    expect(hit(index, view, shown({ 0: [40, 20] }, 0), 79, 100)).toBe(-1);
  });

  it("hits the nearest dot within a hand's breadth, else nothing", () => {
    expect(hit(index, view, shown({}, 0), 106, 103)).toBe(1);
    expect(hit(index, view, shown({}, 0), 103, 101)).toBe(0);
    expect(hit(index, view, shown({}, 0), 300, 108)).toBe(2);
    expect(hit(index, view, shown({}, 0), 300, 112)).toBe(-1);
    expect(index.nearest(290, 100, 50)).toBe(2);
    expect(index.nearest(290, 100, 5)).toBe(-1);
  });

  it("walks to the next image in a direction, or as one reads", () => {
    const all = () => true;
    const step = (x: number, y: number, way: Point, takes = all as (row: number) => boolean) =>
      towards(index, view, { x, y }, way, takes);
    expect(step(100, 100, [1, 0])).toBe(1);
    expect(step(100, 100, [1, 0], (row) => row !== 1)).toBe(2);
    expect(step(300, 100, [0, 1])).toBe(3);
    expect(step(300, 300, [-1, 0])).toBe(4);
    expect(step(100, 100, [-1, 0])).toBe(-1);
    expect(inReadingOrder(index, view, 50, all)).toEqual([0, 1, 2, 4, 3]);
  });

  it("selects what is within a box or lasso, ascending", () => {
    expect(Array.from(within(index, view, boxBetween([310, 90], [95, 110])))).toEqual([0, 1, 2]);
    // A lasso like the letter L leaves out the corner that it goes round.
    const lasso: Point[] = [
      [90, 90],
      [120, 90],
      [120, 290],
      [310, 290],
      [310, 330],
      [90, 330],
    ];
    expect(Array.from(within(index, view, lasso))).toEqual([0, 1, 3, 4]);
    expect(within(index, view, [[1, 1]])).toHaveLength(0);
  });
});

describe("the pace", () => {
  it("leaves out dots where frames are slow, and brings them back where they are quick", () => {
    const pace = new Pace();
    pace.begin(100_000);
    let now = 0;
    const beat = (step: number, times: number) => {
      for (let i = 0; i < times; i++) {
        now += step;
        pace.beat(now, 100_000);
      }
    };
    beat(16, 50);
    expect(pace.stride).toBe(1);
    beat(90, 3);
    expect(pace.stride).toBe(2);
    beat(400, 3);
    expect(pace.stride).toBe(32);
    beat(16, 200);
    expect(pace.stride).toBe(1);
    beat(900, 1);
    pace.begin(1_000_000);
    expect(pace.stride).toBe(32);
  });

  it("draws few dots in full, however slow", () => {
    const pace = new Pace();
    for (let i = 0; i < 20; i++) pace.beat(500 * i, 1000);
    expect(pace.stride).toBe(1);
  });
});

describe("a scene", () => {
  const scene = {
    count: 12,
    places: Uint16Array.from({ length: 24 }, (_, i) => 1000 * (i + 1)),
    inks: new Uint8Array(48).fill(255),
    live: false,
    cell: 400,
    chosen: 4,
    links: { row: 4, neighbours: Int32Array.of(7, 1, 9, 3, 2), torn: new Float32Array(5) },
  } as unknown as Scene;

  it("of cells reaches to the edges of the outermost", () => {
    const layout = new MapLayout();
    layout.take(scene, 0, 0);
    expect(layout.extent).toEqual({ left: 800, top: 1800, right: 23200, bottom: 24200 });
  });

  it("has what is pointed at above its nearest neighbours, and the others where they are", () => {
    expect([...frontMarks(scene).keys()]).toEqual([7, 1, 9, 4]);
    expect([...frontMarks({ ...scene, links: null }).keys()]).toEqual([4]);
  });
});

describe("names", () => {
  it("stand round their places, aside where one is taken, and nowhere where there is no room", () => {
    const place = (x: number, y: number, taken: [number, number, number, number][]) =>
      freeBox({ x, y }, [60, 18], { width: 400, height: 300 }, taken);
    const first = place(100, 100, []);
    expect(first).toEqual([70, 91, 130, 109]);
    const taken = [first as [number, number, number, number]];
    // Two pixels lie between two names.
    expect(place(161, 100, taken)).toEqual([131, 71, 191, 89]);
    expect(place(162, 100, taken)).toEqual([132, 91, 192, 109]);
    expect(place(100, 99, taken)).toEqual([70, 70, 130, 88]);
    expect(place(100, 101, taken)).toEqual([70, 112, 130, 130]);
    const more: typeof taken = [...taken, [60, 60, 100, 75], [60, 125, 100, 140]];
    expect(place(100, 100, more)).toBeNull();
    expect(place(5, 50, [])?.[0]).toBe(0);
    expect(place(399, 50, [])?.[2]).toBe(400);
  });
});
