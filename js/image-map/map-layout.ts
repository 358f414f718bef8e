/** Where rows are and come from, and what follows from it: order, levels, the index. */

import { firstLevels, HIDDEN, priorityOrder, quickLevels, spacedLevels } from "./detail.ts";
import { PlaceIndex } from "./place-index.ts";
import type { Scene } from "./scene.ts";
import { type Extent, eased, extentOf, widened } from "./viewpoint.ts";

export class MapLayout {
  places: Uint16Array = new Uint16Array();
  /** what rows move from; `places` where nothing moves */
  from: Uint16Array = this.places;
  /** rows by priority, and of each row its place in that order */
  order: Uint32Array = new Uint32Array();
  ranks = new Uint32Array();
  extent: Extent = extentOf(this.places);
  index = new PlaceIndex(this.places, new Uint8Array(), this.order);
  #inks: Uint8Array = new Uint8Array();
  #live = false;
  #start = Number.NEGATIVE_INFINITY;
  #length = 1;

  /** Take over what a scene says; "moved" where rows go elsewhere, "anew" where they are others. */
  take(scene: Scene, now: number, milliseconds: number): "same" | "moved" | "anew" {
    const { count, places, inks, live } = scene;
    const anew = count !== this.ranks.length;
    const moved = places !== this.places;
    if (anew) {
      this.order = priorityOrder(count);
      this.ranks = new Uint32Array(count);
      this.order.forEach((row, rank) => {
        this.ranks[row] = rank;
      });
    }
    if (anew || moved) {
      const slow = !anew && milliseconds > 0;
      this.from = slow ? this.#present(now) : places;
      this.#start = slow ? now : Number.NEGATIVE_INFINITY;
      this.#length = Math.max(1, milliseconds);
      this.places = places;
      this.extent = widened(extentOf(places), scene.cell / 2);
    }
    const ended = this.#live && !live;
    if (anew || moved || ended || (inks !== this.#inks && this.#othersHidden(inks))) {
      const first = firstLevels(places, this.ranks, inks);
      const levels = live ? quickLevels(first) : spacedLevels(places, first, this.order);
      this.index = new PlaceIndex(places, levels, this.order);
    }
    this.#live = live;
    this.#inks = inks;
    return anew ? "anew" : moved ? "moved" : "same";
  }

  /** How far rows have come, 0 to 1. */
  moved(now: number): number {
    return this.from === this.places ? 1 : eased((now - this.#start) / this.#length);
  }

  /** They are there: forget where they came from. */
  arrive(): void {
    this.from = this.places;
  }

  placeOf(row: number, now: number): [number, number] {
    const t = this.moved(now);
    const [x, y] = [this.places[2 * row] as number, this.places[2 * row + 1] as number];
    const [x0, y0] = [this.from[2 * row] as number, this.from[2 * row + 1] as number];
    return t >= 1 ? [x, y] : [x0 + (x - x0) * t, y0 + (y - y0) * t];
  }

  /** Where all are at this moment, on their way or not. */
  #present(now: number): Uint16Array {
    const t = this.moved(now);
    if (t >= 1) return this.places;
    return Uint16Array.from(this.places, (to, i) => {
      const from = this.from[i] as number;
      return Math.round(from + (to - from) * t);
    });
  }

  /** Whether other rows than now are not drawn with these inks. */
  #othersHidden(inks: Uint8Array): boolean {
    const { first } = this.index;
    for (let row = 0; row < first.length; row++) {
      if ((inks[4 * row + 3] === 0) !== (first[row] === HIDDEN)) return true;
    }
    return false;
  }
}
