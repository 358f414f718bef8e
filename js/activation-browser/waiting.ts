/** Whether what shows is what was chosen, and what to say while it is not. */

import type { View } from "../shared/view.ts";
import type { Maps } from "./maps.ts";
import type { State } from "./state.ts";

export class Waiting {
  readonly #view: View;
  readonly #get: <K extends keyof State>(name: K) => State[K];
  #since = 0;

  constructor(view: View, get: <K extends keyof State>(name: K) => State[K]) {
    this.#view = view;
    this.#get = get;
  }

  /**
   * Says so while the kernel has not answered to a choice (or to an input, `asked` since when), and
   * gives whether the maps are old; asks itself again, since no event will.
   */
  show({ state }: Maps, asked: number): boolean {
    const get = this.#get;
    const layer = get("layer");
    const other =
      layer !== state.layer ||
      get("show") !== state.kind ||
      get("image") !== state.image ||
      get("compared") !== state.compared ||
      get("query") !== state.asked;
    if (!other && asked === 0) {
      this.#since = 0;
      this.#view.waiting("");
      return false;
    }
    if (this.#since === 0 || !other) this.#since = asked || performance.now();
    const waited = performance.now() - this.#since;
    const what = layer !== state.layer ? `layer ${layer}` : "the new picture";
    if (waited > 3000) {
      this.#view.waiting(
        `Python has not answered yet: it is busy, or was restarted (then run the cell again). Still showing layer ${state.layer}.`,
      );
    } else if (waited > 200) this.#view.waiting(`Working on ${what} …`);
    if (waited <= 3500) setTimeout(() => this.#view.redraw(), 200);
    return waited > 200;
  }
}
