/** What is drawn in a frame, and what can draw it. */

import type { PlaceIndex } from "./place-index.ts";
import type { Inks } from "./scene.ts";
import type { Screen } from "./screen.ts";
import type { TileSlots } from "./tile-slots.ts";
import type { TileStore } from "./tile-store.ts";
import type { Projection } from "./viewpoint.ts";

/** Marks of a row, to be added. */
export const SELECTED = 1;
export const CHOSEN = 2;
export const LINKED = 4;

/** The rows that may show as pictures, some out of view, so that panning needs no new list. */
export interface PictureList {
  rows: Uint32Array;
  /** of each: the level at which it is a whole picture; 0 for what shows in any case */
  levels: Uint8Array;
  /** of each: `SELECTED` and so on */
  marks: Uint8Array;
}

export type Rgb = [number, number, number];

export interface Frame {
  view: Projection;
  /** device pixels a CSS pixel */
  density: number;
  /** width and height in device pixels */
  room: [number, number];
  /** places that rows come from, and how far they have come, 0 to 1 */
  from: Uint16Array;
  moved: number;
  /** nothing moves: pictures may lie on whole pixels */
  resting: boolean;
  /** all that the frame is made of but `front`; null while anything in it moves */
  still: unknown[] | null;
  index: PlaceIndex;
  /** of each row, its place in the order of priority */
  ranks: Uint32Array;
  inks: Inks;
  borders: Inks | null;
  /** selected rows, that are marked where they are dots */
  selected: Int32Array;
  pictures: PictureList;
  /** above these: few, which come and go as the pointer moves */
  front: PictureList;
  /** see `detail.ts` */
  level: number;
  /** CSS pixels: of a picture, of a dot */
  side: number;
  dot: number;
  /** CSS pixels: width of borders */
  border: number;
  /** dots are squares, cells of a grid */
  square: boolean;
  /** draw each so many-th dot only */
  stride: number;
  paper: Rgb;
  ink: Rgb;
  accent: Rgb;
  /** milliseconds */
  now: number;
}

/** How long a tile takes to come up over the ink of its row, in milliseconds. */
export const RISE = 180;
/** What is chosen is drawn larger. */
export const CHOSEN_SCALE = 1.3;
/** Of frames round pictures, in CSS pixels. */
export const BORDER = 2;
export const MARK = 3;
/** Of small pictures they are this part of the side. */
export const RIM_SHARE = 0.1;

export interface Painter {
  readonly kind: "webgl2" | "canvas";
  /** pages that it holds of tiles of 32, 128 and 256 pixels */
  readonly pages: readonly [number, number, number];
  /** the most pictures that it draws in a frame */
  readonly most: number;
  /** Put a part of some pixels, as large as a tile of the pool, into a slot of it. */
  put(pool: number, slots: TileSlots, slot: number, pixels: ImageData, x: number, y: number): void;
  /** Forget all tiles. */
  clear(): void;
  /** False: there is more of it to draw, at a further call. */
  draw(frame: Frame, tiles: TileStore, screen: Screen): boolean;
  close(): void;
}

/** Sides of an image of this aspect whose longer one is given. */
export function sidesOf(aspect: number, side: number): [number, number] {
  return [Math.max(1, side * Math.min(1, aspect)), Math.max(1, side * Math.min(1, 1 / aspect))];
}

/** Whether something is not what it was. */
export function changed(before: unknown[], now: unknown[]): boolean {
  return before.length !== now.length || now.some((part, i) => part !== before[i]);
}
