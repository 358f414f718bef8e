/** Pictures of rows: asks for what is in view, keeps what came in slots, and hands it to a painter. */

import { contextOf } from "../shared/canvas.ts";
import type { Answer, Requests, WireArray } from "../shared/wire.ts";
import type { Painter } from "./painter.ts";
import type { TilesState } from "./state.ts";
import { PAGE, TileSlots } from "./tile-slots.ts";

/** Sides of tiles in pixels, and how many are asked for at once. */
export const SIDES = [32, 128, 256] as const;
const BATCH = [256, 64, 16] as const;
/** The pool that lists and cards are painted from. */
const CARD = 1;
/** Milliseconds: after a failure, and where nothing came at all, as with no kernel. */
const PAUSE = 3000;
const SILENCE = 15_000;

export interface Listener {
  /** pictures of these rows came: draw anew */
  came(rows: ArrayLike<number>): void;
  /** a picture came that `thumbnail` was asked for */
  listed(): void;
  failed(message: string): void;
}

/** Paints a part of a source on a canvas of the caller's. */
export type PaintTile = (
  source: CanvasImageSource,
  sx: number,
  sy: number,
  sw: number,
  sh: number,
) => void;

interface Sheet {
  state: TilesState;
  arrays: Map<string, WireArray>;
}

export class TileStore {
  /** changes with each picture that comes or goes */
  version = 0;
  /** when the last picture came */
  latest = Number.NEGATIVE_INFINITY;
  pools: TileSlots[] = [];
  #painter: Painter | null = null;
  #stamp = 0;
  /** rows without a picture as it should be, by pool, the most wanted first */
  #wanted: number[][] = [[], [], []];
  #listed = new Set<number>();
  #asked = Number.NEGATIVE_INFINITY;
  #timer = 0;
  #saved: Sheet | null = null;
  #cards: TileSlots | null = null;
  #sheet: HTMLCanvasElement | null = null;
  /** rows whose card is only a small tile made larger */
  readonly #coarse = new Set<number>();
  /** counts sets of images: what was asked of another one is dropped */
  #set = 0;

  constructor(
    readonly requests: Requests,
    readonly hands: Listener,
  ) {}

