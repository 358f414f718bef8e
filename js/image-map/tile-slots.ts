/** Which row's tile lies in which slot of a pool's pages; what was not used for longest gives way. */

/** Side of a page in pixels: what every GPU takes. */
export const PAGE = 2048;

export class TileSlots {
  readonly columns: number;
  readonly perPage: number;
  readonly capacity: number;
  /** of each slot, width over height of its image */
  readonly aspect: Float32Array;
  /** of each slot, when its picture came, in milliseconds */
  readonly born: Float64Array;
  /** slots that were ever used */
  used = 0;
  readonly #slotOf: Int32Array;
  readonly #rowOf: Int32Array;
  readonly #stamps: Float64Array;
  // A doubly linked ring of slots from the one that was used last to the one to give way.
  readonly #newer: Int32Array;
  readonly #older: Int32Array;
  #newest = -1;
  #oldest = -1;

  constructor(
    /** side of a tile in pixels, a power of two */
    readonly tile: number,
    pages: number,
    rows: number,
  ) {
    this.columns = PAGE / tile;
    this.perPage = this.columns * this.columns;
    // Of a small set no slot more than it has rows.
    this.capacity = Math.min(pages * this.perPage, rows);
    this.aspect = new Float32Array(this.capacity).fill(1);
    this.born = new Float64Array(this.capacity);
    this.#slotOf = new Int32Array(rows).fill(-1);
    this.#rowOf = new Int32Array(this.capacity).fill(-1);
    this.#stamps = new Float64Array(this.capacity);
    this.#newer = new Int32Array(this.capacity).fill(-1);
    this.#older = new Int32Array(this.capacity).fill(-1);
  }

  /** The slot of a row's tile, -1 where it has none. */
  slot(row: number): number {
    return this.#slotOf[row] ?? -1;
  }

  /** The page of a slot, and where on it the tile lies. */
  corner(slot: number): { page: number; x: number; y: number } {
    const place = slot % this.perPage;
    return {
      page: Math.floor(slot / this.perPage),
      x: (place % this.columns) * this.tile,
      y: Math.floor(place / this.columns) * this.tile,
    };
  }

  /** A row's tile is used now: what has the present stamp does not give way. */
  touch(row: number, stamp: number): void {
    const slot = this.slot(row);
    if (slot < 0) return;
    this.#stamps[slot] = stamp;
    if (slot === this.#newest) return;
    this.#unlink(slot);
    this.#link(slot);
  }

  /** A slot for a row's tile: its own, a free one, or of what was not used for longest; -1: all are in use. */
  take(row: number, stamp: number): number {
    if (row < 0 || row >= this.#slotOf.length) return -1;
    let slot = this.slot(row);
    if (slot >= 0) {
      this.touch(row, stamp);
      return slot;
    }
    if (this.used < this.capacity) {
      slot = this.used;
      this.used += 1;
    } else {
      slot = this.#oldest;
      if (slot < 0 || this.#stamps[slot] === stamp) return -1;
      this.#slotOf[this.#rowOf[slot] as number] = -1;
      this.#unlink(slot);
    }
    this.#slotOf[row] = slot;
    this.#rowOf[slot] = row;
    this.#stamps[slot] = stamp;
    this.#link(slot);
    return slot;
  }

  #link(slot: number): void {
    this.#older[slot] = this.#newest;
    this.#newer[slot] = -1;
    if (this.#newest >= 0) this.#newer[this.#newest] = slot;
    this.#newest = slot;
    if (this.#oldest < 0) this.#oldest = slot;
  }

  #unlink(slot: number): void {
    const newer = this.#newer[slot] as number;
    const older = this.#older[slot] as number;
    if (newer >= 0) this.#older[newer] = older;
    else this.#newest = older;
    if (older >= 0) this.#newer[older] = newer;
    else this.#oldest = newer;
  }
}
