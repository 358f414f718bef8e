/** What lies wholly behind other pictures is neither asked for nor drawn. */

/** Cells along the side of a picture. */
const FINE = 6;

/** Which parts of a plane are covered, in cells that are a part of a picture. */
export class Cover {
  readonly #covered: Uint8Array;
  readonly #columns: number;
  readonly #rows: number;
  readonly #cell: number;

  constructor(
    readonly left: number,
    readonly top: number,
    right: number,
    bottom: number,
    /** side of a picture, in the same unit */
    side: number,
    /** cells of a thing that must be open for it to show */
    readonly least = 1,
  ) {
    this.#cell = Math.max(side / FINE, (right - left) / 2000, (bottom - top) / 2000, 1e-9);
    this.#columns = Math.max(1, Math.ceil((right - left) / this.#cell));
    this.#rows = Math.max(1, Math.ceil((bottom - top) / this.#cell));
    this.#covered = new Uint8Array(this.#columns * this.#rows);
  }

  /** Whether something of a box shows behind what was put before it; what does covers what follows. */
  put(x: number, y: number, width: number, height: number): boolean {
    const x0 = (x - width / 2 - this.left) / this.#cell;
    const x1 = (x + width / 2 - this.left) / this.#cell;
    const y0 = (y - height / 2 - this.top) / this.#cell;
    const y1 = (y + height / 2 - this.top) / this.#cell;
    if (!this.#open(x0, y0, x1, y1)) return false;
    // Only cells that are covered as a whole count, so nothing that shows is ever left out.
    const right = Math.min(this.#columns, Math.floor(x1));
    const left = Math.min(right, Math.max(0, Math.ceil(x0)));
    for (let row = Math.max(0, Math.ceil(y0)); row < Math.min(this.#rows, Math.floor(y1)); row++) {
      this.#covered.fill(1, row * this.#columns + left, row * this.#columns + right);
    }
    return true;
  }

  #open(x0: number, y0: number, x1: number, y1: number): boolean {
    const right = Math.min(this.#columns - 1, Math.ceil(x1) - 1);
    const bottom = Math.min(this.#rows - 1, Math.ceil(y1) - 1);
    let open = 0;
    for (let row = Math.max(0, Math.floor(y0)); row <= bottom; row++) {
      for (let column = Math.max(0, Math.floor(x0)); column <= right; column++) {
        if (this.#covered[row * this.#columns + column] !== 0) continue;
        open += 1;
        if (open >= this.least) return true;
      }
    }
    return false;
  }
}
