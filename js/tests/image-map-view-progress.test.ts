import { beforeEach, describe, expect, it, vi } from "vitest";
import { Progress } from "../image-map/progress.ts";
import type { ProgressState } from "../image-map/state.ts";
import type { Requests } from "../shared/wire.ts";

type Ask = Parameters<Requests["ask"]>;

/** Tell the view whether a person sees it. */
let see: (visible: boolean) => void = () => {};

beforeEach(() => {
  vi.stubGlobal(
    "IntersectionObserver",
    class {
      constructor(act: (entries: { isIntersecting: boolean }[]) => void) {
        see = (visible) => act([{ isIntersecting: visible }]);
      }
      observe() {}
      disconnect() {}
    },
  );
});

const at = (iteration: number, more: Partial<ProgressState> = {}): ProgressState => ({
  finished: false,
  stopped: false,
  iteration,
  total: 10,
  sentence: `${iteration} of 10`,
  ...more,
});

function started(trait: ProgressState = at(0), known = true) {
  const asked: Ask[] = [];
  const moved: Uint16Array[] = [];
  const failures: string[] = [];
  const announced: string[] = [];
  const traits = { progress: trait };
  const controller = new AbortController();
  const requests = { ask: (...ask: Ask) => asked.push(ask) } as unknown as Requests;
  const progress = new Progress({} as HTMLElement, controller.signal, requests, {
    get: (() => traits.progress) as never,
    redraw: () => {},
    failed: (message) => failures.push(message),
    announce: (text) => announced.push(text),
    moved: (places) => moved.push(places),
    known: () => known,
  });
  progress.refresh();
  see(true);
  const answer = (state: ProgressState, places = new Uint16Array(2)) => {
    const arrays = new Map([["places", { data: places, shape: [1, 2] }]]);
    (asked.at(-1) as Ask)[2]({ fields: { ...state }, arrays });
  };
  const kinds = () => asked.map(([kind, fields]) => [kind, fields]);
  return { progress, asked, answer, kinds, moved, failures, announced, traits, controller };
}

describe("a map being computed", () => {
  it("goes on at each answer, to the end, and no further", () => {
    const { progress, answer, kinds, moved, announced } = started();
    expect(kinds()).toEqual([["advance", {}]]);
    answer(at(5));
    expect(kinds()).toHaveLength(2);
    expect(progress.moving).toBe(true);
    answer(at(10));
    // Images stand; Python still measures.
    expect([progress.moving, progress.live, kinds().length]).toEqual([false, true, 3]);
    answer(at(10, { finished: true, sentence: "1 image placed." }));
    expect(kinds()).toHaveLength(3);
    expect(moved).toHaveLength(3);
    expect(announced).toEqual(["1 image placed."]);
  });

  it("waits while nobody sees it", () => {
    const { answer, kinds } = started();
    see(false);
    answer(at(1));
    expect(kinds()).toHaveLength(1);
    see(true);
    expect(kinds()).toHaveLength(2);
  });

  it("stops at once, and goes on when asked to", () => {
    const { progress, answer, kinds, asked } = started();
    progress.stop();
    expect(progress.state.stopped).toBe(true);
    const [advance, stop] = asked as [Ask, Ask];
    expect(stop[0]).toBe("stop");
    stop[2]({ fields: { ...at(3, { stopped: true }) }, arrays: new Map() });
    advance[2]({ fields: { ...at(4, { stopped: true }) }, arrays: new Map() });
    expect(kinds()).toHaveLength(2);
    progress.resume();
    expect(kinds().at(-1)).toEqual(["advance", { resume: true }]);
    answer(at(5));
    expect(kinds().at(-1)).toEqual(["advance", {}]);
  });

  it("an answer that was under way does not undo a stop", () => {
    const { progress, asked, kinds } = started();
    progress.stop();
    (asked[0] as Ask)[2]({ fields: { ...at(4) }, arrays: new Map() });
    expect(progress.state.stopped).toBe(true);
    expect(kinds()).toHaveLength(2);
  });

  it("goes on although it was asked to while an answer was under way", () => {
    const { progress, asked, kinds } = started();
    progress.stop();
    progress.resume();
    expect(kinds()).toHaveLength(2);
    (asked[0] as Ask)[2]({ fields: { ...at(4, { stopped: true }) }, arrays: new Map() });
    expect(kinds().at(-1)).toEqual(["advance", { resume: true }]);
  });

  it("does not ask for the same again and again when it fails", () => {
    const { progress, asked, failures } = started();
    (asked[0] as Ask)[3]("no features");
    expect([failures.at(-1), progress.failed]).toEqual(["no features", true]);
    see(true);
    progress.advance();
    expect(asked).toHaveLength(1);
    progress.resume();
    expect(asked).toHaveLength(2);
  });

  it("a stopped one that was saved without places asks once for them", () => {
    expect(started(at(4, { stopped: true }), false).kinds()).toEqual([["advance", {}]]);
    expect(started(at(4, { stopped: true }), true).kinds()).toEqual([]);
  });

  it("follows Python, which may finish it in a cell", () => {
    const { progress, traits, answer, kinds } = started();
    traits.progress = at(10, { finished: true });
    progress.refresh();
    expect(progress.live).toBe(false);
    answer(at(10, { finished: true }));
    expect(kinds()).toHaveLength(1);
  });
});

it("what is left after the map waits while a hand asks for neighbours", () => {
  vi.useFakeTimers();
  const { progress, answer, kinds } = started(at(10));
  expect(kinds()).toHaveLength(1);
  progress.hold();
  answer(at(10));
  progress.advance();
  vi.advanceTimersByTime(300);
  progress.hold();
  vi.advanceTimersByTime(300);
  expect(kinds()).toHaveLength(1);
  vi.advanceTimersByTime(200);
  expect(kinds()).toHaveLength(2);
  vi.useRealTimers();
});

it("a map that still moves waits for no hand", () => {
  const { progress, answer, kinds } = started(at(3));
  progress.hold();
  answer(at(4));
  expect(kinds()).toHaveLength(2);
});
