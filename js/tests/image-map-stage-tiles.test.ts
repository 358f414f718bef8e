import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import type { Painter } from "../image-map/painter.ts";
import { TileStore } from "../image-map/tile-store.ts";
import type { Answer, Requests, WireArray } from "../shared/wire.ts";

interface Asked {
  fields: { tile: number; rows: number[] };
  settle(answer: Answer): void;
  fail(message: string): void;
}

/** A store whose questions are kept, and a painter that writes down what it gets. */
function opened(rows: number) {
  const asked: Asked[] = [];
  const put: [number, number, number, number][] = [];
  const failed: string[] = [];
  const requests = {
    ask: (_kind: string, fields: Asked["fields"], settle: Asked["settle"], fail: Asked["fail"]) =>
      asked.push({ fields, settle, fail }),
  } as unknown as Requests;
  const painter: Painter = {
    kind: "canvas",
    pages: [1, 1, 1],
    most: 1000,
    put: (pool, _slots, slot, _pixels, x, y) => put.push([pool, slot, x, y]),
    clear: () => undefined,
    draw: () => true,
    close: () => undefined,
  };
  const store = new TileStore(requests, {
    came: () => undefined,
    listed: () => undefined,
    failed: (message) => failed.push(message),
  });
  store.reset(painter, rows);
  return { store, asked, put, failed, painter };
}

function answer(rows: number[], tile: number, columns = 16): Answer {
  const array = (data: WireArray["data"]) => ({ data, shape: [data.length] });
  return {
    fields: { tile, columns },
    arrays: new Map<string, WireArray>([
      ["rows", array(Int32Array.from(rows))],
      ["aspect", array(Float32Array.from(rows, (row) => (row % 2 ? 1.5 : 1)))],
      ["broken", array(new Uint8Array(rows.length))],
      ["sheet", array(Uint8Array.of(1, 2, 3))],
    ]),
  };
}

const upTo = (count: number) => Array.from({ length: count }, (_, row) => row);

beforeEach(() => {
  vi.useFakeTimers();
  const canvas = () => ({
    getContext: () => ({
      drawImage: () => undefined,
      putImageData: () => undefined,
      getImageData: () => ({}),
    }),
  });
  vi.stubGlobal("document", { createElement: canvas });
  vi.stubGlobal("createImageBitmap", async () => ({ close: () => undefined }));
});

afterEach(() => {
  vi.useRealTimers();
  vi.unstubAllGlobals();
});

/** Let answers be decoded. */
const decoded = () => vi.advanceTimersByTimeAsync(0);

describe("the store of tiles", () => {
  it("asks for the first rows, one question at a time, and puts each row's tile in its slot", async () => {
    const { store, asked, put } = opened(1000);
    store.want(upTo(600), 0);
    expect(asked.map(({ fields }) => fields)).toEqual([{ tile: 32, rows: upTo(256) }]);
    store.want(upTo(600), 0);
    expect(asked).toHaveLength(1);
    asked[0]?.settle(answer(upTo(256), 32));
    await decoded();
    expect(put).toHaveLength(256);
    expect(put[17]).toEqual([0, 17, 32, 32]);
    expect(store.find(17, 0)).toEqual({ pool: 0, slot: 17 });
    expect([store.aspect(17), store.aspect(18), store.aspect(999)]).toEqual([1.5, 1, 1]);
    expect(asked[1]?.fields.rows[0]).toBe(256);
    expect(store.missing).toBe(344);
  });

  it("asks next for what is in view by then", async () => {
    const { store, asked } = opened(1000);
    store.want(upTo(300), 0);
    store.want([900, 901], 0);
    asked[0]?.settle(answer(upTo(256), 32));
    await decoded();
    expect(asked[1]?.fields.rows).toEqual([900, 901]);
  });

  it("asks again for what was left out of an answer", async () => {
    const { store, asked } = opened(100);
    store.want(upTo(10), 0);
    asked[0]?.settle(answer([0, 1, 2], 32));
    await decoded();
    expect(asked[1]?.fields.rows).toEqual(upTo(10).slice(3));
  });

  it("pauses after a failure and after an answer with nothing in it", async () => {
    const { store, asked, failed } = opened(100);
    store.want([1], 0);
    asked[0]?.fail("no such file");
    expect(failed).toEqual(["no such file"]);
    await vi.advanceTimersByTimeAsync(1000);
    expect(asked).toHaveLength(1);
    await vi.advanceTimersByTimeAsync(3000);
    expect(asked).toHaveLength(2);
    asked[1]?.settle(answer([], 32));
    await vi.advanceTimersByTimeAsync(1000);
    expect(asked).toHaveLength(2);
    store.close();
    await vi.advanceTimersByTimeAsync(60_000);
    expect(asked).toHaveLength(2);
  });

  it("takes something small of many first, then what fits; of few at once what fits", async () => {
    const { store, asked } = opened(1000);
    store.want(upTo(100), 1);
    expect(asked[0]?.fields.tile).toBe(32);
    asked[0]?.settle(answer(upTo(100), 32));
    await decoded();
    store.want(upTo(100), 1);
    expect(asked.at(-1)?.fields).toEqual({ tile: 128, rows: upTo(64) });
    const few = opened(1000);
    few.store.want([5, 6], 1);
    expect(few.asked[0]?.fields).toEqual({ tile: 128, rows: [5, 6] });
  });

  it("drops what was asked of other images", async () => {
    const { store, asked, put, painter } = opened(100);
    store.want([1], 0);
    store.reset(painter, 50);
    asked[0]?.settle(answer([1], 32));
    await decoded();
    expect(put).toEqual([]);
    expect(store.find(1, 0)).toBeNull();
  });

  it("shows saved pictures, again after the painter was another one, and lists paint from them", async () => {
    const { store, put, painter, asked } = opened(100);
    const saved = answer([7, 8], 32, 2);
    store.keep({ tile: 32, columns: 2, arrays: [], buffers: [] }, saved.arrays);
    await decoded();
    expect(put).toEqual([
      [0, 0, 0, 0],
      [0, 1, 32, 0],
    ]);
    store.reset(painter, 100);
    await decoded();
    expect(put).toHaveLength(4);
    const painted: number[][] = [];
    expect(store.thumbnail(7, (_, ...box) => painted.push(box))).toBe(false);
    expect(painted).toEqual([[0, 0, 128, 85]]);
    expect(asked.at(-1)?.fields).toEqual({ tile: 128, rows: [7] });
    expect(store.thumbnail(50, () => painted.push([]))).toBe(false);
    expect(painted).toHaveLength(1);
  });
});
