/** The full map under way: each answer is a slice of the work, and the view asks for the next. */

import type { Progress } from "../occlusion-probe/state.ts";
import type { Answer, Requests } from "../shared/wire.ts";

/** Milliseconds without an answer after which it is said that Python is busy. */
export const PATIENCE_MS = 3000;

export interface RunActions {
  /** a partial map came */
  partial(answer: Answer): void;
  changed(): void;
  failed(message: string): void;
}

export class Run {
  /** how far it has come; null before the first answer */
  progress: Progress | null = null;
  running = false;
  /** a hand drags: the next slice waits, so that a drag never waits behind one */
  held = false;
  readonly #requests: Requests;
  readonly #actions: RunActions;
  #asked = 0;
  #waiting = false;

  constructor(requests: Requests, signal: AbortSignal, actions: RunActions) {
    this.#requests = requests;
    this.#actions = actions;
    signal.addEventListener("abort", () => {
      this.running = false;
    });
  }

  /** whether Python has kept still for long */
  get silent(): boolean {
    return this.running && this.#asked > 0 && performance.now() - this.#asked > PATIENCE_MS;
  }

  start(restart: boolean): void {
    this.running = true;
    this.progress = null;
    this.#ask(restart);
    this.#actions.changed();
  }

  stop(): void {
    this.running = this.#waiting = false;
    this.#actions.changed();
    this.#requests.ask(
      "map_stop",
      {},
      ({ fields }) => {
        this.progress = fields.progress as Progress;
        this.#actions.changed();
      },
      (message) => this.#actions.failed(message),
    );
  }

  hold(held: boolean): void {
    this.held = held;
    if (held || !this.#waiting) return;
    this.#waiting = false;
    if (this.running) this.#ask(false);
  }

  #ask(restart: boolean): void {
    const asked = performance.now();
    this.#asked = asked;
    setTimeout(() => this.#asked === asked && this.#actions.changed(), PATIENCE_MS + 50);
    this.#requests.ask(
      "map_go_on",
      { restart },
      (answer) => this.#take(answer),
      (message) => {
        this.running = false;
        this.#asked = 0;
        this.#actions.failed(message);
      },
    );
  }

  #take(answer: Answer): void {
    this.#asked = 0;
    this.progress = answer.fields.progress as Progress;
    if (answer.fields.map) this.#actions.partial(answer);
    if (!this.progress.running) this.running = false;
    if (this.running && this.held) this.#waiting = true;
    else if (this.running) this.#ask(false);
    this.#actions.changed();
  }
}

/** Progress as a person reads it. */
export function progressText({ done, total, seconds }: Progress): string {
  const share = total > 0 ? done / total : 0;
  const left = share > 0 && share < 1 ? (seconds * (1 - share)) / share : 0;
  const ahead = left > 0 ? `, about ${duration(left)} left` : "";
  return `${done} of ${total} positions, ${duration(seconds)}${ahead}`;
}

export function duration(seconds: number): string {
  if (seconds < 9.95) return `${seconds.toFixed(1)} s`;
  if (seconds < 99.5) return `${Math.round(seconds)} s`;
  return `${Math.round(seconds / 60)} min`;
}
