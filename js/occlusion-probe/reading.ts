/** What a map shows by the choices that are set: values, units, colours; no page. */

import { type Category, type ClassMap, classMap } from "./classes.ts";
import {
  baseSum,
  colourRange,
  difference,
  differenceRange,
  extent,
  type Field,
  gridField,
  layOver,
  type Range,
} from "./field.ts";
import { baseValue, classValues, type MapData, nameOf, numeric } from "./map-data.ts";
import type { Change, ConfidenceState, Coverage, Scale, Show, Side } from "./state.ts";

export interface Choices {
  scale: Scale;
  show: Show;
  coverage: Coverage;
  stretch: boolean;
  /** nothing is being computed: what is still open stays open, and is hatched */
  settled: boolean;
}

export interface Reading {
  map: MapData;
  target: number;
  field: Field;
  /** one for each position */
  values: Float32Array;
  /** of the unmasked picture */
  base: number;
  probability: number;
  classes: ClassMap | null;
}

/** Why a map has nothing to show of what is chosen; "" where it has. */
export function lacking(map: MapData, target: number, { show }: Choices): string {
  if (show === "feature map" && !map.sums) {
    return "This map has no feature map: choose a layer and press Full map.";
  }
  if (show === "confidence" && !map.places.has(target)) {
    return `This map kept no values of class ${target}: press Full map to make it anew.`;
  }
  return "";
}

/** The map as it is to be shown; null where it holds nothing of the kind (`lacking` says why). */
export function read(
  map: MapData,
  target: number,
  choices: Choices,
  categories: Category[],
): Reading | null {
  const { show, scale, coverage, settled } = choices;
  const probability = numeric(map.fields.base[target]?.probability);
  if (show === "most probable") {
    const classes = classMap(map, categories);
    const field = gridField(map, classes.values, settled);
    return { map, target, field, values: classes.values, base: Number.NaN, probability, classes };
  }
  const sums = show === "feature map";
  const values = sums ? map.sums : classValues(map, target, scale);
  if (!values) return null;
  const field = layOver(map, values, coverage, settled);
  const base = sums ? baseSum(map) : baseValue(map, target, scale);
  return { map, target, field, values, base, probability, classes: null };
}

/** A on show, B, and their difference, each with what its colours span. */
export interface Views {
  A: Reading | null;
  B: Reading | null;
  difference: Field | null;
  range: Range;
  differenceRange: Range;
  /** what the values span, where that is next to nothing of the scale; null where it is not */
  slight: { low: number; high: number } | null;
}

/** Share of a scale below which a map hardly changes to the eye. */
const SLIGHT = 0.1;

/** One range for A and B; the difference in the same units. */
export function viewsOf(A: Reading | null, B: Reading | null, choices: Choices): Views {
  const both = [A, B].filter((reading) => reading !== null);
  const scale = choices.show === "feature map" ? "sum" : choices.scale;
  const spans = both.map(({ field, values, base, probability }) => ({
    values: choices.coverage === "grid" ? values : field.values,
    base,
    probability,
  }));
  const range = colourRange(spans, scale, choices.stretch);
  const whole = colourRange(spans, scale, false);
  const found = choices.show === "most probable" ? null : extent(spans.map((one) => one.values));
  const [low, high] = found ?? [0, Number.POSITIVE_INFINITY];
  const slight = high - low < SLIGHT * (whole.high - whole.low) ? { low, high } : null;
  const apart = A && B && choices.show !== "most probable" ? difference(A.field, B.field) : null;
  return {
    A,
    B,
    difference: apart,
    range,
    differenceRange: differenceRange(range, apart?.values ?? [], choices.stretch),
    slight,
  };
}

/** Which of the panes stand beside each other, or alone over the picture. */
export function panesOf(side: Side, kept: boolean): ("A" | "B" | "difference")[] {
  if (!kept) return ["B"];
  return side === "both" ? ["A", "B", "difference"] : [side];
}

/** A number with its unit, as a person writes it. */
export function amount(value: number, unit: string, signed = false): string {
  if (!Number.isFinite(value)) return Number.isNaN(value) ? "NaN" : value > 0 ? "∞" : "−∞";
  const percent = unit === "%" || unit === "%p";
  const size = Math.abs(percent ? 100 * value : value);
  const text = percent ? size.toFixed(1) : size.toPrecision(size >= 1000 ? 4 : 3);
  const zero = Number(text) === 0;
  const sign = zero ? (signed ? "±" : "") : value < 0 ? "−" : signed ? "+" : "";
  return `${sign}${text}${unit ? ` ${unit}` : ""}`;
}

/** Percent, percentage points, or the value as it is. */
export function unitOf({ scale, show }: Choices, apart = false): string {
  if (show !== "confidence" || scale.startsWith("logit")) return "";
  return apart || scale === "probability drop" ? "%p" : "%";
}

/** What the network says at a position, from the map alone. */
export function confidenceAt(map: MapData, position: number, target: number): ConfidenceState {
  const from = map.standIn[position] as number;
  const at = from < 0 ? position : from;
  const normaliser = map.logNormaliser[at] as number;
  const change = (number: number, logit: number): Change => {
    const base = map.fields.base[number];
    return {
      number,
      name: nameOf(map, number),
      probability: Math.exp(logit - normaliser),
      logit,
      before: base?.probability ?? Number.NaN,
      logit_before: base?.logit ?? Number.NaN,
    };
  };
  const top: Change[] = [];
  for (let rank = 0; rank < map.ranks && from >= 0; rank++) {
    const number = map.topClasses[at * map.ranks + rank] as number;
    if (number < 0) continue;
    const probability = map.topProbabilities[at * map.ranks + rank] as number;
    top.push({ ...change(number, Math.log(probability) + normaliser), probability });
  }
  const place = map.places.get(target);
  const kept = map.places.size;
  const logit = place === undefined ? Number.NaN : (map.logits[at * kept + place] as number);
  const [tall, wide] = map.fields.size;
  return {
    top,
    target: change(target, from < 0 ? Number.NaN : logit),
    covered: (tall * wide) / (map.height * map.width),
  };
}
