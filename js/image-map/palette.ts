/** Colours of images on the map: of categories and of values. */

import { colormapBytes, oklch } from "../shared/colormaps.ts";
import { type InkLayer, NONE } from "./facts.ts";
import type { Inks } from "./scene.ts";

type Colour = [number, number, number];

/**
 * Lightness, chroma and hue (OKLCH). Found by annealing: the two nearest lie 0.13 apart in OKLab for
 * normal sight and 0.07 for each kind of colour blindness (Machado et al. 2009), and each stands
 * out from white and from black paper.
 */
const HUES: Colour[] = [
  [0.62, 0.12, 240],
  [0.68, 0.12, 84],
  [0.83, 0.1, 342],
  [0.74, 0.12, 168],
  [0.74, 0.18, 312],
  [0.8, 0.18, 120],
  [0.5, 0.18, 264],
  [0.53, 0.14, 348],
  [0.5, 0.06, 78],
  [0.62, 0.04, 348],
];
/** Beyond ten categories the same hues again, darker and lighter; those that are dark, lighter twice. */
const SHIFTS = [0, -0.13, 0.1];
const SHIFTS_OF_DARK = [0, 0.13, 0.24];
/** Parts of a colour map whose ends stand out from paper that is light, or dark. */
const SPANS = { light: [0, 0.84], dark: [0.2, 1] } as const;
/** Opacity of what is there but not meant. */
export const FAINT = 40;

export function categoryColour(number: number): Colour {
  const [lightness, chroma, hue] = HUES[number % HUES.length] as Colour;
  const shifts = lightness < 0.6 ? SHIFTS_OF_DARK : SHIFTS;
  const shift = shifts[Math.floor(number / HUES.length) % shifts.length] as number;
  return oklch(Math.min(0.9, lightness + shift), shift ? 0.8 * chroma : chroma, hue);
}

export function css([red, green, blue]: Colour): string {
  return `rgb(${red} ${green} ${blue})`;
}

/** 256 colours from low to high, as 768 bytes. */
export function valueColours(colormap: "sequential" | "diverging", dark: boolean): Uint8Array {
  const all = colormapBytes(colormap);
  const colours = new Uint8Array(768);
  const [from, to] = colormap === "diverging" ? [0, 1] : SPANS[dark ? "dark" : "light"];
  for (let i = 0; i < 256; i++) {
    const at = 3 * Math.round(255 * (from + ((to - from) * i) / 255));
    for (let c = 0; c < 3; c++) colours[3 * i + c] = all[at + c] as number;
  }
  return colours;
}

export function gradient(colours: Uint8Array): string {
  const stops = Array.from({ length: 17 }, (_, i) => {
    const at = 3 * Math.min(255, 16 * i);
    return css([...colours.subarray(at, at + 3)] as Colour);
  });
  return `linear-gradient(to right, ${stops.join(", ")})`;
}

/** Which images are drawn, and which of them are meant. */
export interface Filter {
  hidden: number[];
  /** low and high in units of the layer; empty for all */
  range: number[];
  /** a category, or rows, that others stand back for; null for none */
  emphasis: number | null;
  meant: Int32Array | null;
}

export interface Paper {
  dark: boolean;
  /** of images without a value */
  plain: Colour;
}

/** What of a layer's 0 to 65534 is kept. */
export function kept(range: number[], low: number, high: number): [number, number] {
  if (range.length !== 2 || !(high > low)) return [0, NONE - 1];
  const [from, to] = range as [number, number];
  const at = (value: number) => ((value - low) / (high - low)) * (NONE - 1);
  // A hair wider, so that what equals a bound is kept.
  return [Math.ceil(at(from) - 0.5), Math.floor(at(to) + 0.5)];
}

/** RGBA of each row. */
export function inks(
  count: number,
  layer: InkLayer | null,
  { hidden, range, emphasis, meant }: Filter,
  paper: Paper,
): Inks {
  const rgba = new Uint8Array(4 * count);
  const colours = new Uint8Array(4 * (NONE + 1));
  const of = table(colours, layer, paper);
  const opacity = new Uint8Array(NONE + 1).fill(255);
  if (layer?.state.kind === "category") {
    // One that is filtered away has nothing that others could stand back for.
    if (emphasis !== null && !hidden.includes(emphasis)) {
      opacity.fill(FAINT);
      opacity[emphasis < 0 ? NONE : emphasis] = 255;
    }
    for (const number of hidden) opacity[number < 0 ? NONE : number] = 0;
  } else if (layer?.state.kind === "value" && range.length === 2) {
    const [from, to] = kept(range, layer.state.low, layer.state.high);
    opacity.fill(0);
    opacity.fill(255, Math.max(0, from), Math.min(NONE, to + 1));
  }
  for (let row = 0; row < count; row++) {
    const value = of?.[row] ?? NONE;
    for (let c = 0; c < 3; c++) rgba[4 * row + c] = colours[4 * value + c] as number;
    rgba[4 * row + 3] = opacity[value] as number;
  }
  if (meant) fade(rgba, meant);
  return rgba;
}

/** Colours by value of a layer into a table of 65,536; the values. */
function table(colours: Uint8Array, layer: InkLayer | null, paper: Paper): Uint16Array | null {
  const put = (value: number, colour: ArrayLike<number>) => colours.set(colour, 4 * value);
  put(NONE, paper.plain);
  if (!layer || layer.state.kind === "none") return null;
  if (layer.state.kind === "category") {
    for (const { number } of layer.state.categories) {
      if (number >= 0 && number < NONE) put(number, categoryColour(number));
    }
  } else {
    const ramp = valueColours(layer.state.colormap, paper.dark);
    for (let value = 0; value < NONE; value++) {
      const at = 3 * Math.round((255 * value) / (NONE - 1));
      put(value, ramp.subarray(at, at + 3));
    }
  }
  return layer.values;
}

/** Let all but these rows stand back. */
function fade(rgba: Inks, meant: Int32Array): void {
  const keep = new Uint8Array(meant.length);
  meant.forEach((row, i) => {
    keep[i] = rgba[4 * row + 3] as number;
  });
  for (let at = 3; at < rgba.length; at += 4) {
    rgba[at] = Math.min(rgba[at] as number, FAINT);
  }
  meant.forEach((row, i) => {
    rgba[4 * row + 3] = keep[i] as number;
  });
}
