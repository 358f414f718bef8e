/** Canvases that are sharp on every screen, and pictures from packed pixels. */

import type { WireArray } from "./wire.ts";

/** Set a canvas to a size in CSS pixels and give its context, scaled so that one unit is one of them. */
export function sized(
  canvas: HTMLCanvasElement,
  width: number,
  height: number,
): CanvasRenderingContext2D {
  const density = window.devicePixelRatio || 1;
  const across = Math.max(1, Math.round(width * density));
  const down = Math.max(1, Math.round(height * density));
  if (canvas.width !== across) canvas.width = across;
  if (canvas.height !== down) canvas.height = down;
  canvas.style.width = `${width}px`;
  canvas.style.height = `${height}px`;
  const context = contextOf(canvas);
  context.setTransform(density, 0, 0, density, 0, 0);
  context.clearRect(0, 0, width, height);
  return context;
}

export function contextOf(canvas: HTMLCanvasElement): CanvasRenderingContext2D {
  const context = canvas.getContext("2d");
  if (!context) throw new Error("this browser gave no canvas to draw on");
  return context;
}

/** Pixels of shape (rows, columns, 1 or 3) as opaque colours. */
export function imageData({ data, shape }: WireArray): ImageData {
  const [height, width, channels] = shape as [number, number, number];
  const rgba = new ImageData(width, height);
  for (let i = 0; i < width * height; i++) {
    for (let c = 0; c < 3; c++) {
      rgba.data[4 * i + c] = data[channels * i + (channels === 1 ? 0 : c)] as number;
    }
    rgba.data[4 * i + 3] = 255;
  }
  return rgba;
}

/** A canvas that holds these pixels, to be drawn from. */
export function canvasOf(pixels: ImageData): HTMLCanvasElement {
  const canvas = document.createElement("canvas");
  canvas.width = pixels.width;
  canvas.height = pixels.height;
  contextOf(canvas).putImageData(pixels, 0, 0);
  return canvas;
}
