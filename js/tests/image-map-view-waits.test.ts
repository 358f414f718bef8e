import { beforeEach, describe, expect, it, vi } from "vitest";
import { Line } from "../image-map/waits.ts";
import type { Channel } from "../shared/wire.ts";

beforeEach(() => void vi.useFakeTimers());

function line(send: () => void = () => {}) {
  const controller = new AbortController();
  const listeners = new Set<Parameters<Channel["on"]>[1]>();
  const said: string[] = [];
  const made: Line = new Line(
    {
      send,
      on: (_, listener) => void listeners.add(listener),
      off: (_, listener) => void listeners.delete(listener),
    },
    controller.signal,
    () => said.push(made.silence),
  );
  const answer = () => {
    for (const listener of listeners) listener({}, []);
  };
  return { made, said, answer, listeners, controller };
}

describe("the way to Python", () => {
  it("tells after some seconds without an answer, and no more once one came", () => {
    const { made, said, answer } = line();
    made.send({});
    vi.advanceTimersByTime(4000);
    made.send({});
    expect(made.silence).toBe("");
    vi.advanceTimersByTime(1100);
    expect(made.silence).toMatch(/^Python has not answered yet/);
    made.send({});
    vi.advanceTimersByTime(60_000);
    expect(said).toHaveLength(1);
    answer();
    expect([made.silence, said.length]).toEqual(["", 2]);
    vi.advanceTimersByTime(60_000);
    expect(said).toHaveLength(2);
  });

  it("answers in time, and nothing asked, are no silence", () => {
    const { made, said, answer } = line();
    vi.advanceTimersByTime(60_000);
    made.send({});
    made.send({});
    vi.advanceTimersByTime(4900);
    answer();
    vi.advanceTimersByTime(60_000);
    expect(said).toEqual([]);
  });

  it("tells at once where there is no kernel, and passes that on", () => {
    const { made, said } = line(() => {
      throw new Error("no kernel");
    });
    expect(() => made.send({})).toThrow("no kernel");
    expect(made.silence).toMatch(/^There is no Python/);
    expect(() => made.send({})).toThrow();
    expect(said).toHaveLength(1);
  });

  it("leaves nothing behind", () => {
    const { made, said, listeners, controller } = line();
    made.send({});
    controller.abort();
    vi.advanceTimersByTime(60_000);
    expect([said.length, listeners.size]).toEqual([0, 0]);
  });
});
