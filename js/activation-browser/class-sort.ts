/** How much more each channel answers to one class than to the others, fetched in small slices. */

import type { Requests } from "../shared/wire.ts";
import type { MapsState, PredictionState } from "./state.ts";

export class ClassSort {
  note = "";
  #key = "";
  #difference: Float32Array | null = null;

  readonly #requests: Requests;
  readonly #changed: () => void;
  readonly #failed: (message: string) => void;

  constructor(requests: Requests, changed: () => void, failed: (message: string) => void) {
    this.#requests = requests;
    this.#changed = changed;
    this.#failed = failed;
  }

  /** What to sort by, as far as it is known; each answer of the kernel is a slice of the work. */
  of(state: MapsState, prediction: PredictionState): Float32Array | null {
    const guess = prediction.top?.[0]?.[0];
    if (!guess || state.kind !== "maps") return null;
    const key = `${state.layer} ${guess.index}`;
    if (key !== this.#key) {
      this.#key = key;
      this.#difference = null;
      this.note = `Averaging over pictures of ${guess.name} and of others …`;
      this.#ask(key, state.layer, guess.index);
    }
    return this.#difference;
  }

  #ask(key: string, layer: string, index: number): void {
    this.#requests.ask(
      "class_difference",
      { layer, index },
      (answer) => {
        if (key !== this.#key) return;
        const { done, total, of, others, name } = answer.fields as Record<string, number | string>;
        this.#difference = answer.arrays.get("difference")?.data as Float32Array;
        const finished = (done as number) >= (total as number);
        this.note = finished
          ? `By mean over ${of} pictures of ${name} less that over ${others} of other classes.`
          : `Averaging: ${done} of ${total} pictures …`;
        if (!finished) this.#ask(key, layer, index);
        this.#changed();
      },
      (message) => {
        this.note = "";
        this.#failed(message);
      },
    );
  }
}
