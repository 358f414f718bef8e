import { describe, expect, it, vi } from "vitest";
import fixture from "../../tests/fixtures/wire.json";
import { type ArrayEntry, pack, Requests, type TypedArray, unpack } from "../shared/wire.ts";

const vectors = fixture as { entry: ArrayEntry; hex: string; values: number[] }[];

function bytes(hex: string, offset = 0): DataView {
  const raw = Uint8Array.from(hex.match(/../g) ?? [], (pair) => Number.parseInt(pair, 16));
  const host = new Uint8Array(raw.length + offset + 3);
  host.set(raw, offset);
  return new DataView(host.buffer, offset, raw.length);
}

describe("arrays from the kernel", () => {
  it.each(vectors)("$entry.name arrives as it left", ({ entry, hex, values }) => {
    for (const offset of [0, 1, 4]) {
      const array = unpack([entry], [bytes(hex, offset)]).get(entry.name);
      expect(Array.from(array?.data ?? [])).toEqual(values);
      expect(array?.shape).toEqual(entry.shape);
    }
  });

  it("refuses bytes that do not fill the shape", () => {
    const entry: ArrayEntry = { name: "norm", dtype: "float32", shape: [3] };
    expect(() => unpack([entry], [bytes("0000803f")])).toThrow(/norm.*needs 12 bytes, 4 came/);
  });
});

