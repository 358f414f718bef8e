/** What the view waits for, in a quiet line; a page without a kernel is told so. */

import type { Hands } from "./hands.ts";
import type { MapData } from "./map-data.ts";
import type { Progress } from "./progress.ts";
import { LAYOUTS } from "./toolbar.ts";

/** Milliseconds until a view says that it waits, and until it says what may be the matter. */
const [PATIENT_MS, LONG_MS] = [300, 5000];

export class Waits {
  /** what is missing -> since when */
  readonly #since = new Map<string, number>();
  #timer: ReturnType<typeof setTimeout> | undefined;

  readonly #data: MapData;
  readonly #progress: Progress;
  readonly #get: Hands["get"];

  constructor(data: MapData, progress: Progress, get: Hands["get"]) {
    this.#data = data;
    this.#progress = progress;
    this.#get = get;
  }

  text(now: number): string {
    const missing = this.#missing();
    for (const what of this.#since.keys()) if (!missing.includes(what)) this.#since.delete(what);
    for (const what of missing) if (!this.#since.has(what)) this.#since.set(what, now);
    const waited = Math.max(0, ...[...this.#since.values()].map((since) => now - since));
    const silent = this.#progress.waited(now);
    if (Math.max(waited, silent) >= LONG_MS) {
      return "Python has not answered yet: it is busy or not there (then run the cell).";
    }
    return waited >= PATIENT_MS ? `Waiting for ${[...this.#since.keys()].join(", ")} …` : "";
  }

  /** Look again as long as something is missing. */
  again(redraw: () => void): void {
    clearTimeout(this.#timer);
    if (this.#since.size > 0 || this.#progress.waited(performance.now()) > 0) {
      this.#timer = setTimeout(redraw, 500);
    }
  }

  close(): void {
    clearTimeout(this.#timer);
  }

  #missing(): string[] {
    const get = this.#get;
    const data = this.#data;
    if (this.#progress.moving || data.count === 0) return [];
    const layout = get("arrangement");
    const missing: string[] = [];
    if (!data.layouts[layout]) {
      missing.push(`the layout “${LAYOUTS.find(([name]) => name === layout)?.[1] ?? layout}”`);
    }
    if (data.colour && data.colour.state.name !== get("colour")) missing.push("colours");
    if (data.border && data.border.state.name !== get("border")) missing.push("borders");
    if (get("seams") && data.layouts[layout] && !data.seams(layout)) missing.push("seams");
    return missing;
  }
}
