/** Weights to pixels: fills the part of the content that is in view, and nothing else. */

import { pixel } from "../shared/colormaps.ts";
import { type Layout, stripOrigin } from "../shared/tiles.ts";
import {
  type Frame,
  isFiniteWeight,
  kernelOffset,
  kernelRange,
  LEVELS,
  layerRange,
  type Normalise,
  type Range,
  shownRange,
} from "./frame.ts";

export interface Paint {
  frame: Frame;
  layout: Layout;
  /** output channel at each place */
  order: Uint16Array;
  normalise: Normalise;
  /** zero in the middle of the map */
  centred: boolean;
  /** 256 pixels of the colour map; null draws three inputs as red, green and blue */
  map: Uint32Array | null;
  background: number;
}

export interface Surface {
  pixels: Uint32Array;
  width: number;
  height: number;
  scrollX: number;
  scrollY: number;
}

const HATCH_DARK = pixel(40, 40, 40);
const HATCH_LIGHT = pixel(255, 0, 200);

/** Range that the colour map spans for one output channel; `whole` is the layer's. */
function mapRange(paint: Paint, output: number, whole: Range): Range {
  const range = paint.normalise === "kernel" ? kernelRange(paint.frame, output) : whole;
  return shownRange(range, paint.centred);
}

export function paintGrid(paint: Paint, surface: Surface): void {
  const { layout, frame, order } = paint;
  surface.pixels.fill(paint.background);
  const whole = layerRange(frame);
  const top = surface.scrollY - layout.gutterY;
  const firstLine = Math.max(0, Math.floor(top / layout.lineHeight));
  const lastLine = Math.min(
    layout.lines - 1,
    Math.floor((top + surface.height) / layout.lineHeight),
  );
  for (let line = firstLine; line <= lastLine; line++) {
    for (let place = 0; place < layout.perLine; place++) {
      const position = line * layout.perLine + place;
      if (position >= layout.outputs) break;
      const origin = stripOrigin(layout, position);
      const step = layout.panelWidth + layout.panelGap;
      const left = origin.x - surface.scrollX;
      const first = Math.max(0, Math.floor((layout.fixedX - left) / step));
      const last = Math.min(layout.panels - 1, Math.floor((surface.width - left) / step));
      const output = order[position] as number;
      const range = mapRange(paint, output, whole);
      for (let panel = first; panel <= last; panel++) {
        paintPanel(paint, surface, output, panel, range, left + panel * step, origin.y);
      }
    }
  }
}

function paintPanel(
  paint: Paint,
  surface: Surface,
  output: number,
  panel: number,
  range: Range,
  left: number,
  contentTop: number,
): void {
  const { frame, layout } = paint;
  const span = range.high - range.low;
  // A constant kernel has no range: it stands at the middle of the map.
  const gain = span > 0 ? (((frame.scale[output] as number) / LEVELS) * 255) / span : 0;
  const shift = (span > 0 ? (-range.low * 255) / span : 127.5) + 0.5;
  const top = contentTop - surface.scrollY;
  for (let row = 0; row < frame.height; row++) {
    const from = Math.max(layout.fixedY, top + row * layout.scaleY);
    const to = Math.min(surface.height, top + (row + 1) * layout.scaleY);
    if (to <= from) continue;
    const line = from * surface.width;
    for (let column = 0; column < frame.width; column++) {
      const x0 = Math.max(layout.fixedX, left + column * layout.scaleX);
      const x1 = Math.min(surface.width, left + (column + 1) * layout.scaleX);
      if (x1 > x0) {
        const colour = weightPixel(paint, output, panel, row, column, gain, shift);
        surface.pixels.fill(colour, line + x0, line + x1);
      }
    }
    const x0 = Math.max(layout.fixedX, left);
    const x1 = Math.min(surface.width, left + layout.panelWidth);
    if (x1 <= x0) continue;
    for (let y = from + 1; y < to; y++) {
      surface.pixels.copyWithin(y * surface.width + x0, line + x0, line + x1);
    }
  }
  if (frame.nonfinite) hatchPanel(paint, surface, output, panel, left, top);
}

function weightPixel(
  paint: Paint,
  output: number,
  panel: number,
  row: number,
  column: number,
  gain: number,
  shift: number,
): number {
  const { frame } = paint;
  const within = row * frame.width + column;
  if (paint.map !== null) {
    const value = frame.values[kernelOffset(frame, output, panel) + within] as number;
    return paint.map[byte(value * gain + shift)] as number;
  }
  const start = kernelOffset(frame, output, 0) + within;
  const area = frame.height * frame.width;
  return pixel(
    byte((frame.values[start] as number) * gain + shift),
    byte((frame.values[start + area] as number) * gain + shift),
    byte((frame.values[start + 2 * area] as number) * gain + shift),
  );
}

function byte(value: number): number {
  return value < 0 ? 0 : value > 255 ? 255 : value | 0;
}

/** Diagonal stripes over weights that are no numbers: a pattern, since no colour is free for them. */
function hatchPanel(
  paint: Paint,
  surface: Surface,
  output: number,
  panel: number,
  left: number,
  top: number,
): void {
  const { frame, layout } = paint;
  const inputs = paint.map === null ? Array.from({ length: frame.inputs }, (_, i) => i) : [panel];
  for (let row = 0; row < frame.height; row++) {
    for (let column = 0; column < frame.width; column++) {
      const within = row * frame.width + column;
      const finite = inputs.every((i) =>
        isFiniteWeight(frame, kernelOffset(frame, output, i) + within),
      );
      if (finite) continue;
      const x0 = Math.max(layout.fixedX, left + column * layout.scaleX);
      const x1 = Math.min(surface.width, left + (column + 1) * layout.scaleX);
      const y0 = Math.max(layout.fixedY, top + row * layout.scaleY);
      const y1 = Math.min(surface.height, top + (row + 1) * layout.scaleY);
      for (let y = y0; y < y1; y++) {
        for (let x = x0; x < x1; x++) {
          const stripe = (x - left + y - top) % 6 < 3;
          surface.pixels[y * surface.width + x] = stripe ? HATCH_LIGHT : HATCH_DARK;
        }
      }
    }
  }
}
