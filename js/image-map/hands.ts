/** What the parts of the view read and change. */

import { changed } from "./painter.ts";
import type { State } from "./state.ts";

/** Traits of the model with their types. */
export interface Model {
  get<K extends keyof State>(name: K): State[K];
  set<K extends keyof State>(name: K, value: State[K]): void;
  save_changes(): void;
}

export interface Hands {
  get<K extends keyof State>(name: K): State[K];
  set(values: Partial<State>): void;
  redraw(): void;
  /** what a question failed with; empty where one went well */
  failed(message: string): void;
  announce(text: string): void;
}

/** What was made of some inputs, for as long as these stay the same. */
export class Kept<T> {
  #key: unknown[] | null = null;
  #made: T | undefined;

  of(key: unknown[], make: () => T): T {
    if (!this.#key || changed(this.#key, key)) {
      this.#made = make();
      this.#key = key;
    }
    return this.#made as T;
  }
}

/** Beside the map the panels scroll: bring one of them into view there. */
export function bringForward(panel: HTMLElement): void {
  const all = panel.parentElement;
  if (all) all.scrollTop = panel.offsetTop - all.offsetTop;
}

export function counted(count: number, noun: string, plural = `${noun}s`): string {
  return `${count.toLocaleString("en")} ${count === 1 ? noun : plural}`;
}