  /** Begin anew with other images, or another painter. */
  reset(painter: Painter, rows: number): void {
    this.#painter = painter;
    painter.clear();
    this.pools = SIDES.map((side, i) => new TileSlots(side, painter.pages[i] as number, rows));
    this.#cards = new TileSlots(SIDES[CARD], 1, rows);
    this.#coarse.clear();
    this.#listed.clear();
    this.#wanted = [[], [], []];
    this.#set += 1;
    this.#asked = Number.NEGATIVE_INFINITY;
    this.version += 1;
    if (this.#saved) void this.#take(this.#saved, -1);
  }

  /** The pool for pictures of this many device pixels. */
  poolFor(side: number): number {
    return side <= 48 ? 0 : side <= 176 ? 1 : 2;
  }

  /** Pool and slot of the best picture of a row there is, given the pool that fits; null for none. */
  find(row: number, pool: number): { pool: number; slot: number } | null {
    for (const other of ORDER[pool] as number[]) {
      const slot = this.pools[other]?.slot(row) ?? -1;
      if (slot >= 0) return { pool: other, slot };
    }
    return null;
  }

  /** These rows are in view, the most wanted first, and should have pictures of this pool. */
  want(rows: ArrayLike<number>, pool: number): void {
    this.#stamp += 1;
    const bare: number[] = [];
    const coarse: number[] = [];
    const fine = this.pools[pool]?.capacity ?? 0;
    const most = this.pools[0]?.capacity ?? 0;
    for (let i = 0; i < Math.min(rows.length, most); i++) {
      const row = rows[i] as number;
      const found = this.find(row, pool);
      if (found) (this.pools[found.pool] as TileSlots).touch(row, this.#stamp);
      if (!found) bare.push(row);
      else if (found.pool < pool && i < fine) coarse.push(row);
    }
    this.#wanted = [[], [], []];
    // Something small of each first, if they are many.
    const first = pool > 0 && bare.length <= (BATCH[pool] as number) ? pool : 0;
    (this.#wanted[first] as number[]).push(...bare);
    (this.#wanted[pool] as number[]).push(...coarse);
    this.#ask();
  }

  /** How many pictures are still asked for. */
  get missing(): number {
    return this.#wanted.reduce((sum, rows) => sum + rows.length, 0);
  }

  /** Keep pictures that were saved, and show them. */
  keep(state: TilesState, arrays: Map<string, WireArray>): void {
    this.#saved = { state, arrays };
    if (this.#painter) void this.#take(this.#saved, -1);
  }

  /** Paint a picture of a row; false if there is none yet, or only a coarse one, which is painted. */
  thumbnail(row: number, paint: PaintTile): boolean {
    const cards = this.#cards;
    const slot = cards?.slot(row) ?? -1;
    if (slot < 0 || this.#coarse.has(row)) {
      this.#listed.add(row);
      this.#ask();
    }
    if (!cards || !this.#sheet || slot < 0) return false;
    cards.touch(row, 0);
    const { x, y } = cards.corner(slot);
    const [width, height] = cardSides(cards.aspect[slot] as number);
    paint(this.#sheet, x, y, width, height);
    return !this.#coarse.has(row);
  }

  /** Width over height of a row's image, 1 where that is not known yet. */
  aspect(row: number): number {
    for (const slots of this.pools) {
      const slot = slots.slot(row);
      if (slot >= 0) return slots.aspect[slot] as number;
    }
    return this.#cards?.aspect[this.#cards.slot(row)] ?? 1;
  }

  close(): void {
    clearTimeout(this.#timer);
    this.#painter = null;
    this.#set += 1;
  }

  /** Ask for what is wanted most, unless an answer is awaited. */
  #ask(): void {
    const now = performance.now();
    const rest = this.#asked + SILENCE - now;
    if (rest > 0 || !this.#painter) return;
    const listed = this.#listed.size > 0;
    const pool = listed ? CARD : this.#wanted.findIndex((rows) => rows.length > 0);
    if (pool < 0) return;
    const rows = (listed ? [...this.#listed] : (this.#wanted[pool] as number[])).slice(
      0,
      BATCH[pool],
    );
    this.#asked = now;
    const set = this.#set;
    this.requests.ask(
      "tiles",
      { tile: SIDES[pool], rows },
      (answer) => void this.#answered(answer, rows, pool, set),
      (message) => {
        if (set !== this.#set) return;
        this.hands.failed(message);
        this.#rest();
      },
    );
    this.#again(SILENCE);
  }

  #again(after: number): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#ask(), after + 20) as unknown as number;
  }

  /** Ask no more for a while. */
  #rest(): void {
    this.#asked = performance.now() - SILENCE + PAUSE;
    this.#again(PAUSE);
  }

  async #answered(answer: Answer, asked: number[], pool: number, set: number): Promise<void> {
    if (set !== this.#set) return;
    const sheet = { state: answer.fields as unknown as TilesState, arrays: answer.arrays };
    const rows = await this.#take(sheet, pool);
    if (set !== this.#set) return;
    for (const row of rows) this.#listed.delete(row);
    const came = new Set(rows);
    this.#wanted[pool] = (this.#wanted[pool] as number[]).filter((row) => !came.has(row));
    if (!asked.some((row) => came.has(row))) this.#rest();
    else {
      this.#asked = Number.NEGATIVE_INFINITY;
      this.#ask();
    }
  }

  /** Decode a sheet into slots; the rows that it had. Saved tiles (pool -1) go where they fit. */
  async #take(sheet: Sheet, asked: number): Promise<number[]> {
    const set = this.#set;
    const { tile, columns } = sheet.state;
    const rows = sheet.arrays.get("rows")?.data ?? [];
    const bytes = sheet.arrays.get("sheet")?.data;
    if (!bytes?.length || !rows.length || !(tile > 0 && columns > 0)) return [];
    let pixels: ImageData;
    const pool = asked < 0 ? this.poolFor(tile) : asked;
    const side = SIDES[pool] as number;
    try {
      pixels = await decoded(bytes as Uint8Array<ArrayBuffer>, columns, rows.length, tile, side);
    } catch {
      if (set === this.#set) this.hands.failed("pictures came that this browser cannot decode");
      return [];
    }
    if (set !== this.#set) return [];
    const aspect = sheet.arrays.get("aspect")?.data;
    const now = performance.now();
    for (let i = 0; i < rows.length; i++) {
      const row = rows[i] as number;
      const [x, y] = [(i % columns) * side, Math.floor(i / columns) * side];
      this.#put(pool, row, pixels, x, y, aspect?.[i] ?? 1, now);
      if (pool === CARD || asked < 0) this.#card(row, pixels, x, y, side, aspect?.[i] ?? 1);
    }
    this.version += 1;
    this.latest = now;
    this.hands.came(rows);
    return Array.from(rows);
  }

  #put(
    pool: number,
    row: number,
    pixels: ImageData,
    x: number,
    y: number,
    aspect: number,
    now: number,
  ): void {
    const slots = this.pools[pool] as TileSlots;
    // A finer picture takes the place of a coarser one at once; only the first comes up slowly.
    const known = this.find(row, pool) !== null;
    const slot = slots.take(row, this.#stamp);
    if (slot < 0) return;
    slots.aspect[slot] = aspect;
    slots.born[slot] = known ? Number.NEGATIVE_INFINITY : now;
    this.#painter?.put(pool, slots, slot, pixels, x, y);
  }

  /** Keep a picture in its own proportions for `thumbnail`. */
  #card(row: number, pixels: ImageData, x: number, y: number, side: number, aspect: number): void {
    const cards = this.#cards as TileSlots;
    const coarse = side < SIDES[CARD];
    if (coarse && cards.slot(row) >= 0) return;
    // Of pictures for the map itself only those that a list asked for.
    if (!coarse && !this.#listed.has(row) && cards.slot(row) < 0) return;
    // Nothing in a list is in use for longer than a paint, so the oldest always gives way.
    const slot = cards.take(row, Number.NaN);
    if (slot < 0) return;
    cards.aspect[slot] = aspect;
    if (!this.#sheet) {
      this.#sheet = document.createElement("canvas");
      this.#sheet.width = this.#sheet.height = PAGE;
    }
    const part = document.createElement("canvas");
    part.width = part.height = side;
    contextOf(part).putImageData(pixels, -x, -y, x, y, side, side);
    const corner = cards.corner(slot);
    const [width, height] = cardSides(aspect);
    contextOf(this.#sheet).drawImage(part, corner.x, corner.y, width, height);
    if (coarse) this.#coarse.add(row);
    else this.#coarse.delete(row);
    this.hands.listed();
  }
}

/** Pools to look in for each pool that fits: it, then finer ones, then coarser ones. */
const ORDER = [
  [0, 1, 2],
  [1, 2, 0],
  [2, 1, 0],
];

/** Sides of a card's picture in pixels. */
function cardSides(aspect: number): [number, number] {
  const side = SIDES[CARD];
  return [
    Math.max(1, Math.round(side * Math.min(1, aspect))),
    Math.max(1, Math.round(side * Math.min(1, 1 / aspect))),
  ];
}

/** The pixels of a sheet of `count` tiles, scaled so that a tile has this side. */
async function decoded(
  bytes: Uint8Array<ArrayBuffer>,
  columns: number,
  count: number,
  tile: number,
  side: number,
): Promise<ImageData> {
  const bitmap = await createImageBitmap(new Blob([bytes], { type: "image/jpeg" }), {
    colorSpaceConversion: "none",
    premultiplyAlpha: "none",
  });
  const canvas = document.createElement("canvas");
  const lines = Math.ceil(count / columns);
  canvas.width = columns * side;
  canvas.height = lines * side;
  const context = canvas.getContext("2d", { willReadFrequently: true });
  if (!context) throw new Error("this browser gave no canvas to draw on");
  const [width, height] = [columns * tile, lines * tile];
  context.drawImage(bitmap, 0, 0, width, height, 0, 0, canvas.width, canvas.height);
  bitmap.close();
  return context.getImageData(0, 0, canvas.width, canvas.height);
}