function hexOf(data: TypedArray): string {
  const raw = new Uint8Array(data.buffer);
  return Array.from(raw, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

describe("arrays for the kernel", () => {
  it.each(vectors)("$entry.name leaves as Python expects it", ({ entry, hex }) => {
    const array = unpack([entry], [bytes(hex, 4)]).get(entry.name);
    const data = array?.data as TypedArray;
    const { entries, buffers } = pack([{ name: entry.name, data, shape: entry.shape }]);
    expect(entries).toEqual([entry]);
    expect(hexOf(buffers[0] as TypedArray)).toBe(hex);
  });

  it("that are a part of a buffer are sent without the rest, which Lab would send too", () => {
    const data = new Uint8Array([1, 2, 3, 4]).subarray(1, 3);
    const { buffers } = pack([{ name: "part", data, shape: [2] }]);
    expect(hexOf(buffers[0] as TypedArray)).toBe("0203");
  });
});

class Kernel {
  sent: Record<string, unknown>[] = [];
  buffers: unknown[] = [];
  private listener: ((content: unknown, buffers: DataView[]) => void) | null = null;
  send(content: unknown, _callbacks?: unknown, buffers?: unknown) {
    this.sent.push(content as Record<string, unknown>);
    this.buffers.push(buffers);
  }
  on(_event: string, listener: (content: unknown, buffers: DataView[]) => void) {
    this.listener = listener;
  }
  off() {
    this.listener = null;
  }
  answer(index: number, fields: Record<string, unknown> = {}) {
    this.listener?.({ kind: "kernel", arrays: [], ...fields, rid: this.sent[index]?.rid }, []);
  }
}

function start() {
  const kernel = new Kernel();
  const controller = new AbortController();
  const requests = new Requests(kernel as never, controller.signal);
  const log: string[] = [];
  const ask = (n: number) =>
    requests.ask(
      "kernel",
      { n },
      () => log.push(`answered ${n}`),
      (message) => log.push(`failed ${n}: ${message}`),
    );
  return { kernel, controller, requests, log, ask };
}

describe("questions to the kernel", () => {
  it("are answered", () => {
    const { kernel, log, ask } = start();
    ask(1);
    kernel.answer(0);
    expect(log).toEqual(["answered 1"]);
  });

  it("that a kernel took with it make room for the next", () => {
    vi.useFakeTimers();
    try {
      const { kernel, log, ask } = start();
      ask(1);
      ask(2);
      const send = kernel.send.bind(kernel);
      kernel.send = () => {
        throw new Error("Cannot send");
      };
      vi.advanceTimersByTime(10_000);
      kernel.send = send;
      expect(ask(3)).toBe(true);
      kernel.answer(1);
      expect(log).toEqual(["answered 3"]);
    } finally {
      vi.useRealTimers();
    }
  });

  it("say whether there is anybody to answer", () => {
    const { kernel, ask } = start();
    kernel.send = () => {
      throw new Error("no kernel");
    };
    expect(ask(1)).toBe(false);
  });

  it("fail with the kernel's message", () => {
    const { kernel, log, ask } = start();
    ask(1);
    kernel.answer(0, { kind: "error", message: "no such layer" });
    expect(log).toEqual(["failed 1: no such layer"]);
  });

  it("fail when the answer cannot be read", () => {
    const { kernel, log, ask } = start();
    ask(1);
    kernel.answer(0, { arrays: [{ name: "w", dtype: "float32", shape: [2] }] });
    expect(log[0]).toMatch(/^failed 1: .*1 arrays described, 0 buffers came/);
  });

  it("of a burst only the first and the newest are sent", () => {
    const { kernel, log, ask } = start();
    for (let n = 0; n < 50; n++) ask(n);
    expect(kernel.sent.map((m) => m.n)).toEqual([0]);
    kernel.answer(0);
    expect(kernel.sent.map((m) => m.n)).toEqual([0, 49]);
    kernel.answer(1);
    expect(log).toEqual(["answered 0", "answered 49"]);
  });

  it("take their arrays along, and a waiting one gives way with its arrays", () => {
    const { kernel, requests } = start();
    const none = () => undefined;
    for (const n of [1, 2, 3]) {
      const data = new Uint8Array(n).fill(n);
      requests.ask("pixels", { n }, none, none, [{ name: "pixels", data, shape: [n, 1] }]);
    }
    kernel.answer(0);
    expect(kernel.sent.map(({ n, arrays }) => [n, arrays])).toEqual(
      [1, 3].map((n) => [n, [{ name: "pixels", dtype: "uint8", shape: [n, 1] }]]),
    );
    expect(kernel.buffers).toEqual([[Uint8Array.of(1)], [Uint8Array.of(3, 3, 3)]]);
  });

  it("without arrays are plain messages", () => {
    const { kernel, ask } = start();
    ask(1);
    expect(Object.keys(kernel.sent[0] ?? {}).sort()).toEqual(["kind", "n", "rid"]);
    expect(kernel.buffers).toEqual([undefined]);
  });

  it("without an answer are followed by a few empty messages, and by none once answered", () => {
    vi.useFakeTimers();
    try {
      const { kernel, controller, log, ask } = start();
      ask(1);
      vi.advanceTimersByTime(1900);
      expect(kernel.sent.length).toBe(1);
      vi.advanceTimersByTime(200);
      expect(kernel.sent.slice(1)).toEqual([{ kind: "nudge" }]);
      vi.advanceTimersByTime(60000);
      expect(kernel.sent.slice(1)).toEqual(Array(3).fill({ kind: "nudge" }));
      kernel.answer(0);
      expect(log).toEqual(["answered 1"]);

      ask(2);
      kernel.answer(4);
      ask(3);
      controller.abort();
      vi.advanceTimersByTime(60000);
      expect(kernel.sent.map((message) => message.n)).toEqual([1, ...Array(3), 2, 3]);
    } finally {
      vi.useRealTimers();
    }
  });

  it("a slow answer to an old question does not settle it twice", () => {
    const { kernel, log, ask } = start();
    ask(1);
    kernel.answer(0);
    ask(2);
    kernel.answer(1);
    kernel.answer(0);
    expect(log).toEqual(["answered 1", "answered 2"]);
  });

  it("end without a word when the view closes", () => {
    const { kernel, controller, log, ask } = start();
    ask(1);
    controller.abort();
    kernel.answer(0);
    expect(log).toEqual([]);
  });

  it("are asked again after one met no kernel", () => {
    const { kernel, log, ask } = start();
    const send = kernel.send;
    kernel.send = () => {
      throw new Error("Cannot send");
    };
    ask(1);
    kernel.send = send;
    ask(2);
    kernel.answer(0);
    expect(log).toEqual(["answered 2"]);
  });

  it("of another view of the same model are left alone", () => {
    const { kernel, log, ask } = start();
    ask(1);
    (kernel.sent[0] as Record<string, unknown>).rid = "someone-else-1";
    kernel.answer(0);
    expect(log).toEqual([]);
  });
});
