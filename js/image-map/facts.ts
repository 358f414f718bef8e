/** What is known of each image; colours that follow from it show at once, and without a kernel. */

import type { InkState, LayerEntry } from "./state.ts";

/** "None" in arrays of uint16. */
export const NONE = 65535;

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

/** The class of an image, else what it is taken for; empty where neither is known. */
export function className({ label, classes, predicted, outputs }: Facts, row: number): string {
  const name = (names: string[], number = NONE) =>
    number === NONE ? "" : (names[number] ?? `class ${number}`);
  return name(classes, label?.[row]) || name(outputs, predicted?.[row]);
}

/** The layer of this name, as Python would send it; null where only Python can work it out. */
export function layerFromFacts(entry: LayerEntry, facts: Facts, count: number): InkLayer | null {
  const { name } = entry;
  const { label, predicted, confidence, classes, outputs } = facts;
  if (name === "none") return layer(entry, new Uint16Array(count).fill(NONE));
  if (name === "class" && label) return categories(entry, label, classes);
  if (name === "prediction" && predicted) return categories(entry, predicted, outputs);
  if (name === "right" && label && predicted) {
    return categories(entry, right(facts, label, predicted), ["wrong", "right"]);
  }
  if (name === "confidence" && confidence) {
    const values = Uint16Array.from(confidence, (sure) =>
      sure === 255 ? NONE : Math.round((sure / 254) * (NONE - 1)),
    );
    return layer(entry, values, { meaning: "probability of what is predicted" });
  }
  return null;
}

function layer(
  { name, label, kind }: LayerEntry,
  values: Uint16Array,
  more: Partial<InkState> = {},
): InkLayer {
  const state: InkState = {
    name,
    label,
    kind,
    categories: [],
    low: 0,
    high: 1,
    colormap: "sequential",
    meaning: "",
    arrays: [],
    buffers: [],
    ...more,
  };
  return { state, values };
}

function categories(entry: LayerEntry, values: Uint16Array, names: string[]): InkLayer {
  const counts = new Map<number, number>();
  for (const value of values) counts.set(value, (counts.get(value) ?? 0) + 1);
  const listed = [...counts]
    .sort((a, b) => a[0] - b[0])
    .map(([number, count]) => ({
      number: number === NONE ? -1 : number,
      name: number === NONE ? "not known" : (names[number] ?? `class ${number}`),
      count,
    }));
  return layer(entry, values, { categories: listed });
}

/** 1 where the prediction is the label, 0 where not, by name where their names are not the same. */
function right({ classes, outputs }: Facts, label: Uint16Array, predicted: Uint16Array) {
  const apart = classes.length > 0 && outputs.length > 0 && String(classes) !== String(outputs);
  const into = new Map(outputs.map((name, number) => [name, number]));
  return label.map((own, row) => {
    const wanted = apart ? into.get(classes[own] ?? "") : own;
    const guess = predicted[row] as number;
    if (own === NONE || guess === NONE || wanted === undefined) return NONE;
    return Number(wanted === guess);
  });
}
