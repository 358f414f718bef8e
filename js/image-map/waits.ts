/** What the view waits for, in a quiet line; a page without a kernel is told so. */

import type { Channel } from "../shared/wire.ts";
import type { Hands } from "./hands.ts";
import type { MapData } from "./map-data.ts";
import type { Progress } from "./progress.ts";
import { LAYOUTS } from "./toolbar.ts";

/** Milliseconds until a view says that it waits, and until it says what may be the matter. */
const [PATIENT_MS, LONG_MS] = [300, 5000];

const SLOW = "Python has not answered yet: it is busy or not there (then run the cell).";
const GONE = "There is no Python behind this page: run the cell.";

/** The way to Python, which notes when nothing comes back. */
export class Line implements Channel {
  /** why there is no answer; empty as long as answers come */
  silence = "";
  readonly on: Channel["on"];
  readonly off: Channel["off"];
  #timer: ReturnType<typeof setTimeout> | undefined;

  readonly #channel: Channel;
  readonly #changed: () => void;

  constructor(channel: Channel, signal: AbortSignal, changed: () => void) {
    this.#channel = channel;
    this.#changed = changed;
    this.on = channel.on.bind(channel);
    this.off = channel.off.bind(channel);
    const heard = () => this.#say("");
    channel.on("msg:custom", heard);
    signal.addEventListener("abort", () => {
      clearTimeout(this.#timer);
      channel.off("msg:custom", heard);
    });
  }

  readonly send: Channel["send"] = (content, callbacks, buffers) => {
    this.#timer ??= setTimeout(() => this.#say(SLOW), LONG_MS);
    try {
      this.#channel.send(content, callbacks, buffers);
    } catch (error) {
      // Lab throws where no kernel is behind the page.
      this.#say(GONE);
      throw error;
    }
  };

  #say(silence: string): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    if (silence === this.silence) return;
    this.silence = silence;
    this.#changed();
  }
}

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

  /** `blank`: whether pictures are missing that are on the page. */
  text(now: number, silence: string, blank: boolean): string {
    const missing = this.#missing();
    for (const what of this.#since.keys()) if (!missing.includes(what)) this.#since.delete(what);
    for (const what of missing) if (!this.#since.has(what)) this.#since.set(what, now);
    const waited = Math.max(0, ...[...this.#since.values()].map((since) => now - since));
    const waits = missing.length > 0 ? `Waiting for ${missing.join(", ")} … ` : "";
    if (Math.max(waited, this.#progress.waited(now)) >= LONG_MS || (silence && waits)) {
      return waits + (silence || SLOW);
    }
    if (silence && blank) return "Pictures that are missing were not saved: they need Python.";
    return waited >= PATIENT_MS ? waits : "";
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
    const label = (name: string) =>
      get("layers").find((layer) => layer.name === name)?.label ?? name;
    const missing: string[] = [];
    if (!data.layouts[layout]) {
      missing.push(`the layout “${LAYOUTS.find(([name]) => name === layout)?.[1] ?? layout}”`);
    }
    for (const which of ["colour", "border"] as const) {
      const wanted = get(which);
      if (wanted !== "" && (data[which]?.state.name ?? "none") !== wanted)
        missing.push(`the ${which} “${label(wanted)}”`);
    }
    if (get("seams") && data.layouts[layout] && !data.seams(layout)) missing.push("seams");
    return missing;
  }
}
