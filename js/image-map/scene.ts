/** What the stage draws: the one thing that the view's parts and the stage agree on. */

import type { Pictures, Tool } from "./state.ts";

/** RGBA of each row, 4 bytes; alpha 0 is not drawn and cannot be hit. */
export type Inks = Uint8Array;

export interface Scene {
  count: number;
  /** x, y of each row, 0 to 65535, y down; another array with the same count is moved to gradually */
  places: Uint16Array;
  /** while the map is being computed: places come often, and are moved to at once */
  live: boolean;
  /** side of a cell in units of place where every image has its own; 0 elsewhere */
  cell: number;
  inks: Inks;
  /** of borders round thumbnails; null for none */
  borders: Inks | null;
  pictures: Pictures;
  /** CSS pixels */
  size: number;
  tool: Tool;
  /** rows that are selected, ascending */
  selected: Int32Array;
  /** the row that is chosen, -1 for none */
  chosen: number;
  /** the row whose neighbours are shown, and these, nearest first; torn is 0 to 1 for how far the map
   * took each away */
  links: {
    row: number;
    neighbours: Int32Array;
    torn: Float32Array;
    /** of a picture of one's own, whose row is -1: its place */
    from?: { x: number; y: number };
  } | null;
  seams: { pairs: Int32Array; strength: Uint8Array } | null;
  names: { text: string; x: number; y: number; ink: string }[];
  /** pictures of one's own, drawn above all: place, and picture once decoded */
  own: { x: number; y: number; picture: CanvasImageSource | null; aspect: number }[];
}

/** What is in view. */
export interface Viewpoint {
  /** of the middle, in units of place */
  x: number;
  y: number;
  /** 1 shows all */
  zoom: number;
}

/** What the stage tells the view. */
export interface StageHands {
  /** a row under the pointer or reached by keys, -1 for none, and where in CSS pixels of the stage */
  hover(row: number, x: number, y: number): void;
  /** a row was clicked, or Enter pressed on it; add: with Shift */
  choose(row: number, add: boolean): void;
  /** rows in a lasso or box, ascending; add: to those that are selected */
  select(rows: Int32Array, add: boolean): void;
  moved(viewpoint: Viewpoint): void;
  failed(message: string): void;
  /** for a screen reader */
  announce(text: string): void;
}
