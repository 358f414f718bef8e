/** What is in view: arithmetic between units of place and CSS pixels, and the way of a flight. */

import type { Viewpoint } from "./scene.ts";

/** A box in units of place. */
export interface Extent {
  left: number;
  top: number;
  right: number;
  bottom: number;
}

/** CSS pixels of the stage. */
export interface Room {
  width: number;
  height: number;
}

/** How a viewpoint shows in a room: `screen = (place - middle) * scale + half the room`. */
export interface Projection extends Room {
  x: number;
  y: number;
  /** CSS pixels a unit of place */
  scale: number;
}

/** CSS pixels left free round a map that is shown whole. */
const MARGIN = 12;
/** A map of one image, or of identical ones, is shown as if it were this wide. */
const LEAST_EXTENT = 2000;

/** What all these places cover. */
export function extentOf(places: Uint16Array): Extent {
  const extent = { left: 65535, top: 65535, right: 0, bottom: 0 };
  for (let i = 0; i < places.length; i += 2) {
    const x = places[i] as number;
    const y = places[i + 1] as number;
    if (x < extent.left) extent.left = x;
    if (x > extent.right) extent.right = x;
    if (y < extent.top) extent.top = y;
    if (y > extent.bottom) extent.bottom = y;
  }
  return places.length ? extent : { left: 0, top: 0, right: 65535, bottom: 65535 };
}

/** An extent with this much more on each side. */
export function widened(extent: Extent, by: number): Extent {
  return {
    left: extent.left - by,
    top: extent.top - by,
    right: extent.right + by,
    bottom: extent.bottom + by,
  };
}

export function blended(from: Extent, to: Extent, t: number): Extent {
  const mix = (a: number, b: number) => a + (b - a) * t;
  return {
    left: mix(from.left, to.left),
    top: mix(from.top, to.top),
    right: mix(from.right, to.right),
    bottom: mix(from.bottom, to.bottom),
  };
}

/** CSS pixels a unit of place where the whole extent is in view. */
export function fittingScale(extent: Extent, room: Room): number {
  const across = Math.max(LEAST_EXTENT, extent.right - extent.left);
  const down = Math.max(LEAST_EXTENT, extent.bottom - extent.top);
  return Math.max(
    1e-6,
    Math.min(
      Math.max(1, room.width - 2 * MARGIN) / across,
      Math.max(1, room.height - 2 * MARGIN) / down,
    ),
  );
}

export function whole(extent: Extent): Viewpoint {
  return {
    x: (extent.left + extent.right) / 2,
    y: (extent.top + extent.bottom) / 2,
    zoom: 1,
  };
}

export function projection(viewpoint: Viewpoint, extent: Extent, room: Room): Projection {
  const scale = fittingScale(extent, room) * viewpoint.zoom;
  return { x: viewpoint.x, y: viewpoint.y, scale, width: room.width, height: room.height };
}

export function toScreen(view: Projection, x: number, y: number): { x: number; y: number } {
  return {
    x: (x - view.x) * view.scale + view.width / 2,
    y: (y - view.y) * view.scale + view.height / 2,
  };
}

export function toPlace(view: Projection, x: number, y: number): { x: number; y: number } {
  return {
    x: (x - view.width / 2) / view.scale + view.x,
    y: (y - view.height / 2) / view.scale + view.y,
  };
}

/** The places in view. */
export function inView(view: Projection): Extent {
  const across = view.width / 2 / view.scale;
  const down = view.height / 2 / view.scale;
  return {
    left: view.x - across,
    top: view.y - down,
    right: view.x + across,
    bottom: view.y + down,
  };
}

/** The same with another zoom, where what is at a point of the screen stays there. */
export function zoomedAt(
  viewpoint: Viewpoint,
  view: Projection,
  at: { x: number; y: number },
  zoom: number,
): Viewpoint {
  const place = toPlace(view, at.x, at.y);
  const less = viewpoint.zoom / zoom;
  return {
    x: place.x + (viewpoint.x - place.x) * less,
    y: place.y + (viewpoint.y - place.y) * less,
    zoom,
  };
}

/** A viewpoint within bounds: the middle stays on the map. */
export function bounded(viewpoint: Viewpoint, extent: Extent, mostZoom: number): Viewpoint {
  const clamp = (v: number, low: number, high: number) => Math.min(high, Math.max(low, v));
  return {
    x: clamp(viewpoint.x, extent.left, extent.right),
    y: clamp(viewpoint.y, extent.top, extent.bottom),
    zoom: clamp(viewpoint.zoom, 0.5, mostZoom),
  };
}

/** The viewpoint that shows an extent, with room about it; not nearer than `mostZoom`. */
export function showing(extent: Extent, all: Extent, room: Room, mostZoom: number): Viewpoint {
  const fit = fittingScale(widened(extent, 0), room) / fittingScale(all, room);
  return { ...whole(extent), zoom: Math.min(mostZoom, Math.max(1, fit * 0.8)) };
}

/**
 * The way between two viewpoints as a function of 0 to 1: far away it goes out first, then over, then
 * in, so that one sees where one gets to (van Wijk & Nuij 2003, "Smooth and efficient zooming and
 * panning"). `across` is what is in view at zoom 1, in units of place.
 */
export function flight(from: Viewpoint, to: Viewpoint, across: number): (t: number) => Viewpoint {
  const RHO = 1.3;
  const w0 = across / from.zoom;
  const w1 = across / to.zoom;
  const dx = to.x - from.x;
  const dy = to.y - from.y;
  const way = Math.hypot(dx, dy);
  if (way < 1e-3 * Math.min(w0, w1)) {
    const ratio = to.zoom / from.zoom;
    return (t) => ({ x: from.x + dx * t, y: from.y + dy * t, zoom: from.zoom * ratio ** t });
  }
  const rho2 = RHO * RHO;
  const turn = (w: number, sign: number) => {
    const b = (w1 * w1 - w0 * w0 + sign * rho2 * rho2 * way * way) / (2 * w * rho2 * way);
    return Math.log(Math.sqrt(b * b + 1) - b);
  };
  const r0 = turn(w0, 1);
  const r1 = turn(w1, -1);
  const length = (r1 - r0) / RHO;
  return (t) => {
    if (t >= 1) return { ...to };
    const s = RHO * length * t + r0;
    const gone = (w0 / rho2) * (Math.cosh(r0) * Math.tanh(s) - Math.sinh(r0));
    return {
      x: from.x + (dx * gone) / way,
      y: from.y + (dy * gone) / way,
      zoom: (from.zoom * Math.cosh(s)) / Math.cosh(r0),
    };
  };
}

/** Slow, fast, slow. */
export function eased(t: number): number {
  return t <= 0 ? 0 : t >= 1 ? 1 : t * t * (3 - 2 * t);
}
