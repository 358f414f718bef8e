/** What the traits hold, unpacked, and once only for as long as they stay as they are. */

import { type TypedArray, unpack } from "../shared/wire.ts";
import { type Facts, type InkLayer, layerFromFacts } from "./facts.ts";
import { type Hands, Kept } from "./hands.ts";

import type { FoundState, InkState, LayoutName, Packed, PointsState, SeamState } from "./state.ts";

interface Found {
  rows: Int32Array;
  note: string;
}

type Arrays = Record<string, TypedArray>;

export interface Seams {
  pairs: Int32Array;
  strength: Uint8Array;
  meaning: string;
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
  readonly #found = new Kept<Found>();
  readonly #colour = new Kept<InkLayer | null>();
  readonly #border = new Kept<InkLayer | null>();
  readonly #seams = new Kept<Seams | null>();

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

  /** What Python found for what is searched. */
  get found(): Found {
    const [state, search] = [this.#get("found"), this.#get("search")];
    return this.#found.of([state, search], () => {
      const { search: sought = search, note = "" } = state as Partial<FoundState>;
      return sought === search ? { rows: rowsIn(state), note } : { rows: NO_ROWS, note: "" };
    });
  }

  get colour(): InkLayer | null {
    return this.#inked("colour", this.#colour);
  }

  /** Of borders that have a layer of their own. */
  get border(): InkLayer | null {
    if (this.#get("border") === "") return null;
    return this.#inked("border", this.#border);
  }

  /** What is chosen; as long as only Python could tell, what it sent last. */
  #inked(which: "colour" | "border", kept: Kept<InkLayer | null>): InkLayer | null {
    const get = this.#get;
    const [name, state, layers] = [get(which), get(`${which}_layer`), get("layers")];
    const { facts, count } = this;
    return kept.of([name, state, layers, facts, count], () => {
      const sent = inkLayer(state);
      if (sent?.state.name === name) return sent;
      const entry = layers.find((layer) => layer.name === name);
      return (entry && layerFromFacts(entry, facts, count)) ?? sent;
    });
  }

  seams(layout: LayoutName): Seams | null {
    const state = this.#get("seam_lines");
    return this.#seams.of([state, layout], () => {
      if (!isPacked(state) || (state as SeamState).layout !== layout) return null;
      const { pairs, strength } = arraysOf(state);
      const { meaning } = state as SeamState;
      return { pairs: pairs as Int32Array, strength: strength as Uint8Array, meaning };
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
