/** The way of a map that Python is still computing: it goes on as long as somebody looks. */

import type { Requests } from "../shared/wire.ts";
import type { Hands } from "./hands.ts";
import type { ProgressState } from "./state.ts";

export interface ProgressHands extends Pick<Hands, "get" | "redraw" | "failed" | "announce"> {
  /** places of the map as they are now */
  moved(places: Uint16Array): void;
  /** whether any places are known */
  known(): boolean;
}

const HOLD_MS = 400;

const NOTHING: ProgressState = {
  finished: false,
  stopped: false,
  iteration: 0,
  total: 0,
  sentence: "",
};

export class Progress {
  /** as Python said last, by the trait or in an answer */
  state: ProgressState = NOTHING;
  #trait: unknown = null;
  #underWay = false;
  /** when the question under way was asked; 0 for none */
  #since = 0;
  #failed = false;
  /** a stop was asked for, and is not answered yet */
  #stopping = false;
  /** to go on was asked for while another question was under way */
  #resuming = false;
  #visible = false;
  /** until when a hand that asks for neighbours goes first */
  #held = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;

  readonly #requests: Requests;
  readonly #hands: ProgressHands;

  constructor(host: HTMLElement, signal: AbortSignal, requests: Requests, hands: ProgressHands) {
    this.#requests = requests;
    this.#hands = hands;
    const watch = new IntersectionObserver(([entry]) => {
      this.#visible = entry?.isIntersecting ?? false;
      this.advance();
    });
    watch.observe(host);
    signal.addEventListener("abort", () => {
      watch.disconnect();
      this.#visible = false;
    });
  }

  /** Whether there is more to be had from Python. */
  get live(): boolean {
    return !this.state.finished && !this.state.stopped;
  }

  /** Whether images still move: afterwards Python measures, and keeps pictures. */
  get moving(): boolean {
    const { iteration, total } = this.state;
    return this.live && (total === 0 || iteration < total);
  }

  /** Milliseconds that Python has been silent for; 0 if nothing is asked. */
  waited(now: number): number {
    return this.#underWay ? now - this.#since : 0;
  }

  refresh(): void {
    const trait = this.#hands.get("progress");
    if (trait === this.#trait) return;
    this.#trait = trait;
    if (typeof (trait as ProgressState).finished === "boolean") this.#take(trait as ProgressState);
  }

  /** A hand moves over the map: what it asks for shall not wait behind a slice of work. */
  hold(): void {
    this.#held = performance.now() + HOLD_MS;
  }

  /** Ask for the next positions, unless there is nothing to ask for. */
  advance(): void {
    const resume = this.#resuming;
    const wanted = resume || this.live || !this.#hands.known();
    if (!wanted || this.#underWay || this.#failed || !this.#visible) return;
    const rest = this.#held - performance.now();
    if (rest > 0 && !this.moving) {
      this.#timer ??= setTimeout(() => {
        this.#timer = undefined;
        this.advance();
      }, rest);
      return;
    }
    this.#resuming = false;
    this.#underWay = true;
    this.#since = performance.now();
    this.#requests.ask(
      "advance",
      resume ? { resume } : {},
      ({ fields, arrays }) => {
        this.#underWay = false;
        const places = arrays.get("places")?.data as Uint16Array | undefined;
        const state = fields as unknown as ProgressState;
        // A stop that was pressed meanwhile is not undone by an answer that was under way.
        this.#take({ ...state, stopped: state.stopped || this.#stopping });
        if (places) this.#hands.moved(places);
        this.#hands.failed("");
        if (this.live || this.#resuming) this.advance();
        this.#hands.redraw();
      },
      (message) => {
        this.#underWay = false;
        this.#failed = true;
        this.#hands.failed(message);
        this.#hands.redraw();
      },
    );
  }

  get failed(): boolean {
    return this.#failed;
  }

  stop(): void {
    this.state = { ...this.state, stopped: true };
    this.#stopping = true;
    this.#requests.ask(
      "stop",
      {},
      ({ fields }) => {
        this.#stopping = false;
        if (typeof fields.finished === "boolean") this.#take(fields as unknown as ProgressState);
        this.#hands.redraw();
      },
      (message) => {
        this.#stopping = false;
        this.#hands.failed(message);
      },
    );
    this.#hands.redraw();
  }

  resume(): void {
    this.state = { ...this.state, stopped: false };
    this.#stopping = this.#failed = false;
    this.#resuming = true;
    this.advance();
    this.#hands.redraw();
  }

  #take({ finished, stopped, iteration, total, sentence }: ProgressState): void {
    const before = this.state;
    this.state = { finished, stopped, iteration, total, sentence };
    if (finished && before.iteration > 0 && !before.finished) {
      this.#hands.announce(sentence || "The map is finished");
    }
  }
}
