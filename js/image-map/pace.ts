/** Draws less while things move on a machine that cannot draw all of it in time. */

/** Milliseconds from frame to frame: slower is too slow, quicker leaves room for more. */
const SLOW = 55;
const QUICK = 24;
/** The most that is left out: all but every 32nd; a stride has at most 255 bytes. */
const MOST = 32;
/** So many dots are quick to draw on any machine. */
const SURE = 50_000;
/** Frames on end that must be quick for more to be drawn. */
const TRIES = 10;

export class Pace {
  /** while things move, every so many-th dot is drawn */
  stride = 1;
  #last = Number.NEGATIVE_INFINITY;
  #slow = 0;
  #quick = 0;

  /** So many rows from now on; of many only a part is drawn until that proves quick. */
  begin(rows: number): void {
    const most = 2 ** Math.ceil(Math.log2(Math.max(1, rows / SURE)));
    this.#set(Math.min(MOST, most));
  }

  /** A frame was drawn while things move; `load` is how many rows it could have drawn. */
  beat(now: number, load: number): void {
    const step = now - this.#last;
    this.#last = now;
    // After a pause the first step says nothing.
    if (step > 4000) return;
    this.#slow = step > SLOW ? this.#slow + 1 : 0;
    this.#quick = step < QUICK ? this.#quick + 1 : 0;
    // Much too slow needs no second sight.
    const times = step > 4 * SLOW ? 4 : this.#slow >= 2 ? 2 : 1;
    if (times > 1 && load > 5000 * this.stride) this.#set(Math.min(MOST, times * this.stride));
    else if (this.#quick >= TRIES) this.#set(Math.max(1, this.stride / 2));
  }

  #set(stride: number): void {
    this.stride = stride;
    this.#slow = 0;
    this.#quick = 0;
  }
}
