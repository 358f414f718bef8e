/** Where one looks from, and how one gets from there to elsewhere. */

import type { Viewpoint } from "./scene.ts";
import {
  blended,
  bounded,
  type Extent,
  eased,
  flight,
  type Projection,
  projection,
  type Room,
  whole,
  zoomedAt,
} from "./viewpoint.ts";

/** Milliseconds of a flight, and of a step of zoom. */
export const FLIGHT = 600;
export const STEP = 180;

export class Camera {
  extent: Extent = { left: 0, top: 0, right: 65535, bottom: 65535 };
  room: Room = { width: 1, height: 1 };
  mostZoom = 64;
  #viewpoint: Viewpoint = whole(this.extent);
  /** all is looked at: also when the map changes */
  #whole = true;
  #way: { at(t: number): Viewpoint; start: number; length: number; end: Viewpoint } | null = null;
  #extents: { from: Extent; to: Extent; start: number } | null = null;

  get viewpoint(): Viewpoint {
    return this.#viewpoint;
  }

  /** Where the way ends that is under way. */
  get aim(): Viewpoint {
    return this.#way?.end ?? this.#viewpoint;
  }

  get isWhole(): boolean {
    return this.#whole;
  }

  get moving(): boolean {
    return this.#way !== null || this.#extents !== null;
  }

  get view(): Projection {
    return projection(this.#viewpoint, this.extent, this.room);
  }

  /** Be there at once. */
  jump(viewpoint: Viewpoint): void {
    this.#way = null;
    this.#whole = false;
    this.#viewpoint = bounded(viewpoint, this.extent, this.mostZoom);
  }

  /** See all, now and as the map changes. */
  showAll(milliseconds: number): void {
    const extent = this.#extents?.to ?? this.extent;
    this.go(whole(extent), milliseconds);
    this.#whole = true;
  }

  /** Go there, over what lies between. */
  go(to: Viewpoint, milliseconds: number): void {
    const end = bounded(to, this.#extents?.to ?? this.extent, this.mostZoom);
    this.#whole = false;
    if (milliseconds <= 0 || !motion()) {
      this.#way = null;
      this.#viewpoint = end;
      return;
    }
    const across = this.room.width / (this.view.scale / this.#viewpoint.zoom);
    const at = flight(this.#viewpoint, end, across);
    this.#way = { at, start: performance.now(), length: milliseconds, end };
  }

  /** The same way as rows go that move from place to place, so that one of them stays where it is. */
  goAlong(to: Viewpoint): void {
    const from = this.#viewpoint;
    const at = (t: number) => ({
      x: from.x + (to.x - from.x) * t,
      y: from.y + (to.y - from.y) * t,
      zoom: from.zoom * (to.zoom / from.zoom) ** t,
    });
    this.#whole = false;
    if (motion()) this.#way = { at, start: performance.now(), length: FLIGHT, end: to };
    else this.#viewpoint = to;
  }

  /** Move by CSS pixels. */
  pan(dx: number, dy: number): void {
    const { scale } = this.view;
    const { x, y, zoom } = this.#viewpoint;
    this.jump({ x: x - dx / scale, y: y - dy / scale, zoom });
  }

  /** Zoom by a factor where what is at a point stays there. */
  zoom(factor: number, at: { x: number; y: number }, milliseconds: number): void {
    const aim = this.aim;
    const view = projection(aim, this.extent, this.room);
    const zoom = Math.min(this.mostZoom, Math.max(1, aim.zoom * factor));
    if (zoom === 1 && factor < 1) this.showAll(milliseconds);
    else if (milliseconds > 0) this.go(zoomedAt(aim, view, at, zoom), milliseconds);
    else this.jump(zoomedAt(aim, view, at, zoom));
  }

  /** The map covers this now. */
  cover(extent: Extent, milliseconds: number): void {
    if (milliseconds > 0 && motion()) {
      this.#extents = { from: this.extent, to: extent, start: performance.now() };
    } else {
      this.#extents = null;
      this.extent = extent;
    }
    if (this.#whole && !this.#way) this.#viewpoint = whole(this.extent);
  }

  /** Go on to this time; true while there is more to come. */
  advance(now: number): boolean {
    if (this.#extents) {
      const t = (now - this.#extents.start) / FLIGHT;
      this.extent = blended(this.#extents.from, this.#extents.to, eased(t));
      if (t >= 1) this.#extents = null;
      if (this.#whole) {
        this.#way = null;
        this.#viewpoint = whole(this.extent);
      }
    }
    if (this.#way) {
      const t = (now - this.#way.start) / this.#way.length;
      this.#viewpoint = t >= 1 ? this.#way.end : this.#way.at(eased(t));
      if (t >= 1) this.#way = null;
    }
    return this.moving;
  }
}

/** Whether the person takes things that move. */
export function motion(): boolean {
  return !matchMedia("(prefers-reduced-motion: reduce)").matches;
}
