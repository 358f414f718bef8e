/** Strips of patches: asked for, decoded, and kept up to a bound of memory. */

import type { Requests, TypedArray, WireArray } from "../shared/wire.ts";
import type { Show, StripsState } from "./state.ts";

/** Pixels of decoded strips that are kept, at four bytes each. */
const KEPT_PIXELS = 24e6;
/** Milliseconds after which channels that were asked for are asked for again. */
const FORGET_MS = 10_000;

export interface Strip {
  bitmap: ImageBitmap | null;
  tile: number;
  patches: number;
}

/** What strips are asked for. */
export interface Wanted {
  layer: string;
  show: Show;
  patches: number;
  tile: number;
}

/** The files of an answer: one after the other, with their lengths. */
export function filesOf(arrays: Map<string, WireArray>): Uint8Array<ArrayBuffer>[] {
  const bytes = arrays.get("bytes")?.data as Uint8Array<ArrayBuffer> | undefined;
  const lengths: TypedArray | number[] = arrays.get("lengths")?.data ?? [];
  if (!bytes) return [];
  let at = 0;
  return Array.from(lengths, (length) => {
    at += length;
    return bytes.subarray(at - length, at);
  });
}

/** The type of an image file by its first bytes; a browser shows nothing else here. */
export function typeOf(file: Uint8Array): string {
  if (file[0] === 0x89 && file[1] === 0x50) return "image/png";
  if (file[0] === 0xff && file[1] === 0xd8) return "image/jpeg";
  if (file[0] === 0x52 && file[8] === 0x57) return "image/webp";
  throw new Error("expected a PNG, JPEG or WebP file, got something else");
}

export type Decode = (file: Uint8Array<ArrayBuffer>) => Promise<ImageBitmap>;

export const decodeFile: Decode = async (file) =>
  createImageBitmap(new Blob([file], { type: typeOf(file) }));

export class Strips {
  /** oldest use first */
  readonly #kept = new Map<string, Strip>();
  #pixels = 0;
  /** the newest question, and the one that the kernel works on */
  #newest: Question | null = null;
  #working: Question | null = null;
  #failing = false;

  readonly #requests: Pick<Requests, "ask">;
  readonly #changed: () => void;
  readonly #failed: (message: string) => void;
  readonly #decode: Decode;
  readonly #most: number;

  constructor(
    requests: Pick<Requests, "ask">,
    changed: () => void,
    failed: (message: string) => void,
    decode: Decode = decodeFile,
    most = KEPT_PIXELS,
  ) {
    this.#requests = requests;
    this.#changed = changed;
    this.#failed = failed;
    this.#decode = decode;
    this.#most = most;
  }

  /** Milliseconds since a question waits for its answer; 0 where none does. */
  waited(now: number): number {
    return this.#working ? now - this.#working.at : 0;
  }

  /** What there is to draw; perhaps coarser or shorter than wanted. */
  get(wanted: Wanted, channel: number): Strip | null {
    const key = keyOf(wanted, channel);
    const strip = this.#kept.get(key);
    if (!strip) return null;
    this.#kept.delete(key);
    this.#kept.set(key, strip);
    return strip;
  }

  /** Whether nothing better can be asked for. */
  has(wanted: Wanted, channel: number): boolean {
    const strip = this.#kept.get(keyOf(wanted, channel));
    return strip !== undefined && strip.tile >= wanted.tile && strip.patches >= wanted.patches;
  }

  /** Whether the answer that the kernel works on brings it. */
  coming(wanted: Wanted, channel: number, now: number): boolean {
    const working = this.#working;
    return (
      working !== null &&
      working.key === questionKey(wanted) &&
      working.channels.includes(channel) &&
      now - working.at < FORGET_MS
    );
  }

  /** Ask for these; a question that waits for its turn is replaced, one under way is not. */
  ask(wanted: Wanted, channels: number[], now: number): void {
    if (channels.length === 0) return;
    const question: Question = { key: questionKey(wanted), channels, at: now };
    const newest = this.#newest;
    const same = newest?.key === question.key && String(newest.channels) === String(channels);
    if (same && now - (newest as Question).at < FORGET_MS) return;
    this.#newest = question;
    this.#working ??= question;
    this.#requests.ask(
      "rows",
      { ...wanted, channels },
      ({ fields, arrays }) => {
        this.#done(question);
        if (this.#failing) this.#failed("");
        this.#failing = false;
        this.take(fields as unknown as StripsState, arrays, wanted.patches);
      },
      (message) => {
        // Not asked again until something else is wanted: it would fail again.
        this.#working = null;
        this.#failing = true;
        this.#failed(message);
      },
    );
  }

  /** Take strips that came, by an answer or by a trait. */
  take(state: StripsState, arrays: Map<string, WireArray>, patches = state.patches): void {
    filesOf(arrays).forEach((file, i) => {
      const channel = state.channels[i];
      if (channel === undefined) return;
      const key = keyOf(state, channel);
      const { tile } = state;
      const now = this.#kept.get(key);
      if (now && now.tile >= tile && now.patches >= patches) return;
      // Its place is taken at once, so that it is not asked for while it is decoded.
      const strip: Strip = { bitmap: now?.bitmap ?? null, tile, patches };
      this.#keep(key, strip);
      this.#decode(file).then(
        (bitmap) => {
          if (this.#kept.get(key) !== strip) return bitmap.close();
          strip.bitmap?.close();
          strip.bitmap = bitmap;
          this.#changed();
        },
        (error) => this.#failed(`The patches of channel ${channel} cannot be drawn: ${error}`),
      );
    });
    this.#changed();
  }

  close(): void {
    for (const strip of this.#kept.values()) strip.bitmap?.close();
    this.#kept.clear();
  }

  #done(question: Question): void {
    const newest = this.#newest;
    this.#working = newest === question ? null : newest;
  }

  #keep(key: string, strip: Strip): void {
    const before = this.#kept.get(key);
    if (before) this.#pixels -= sizeOf(before);
    this.#kept.delete(key);
    this.#kept.set(key, strip);
    this.#pixels += sizeOf(strip);
    for (const [oldest, old] of this.#kept) {
      if (this.#pixels <= this.#most || oldest === key) break;
      this.#pixels -= sizeOf(old);
      old.bitmap?.close();
      this.#kept.delete(oldest);
    }
  }
}

interface Question {
  key: string;
  channels: number[];
  at: number;
}

function sizeOf({ tile, patches }: Strip): number {
  return tile * tile * patches;
}

function keyOf({ layer, show }: { layer: string; show: Show }, channel: number): string {
  return `${channel} ${show} ${layer}`;
}

function questionKey({ layer, show, patches, tile }: Wanted): string {
  return `${tile} ${patches} ${show} ${layer}`;
}
