import { describe, expect, it } from "vitest";
import type { Answer, TypedArray, WireArray } from "../shared/wire.ts";
import { filesOf, Strips, typeOf, type Wanted } from "../top-patches/strips.ts";
import { suggestions } from "../top-patches/toolbar.ts";

const WANTED: Wanted = { layer: "conv1", show: "patch", patches: 9, tile: 64 };
const PNG = [0x89, 0x50, 0x4e, 0x47];

function array(data: TypedArray): WireArray {
  return { data, shape: [data.length] };
}

/** The arrays of an answer that holds a file of four bytes a channel. */
function filesFor(channels: number[]): Answer["arrays"] {
  return new Map([
    ["lengths", array(Int32Array.from(channels, () => 4))],
    ["bytes", array(Uint8Array.from(channels.flatMap(() => PNG)))],
  ]);
}

/** Strips with questions that are answered by hand, and pictures that can be counted. */
function started(most?: number) {
  const questions: {
    channels: number[];
    settle: (answer: Answer) => void;
    fail: (m: string) => void;
  }[] = [];
  const open = new Set<number>();
  let made = 0;
  const failures: string[] = [];
  const strips = new Strips(
    {
      ask: (_kind, fields, settle, fail) => {
        questions.push({ channels: fields.channels as number[], settle, fail });
        return true;
      },
    },
    () => {},
    (message) => failures.push(message),
    async () => {
      made += 1;
      const number = made;
      open.add(number);
      return { number, close: () => open.delete(number) } as unknown as ImageBitmap;
    },
    most,
  );
  const answer = async (index: number, tile = WANTED.tile) => {
    const { channels, settle } = questions[index] as (typeof questions)[number];
    settle({ fields: { ...WANTED, tile, channels }, arrays: filesFor(channels) });
    await Promise.resolve();
    await Promise.resolve();
  };
  return { strips, questions, open, failures, answer };
}

describe("strips of patches", () => {
  it("are asked for once, drawn when they came, and not asked for again", async () => {
    const { strips, questions, answer } = started();
    strips.ask(WANTED, [3, 4], 0);
    strips.ask(WANTED, [3, 4], 16);
    expect(questions).toHaveLength(1);
    expect([strips.coming(WANTED, 3, 16), strips.coming(WANTED, 5, 16)]).toEqual([true, false]);
    expect(strips.waited(400)).toBe(400);
    await answer(0);
    expect(strips.has(WANTED, 3)).toBe(true);
    expect(strips.get(WANTED, 3)?.bitmap).toMatchObject({ number: 1 });
    expect(strips.waited(400)).toBe(0);
    strips.ask(WANTED, [], 500);
    expect(questions).toHaveLength(1);
  });

  it("belong to a layer and to a way of showing", async () => {
    const { strips, answer } = started();
    strips.ask(WANTED, [3], 0);
    await answer(0);
    expect(strips.has({ ...WANTED, layer: "conv2" }, 3)).toBe(false);
    expect(strips.get({ ...WANTED, show: "masked" }, 3)).toBeNull();
  });

  it("that are too coarse stay until finer ones came, and coarser ones change nothing", async () => {
    const { strips, questions, open, answer } = started();
    strips.ask(WANTED, [3], 0);
    await answer(0);
    const finer = { ...WANTED, tile: 128 };
    expect(strips.has(finer, 3)).toBe(false);
    expect(strips.get(finer, 3)?.bitmap).toMatchObject({ number: 1 });
    strips.ask(finer, [3], 10);
    await answer(1, 128);
    expect(strips.get(finer, 3)?.bitmap).toMatchObject({ number: 2 });
    expect([...open]).toEqual([2]);
    strips.take({ ...WANTED, channels: [3] }, filesFor([3]));
    await Promise.resolve();
    expect(strips.get(WANTED, 3)).toMatchObject({ tile: 128 });
    expect(questions).toHaveLength(2);
  });

  it("of more channels than are kept let go of those used longest ago", async () => {
    const { strips, open, answer } = started(3 * 64 * 64 * 9);
    strips.ask(WANTED, [0, 1, 2], 0);
    await answer(0);
    strips.get(WANTED, 0);
    strips.ask(WANTED, [7], 10);
    await answer(1);
    expect([0, 1, 2, 7].map((channel) => strips.has(WANTED, channel))).toEqual([
      true,
      false,
      true,
      true,
    ]);
    expect(open.size).toBe(3);
    strips.close();
    expect(open.size).toBe(0);
  });

  it("that came while they were let go of are closed, not kept", async () => {
    const { strips, open } = started(64 * 64 * 9);
    strips.take({ ...WANTED, channels: [0, 1] }, filesFor([0, 1]));
    await Promise.resolve();
    await Promise.resolve();
    expect(strips.get(WANTED, 0)).toBeNull();
    expect([...open]).toEqual([2]);
  });

  it("that cannot be made are said so, and not asked for at every frame", async () => {
    const { strips, questions, failures, answer } = started();
    strips.ask(WANTED, [3], 0);
    questions[0]?.fail("no such channel");
    expect(failures).toEqual(["no such channel"]);
    strips.ask(WANTED, [3], 16);
    expect(questions).toHaveLength(1);
    strips.ask(WANTED, [4], 16);
    strips.ask(WANTED, [3], 20_000);
    expect(questions).toHaveLength(3);
    await answer(2);
    expect(failures).toEqual(["no such channel", ""]);
  });

  it("of a newer question are waited for once the older is answered", async () => {
    const { strips, answer } = started();
    strips.ask(WANTED, [1], 0);
    strips.ask(WANTED, [2], 100);
    expect(strips.coming(WANTED, 2, 100)).toBe(false);
    await answer(0);
    expect(strips.coming(WANTED, 2, 150)).toBe(true);
    await answer(1);
    expect(strips.waited(200)).toBe(0);
  });
});

describe("files of an answer", () => {
  it("are cut by their lengths", () => {
    const files = filesOf(
      new Map([
        ["lengths", array(Int32Array.of(2, 0, 1))],
        ["bytes", array(Uint8Array.of(7, 8, 9))],
      ]),
    );
    expect(files.map((file) => [...file])).toEqual([[7, 8], [], [9]]);
  });

  it("are images by their first bytes, or refused", () => {
    expect(typeOf(Uint8Array.from(PNG))).toBe("image/png");
    expect(typeOf(Uint8Array.of(0xff, 0xd8, 0xff))).toBe("image/jpeg");
    expect(() => typeOf(Uint8Array.from("<svg onload", (c) => c.charCodeAt(0)))).toThrow(/PNG/);
  });
});

describe("names for a search", () => {
  const classes = ["hot dog", "dog", "Dogsled", "cat"];

  it("hold every word, those that begin with it first", () => {
    expect(suggestions(classes, "dog", 9)).toEqual(["dog", "Dogsled", "hot dog"]);
    expect(suggestions(classes, "DOG hot", 9)).toEqual(["hot dog"]);
    expect(suggestions(classes, "dog", 1)).toHaveLength(1);
    expect(suggestions(classes, "  ", 9)).toEqual([]);
  });
});
