/** Questions of a dragging hand: asked at every move, newest wins; and what to do in silence. */

import type { Requests } from "../shared/wire.ts";
import type { MaskState } from "./masks.ts";
import type { ConfidenceState, TrailPoint } from "./state.ts";

/** Milliseconds without an answer after which the map is read instead, where there is one. */
const SILENCE_MS = 700;

export interface ProbingActions {
  answered(state: ConfidenceState, point: [number, number], done: boolean): void;
  failed(message: string): void;
  changed(): void;
}

export class Probing {
  /** Python has kept still for so long that the view looks for itself. */
  silent = false;
  /** masks of the newest question that has no answer yet */
  open: MaskState[] | null = null;
  readonly #requests: Requests;
  readonly #actions: ProbingActions;
  #count = 0;
  #timer = 0;
  #since = 0;

  constructor(requests: Requests, signal: AbortSignal, actions: ProbingActions) {
    this.#requests = requests;
    this.#actions = actions;
    signal.addEventListener("abort", () => clearTimeout(this.#timer));
  }

  /** since when an answer is waited for; 0 while none is */
  get waitingSince(): number {
    return this.#since;
  }

  ask(masks: MaskState[], point: [number, number], done: boolean): void {
    this.#count += 1;
    const seq = this.#count;
    this.open = masks;
    this.#since ||= performance.now();
    this.#listen();
    const asked = this.#requests.ask(
      "masked",
      { masks, seq, done, point },
      ({ fields }) => {
        this.#heard(seq);
        this.#actions.answered(fields as unknown as ConfidenceState, point, done);
      },
      (message) => {
        this.#heard(seq);
        this.#actions.failed(message);
      },
    );
    if (!asked) this.silent = true;
  }

  /** Any answer shows that Python works: what is still open is waited for anew. */
  #heard(seq: number): void {
    clearTimeout(this.#timer);
    this.#timer = 0;
    this.silent = false;
    if (seq === this.#count) {
      this.open = null;
      this.#since = 0;
    } else {
      this.#since = performance.now();
      this.#listen();
    }
  }

  #listen(): void {
    this.#timer ||= window.setTimeout(() => {
      this.#timer = 0;
      this.silent = true;
      this.#actions.changed();
    }, SILENCE_MS);
  }
}

/** The way so far with one more point; the oldest half is thinned when there are too many. */
export function lengthened(trail: TrailPoint[], point: Omit<TrailPoint, "path">): TrailPoint[] {
  const last = trail.at(-1);
  const step = last ? Math.hypot(point.row - last.row, point.col - last.col) : 0;
  const longer = [...trail, { ...point, path: (last?.path ?? 0) + step }];
  return longer.length <= 400 ? longer : longer.filter((_, i) => i % 2 === 0 || i > 200);
}
