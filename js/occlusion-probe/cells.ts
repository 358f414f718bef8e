/** Which position of a map is looked at: the pointer's, else the cursor's that keys move. */

import { type MapData, maskBox, nearestPosition } from "./map-data.ts";
import type { MaskState } from "./masks.ts";

export interface Spot {
  map: MapData;
  position: number;
}

const STEPS: Record<string, [number, number]> = {
  ArrowUp: [-1, 0],
  ArrowDown: [1, 0],
  ArrowLeft: [0, -1],
  ArrowRight: [0, 1],
};

export class Cells {
  /** by the pointer; null while it is elsewhere */
  hovered: Spot | null = null;
  /** by keys; null while the map has no focus */
  cursor: Spot | null = null;

  get spot(): Spot | null {
    return this.hovered ?? this.cursor;
  }

  hover(map: MapData | null, point: [number, number] | null): void {
    this.hovered = map && point ? { map, position: nearestPosition(map, ...point) } : null;
  }

  /** Spots of maps that are no longer there are forgotten, or carried over where they still fit. */
  keepTo(maps: (MapData | null)[]): void {
    const carried = (spot: Spot | null) => {
      if (!spot || maps.includes(spot.map)) return spot;
      const next = maps.find((map) => map?.state.length === spot.map.state.length);
      return next ? { map: next, position: spot.position } : null;
    };
    this.hovered = carried(this.hovered);
    this.cursor = carried(this.cursor);
  }

  /** Give the cursor a place: where it was, or the middle. */
  enter(map: MapData | null): void {
    if (!map || this.cursor?.map === map) return;
    const position = nearestPosition(map, map.height / 2, map.width / 2);
    this.cursor = { map, position };
  }

  /** Whether the key moved the cursor. */
  move(key: string): boolean {
    const step = STEPS[key];
    if (!step || !this.cursor) return false;
    // Of pointer and keys the last to move leads.
    this.hovered = null;
    const { map, position } = this.cursor;
    const row = Math.floor(position / map.columns) + step[0];
    const column = (position % map.columns) + step[1];
    const within = (at: number, count: number) => Math.max(0, Math.min(count - 1, at));
    this.cursor = {
      map,
      position: within(row, map.rows) * map.columns + within(column, map.columns),
    };
    return true;
  }
}

/** The mask that lay at a position. */
export function maskAtPosition({ map, position }: Spot): MaskState {
  const [top, left, bottom, right] = maskBox(map, position);
  return { shape: map.fields.mask_shape, top, left, height: bottom - top, width: right - left };
}

/** Where it lies, and whether its value was computed. */
export function placeText({ map, position }: Spot): string {
  const [top, left, bottom, right] = maskBox(map, position);
  const how = ["not computed yet: the nearest that is", "", "interpolated, not computed"];
  const state = how[map.state[position] as number];
  return `rows ${top}–${bottom}, columns ${left}–${right}${state ? ` (${state})` : ""}`;
}
