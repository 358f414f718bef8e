/** What the traits hold, unpacked, and once only for as long as they stay as they are. */

import { type TypedArray, unpack } from "../shared/wire.ts";
import { type Hands, Kept } from "./hands.ts";
import type { InkState, LayoutName, Packed, PointsState, SeamState } from "./state.ts";

/** "None" in arrays of uint16. */
export const NONE = 65535;

type Arrays = Record<string, TypedArray>;

/** A way to colour or to border images. */
export interface InkLayer {
  state: InkState;
  values: Uint16Array;
}

export interface Facts {
  label: Uint16Array | null;
  predicted: Uint16Array | null;
  confidence: Uint8Array | null;
  /** rows, `near` of each image, nearest first */
  neighbours: Int32Array | null;
  near: number;
  classes: string[];
  outputs: string[];
}

const NO_FACTS: Facts = {
  label: null,
  predicted: null,
  confidence: null,
  neighbours: null,
  near: 0,
  classes: [],
  outputs: [],
};
const NO_ROWS = new Int32Array();

export class MapData {
  layouts: Partial<Record<LayoutName, Uint16Array>> = {};
  count = 0;
  cell = 0;
  method = "";
  /** numbers of the images; null where they are the rows */
  #numbers: Int32Array | null = null;
  #rows: Map<number, number> | null = null;
  #points: unknown = null;
  readonly #facts = new Kept<Facts>();
  readonly #selected = new Kept<Int32Array>();
  readonly #found = new Kept<Int32Array>();
  readonly #colour = new Kept<InkLayer | null>();
  readonly #border = new Kept<InkLayer | null>();
  readonly #seams = new Kept<{ pairs: Int32Array; strength: Uint8Array } | null>();

  readonly #get: Hands["get"];

  constructor(get: Hands["get"]) {
    this.#get = get;
  }

  /** Take the points if they are others than before. */
  refresh(): void {
    const points = this.#get("points");
    if (points === this.#points) return;
    this.#points = points;
    if (!isPacked(points)) return;
    const { numbers, ...layouts } = arraysOf(points);
    const { count, cell, method } = points as PointsState;
    this.layouts = layouts as MapData["layouts"];
    this.#numbers = (numbers as Int32Array) ?? null;
    this.#rows = null;
    Object.assign(this, { count, cell, method });
  }

  /** Places of the map as it is being computed. */
  takeLive(places: Uint16Array): void {
    const { map } = this.layouts;
    if (map?.length === places.length && places.every((place, i) => place === map[i])) return;
    this.layouts = { ...this.layouts, map: places };
    this.count = places.length / 2;
  }

  numberOf(row: number): number {
    return this.#numbers ? (this.#numbers[row] ?? -1) : row;
  }

  /** -1 for an image that is not on the map. */
  rowOf(number: number): number {
    if (!this.#numbers) return number >= 0 && number < this.count ? number : -1;
    if (!this.#rows) {
      this.#rows = new Map();
      this.#numbers.forEach((known, row) => {
        this.#rows?.set(known, row);
      });
    }
    return this.#rows.get(number) ?? -1;
  }

  get facts(): Facts {
    const state = this.#get("facts");
    return this.#facts.of([state], () => {
      if (!isPacked(state)) return NO_FACTS;
      const arrays = unpack(state.arrays, state.buffers);
      const array = <T>(name: string) => (arrays.get(name)?.data ?? null) as T | null;
      return {
        label: array<Uint16Array>("label"),
        predicted: array<Uint16Array>("predicted"),
        confidence: array<Uint8Array>("confidence"),
        neighbours: array<Int32Array>("neighbours"),
        near: arrays.get("neighbours")?.shape[1] ?? 0,
        classes: (state as { classes?: string[] }).classes ?? [],
        outputs: (state as { outputs?: string[] }).outputs ?? [],
      };
    });
  }

  get selected(): Int32Array {
    const state = this.#get("_selected");
    return this.#selected.of([state], () => rowsIn(state));
  }

  /** Rows that Python found for what is searched. */
  get found(): Int32Array {
    const state = this.#get("found");
    return this.#found.of([state], () => rowsIn(state));
  }

  get colour(): InkLayer | null {
    const state = this.#get("colour_layer");
    return this.#colour.of([state], () => inkLayer(state));
  }

  get border(): InkLayer | null {
    const state = this.#get("border_layer");
    return this.#border.of([state], () => inkLayer(state));
  }

  seams(layout: LayoutName): { pairs: Int32Array; strength: Uint8Array } | null {
    const state = this.#get("seam_lines");
    return this.#seams.of([state, layout], () => {
      if (!isPacked(state) || (state as SeamState).layout !== layout) return null;
      const { pairs, strength } = arraysOf(state);
      return { pairs: pairs as Int32Array, strength: strength as Uint8Array };
    });
  }
}

/** Whether a trait that is empty at first has been filled. */
export function isPacked(state: object): state is Packed {
  return Array.isArray((state as Partial<Packed>).arrays);
}

export function arraysOf({ arrays, buffers }: Packed): Arrays {
  return Object.fromEntries([...unpack(arrays, buffers)].map(([name, { data }]) => [name, data]));
}

function rowsIn(state: object): Int32Array {
  if (!isPacked(state)) return NO_ROWS;
  return (arraysOf(state).rows as Int32Array) ?? NO_ROWS;
}

function inkLayer(state: object): InkLayer | null {
  if (!isPacked(state)) return null;
  const values = arraysOf(state).values as Uint16Array | undefined;
  return { state: state as InkState, values: values ?? new Uint16Array() };
}

/** Rows as a trait: the value of `_selected`. */
export function packRows(rows: Int32Array): Packed {
  // A whole buffer: Lab sends the one behind an array, whatever part of it the array is.
  const whole = rows.byteLength === rows.buffer.byteLength ? rows : rows.slice();
  return {
    arrays: [{ name: "rows", dtype: "int32", shape: [whole.length] }],
    buffers: [new DataView(whole.buffer)],
  };
}
