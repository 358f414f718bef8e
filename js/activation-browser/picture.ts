/** The input as the network sees it, with a map laid over it and what units see of it. */

import { canvasOf, imageData, sized } from "../shared/canvas.ts";
import { element } from "../shared/controls.ts";
import { outline } from "../shared/tile-grid.ts";
import { unpack } from "../shared/wire.ts";
import type { Maps, Tone } from "./maps.ts";
import type { Painter } from "./painter.ts";
import type { Box, PictureState } from "./state.ts";

export interface Picture {
  image: HTMLCanvasElement;
  width: number;
  height: number;
}

/** Pictures A and, where there is one, B. */
export function decodePictures(state: PictureState): Picture[] {
  if (!Array.isArray(state.arrays)) return [];
  return [...unpack(state.arrays, state.buffers).values()].map((packed) => {
    const image = canvasOf(imageData(packed));
    const { width, height } = image;
    return { image, width, height };
  });
}

export interface Marks {
  hovered: Box | null;
  chosen: Box | null;
  origin: Box | null;
}

export interface Overlay {
  maps: Maps;
  painter: Painter;
  channel: number;
  tone: Tone;
  opacity: number;
}

export class PicturePane {
  readonly node: HTMLElement;
  readonly #canvases = ["A", "B"].map((side) =>
    element("canvas", { class: "shown", role: "img", "aria-label": `Picture ${side}` }),
  );
  #pictures: Picture[] = [];

  constructor(
    signal: AbortSignal,
    point: (side: number, across: number, down: number, press: boolean) => void,
    leave: () => void,
  ) {
    this.node = element("div", { class: "pictures" }, ...this.#canvases);
    this.#canvases.forEach((canvas, side) => {
      const at = (event: MouseEvent, press: boolean) => {
        const box = canvas.getBoundingClientRect();
        point(
          side,
          (event.clientX - box.left) / box.width,
          (event.clientY - box.top) / box.height,
          press,
        );
      };
      canvas.addEventListener("pointermove", (event) => at(event, false), { signal });
      canvas.addEventListener("click", (event) => at(event, true), { signal });
      canvas.addEventListener("pointerleave", leave, { signal });
    });
  }

  show(
    pictures: Picture[],
    caption: string,
    overlay: Overlay | null,
    marks: Marks,
    room: number,
  ): void {
    this.#pictures = pictures;
    this.#canvases.forEach((canvas, side) => {
      const picture = pictures[side];
      canvas.hidden = !picture;
      if (!picture) return;
      canvas.setAttribute("aria-label", `${side === 0 ? "" : "Compared with: "}${caption}`);
      const each = pictures.length > 1 ? (room - 8) / 2 : room;
      const scale = Math.min(each / picture.width, room / picture.height);
      const width = Math.round(picture.width * scale);
      const height = Math.round(picture.height * scale);
      const context = sized(canvas, width, height);
      context.imageSmoothingEnabled = scale < 1;
      context.drawImage(picture.image, 0, 0, width, height);
      if (overlay && overlay.opacity > 0 && overlay.maps.sides[side]) {
        context.globalAlpha = overlay.opacity;
        const face = side as 0 | 1;
        const { painter, maps, channel, tone } = overlay;
        painter.draw(context, maps, face, channel, tone, 0, 0, width, height);
        context.globalAlpha = 1;
      }
      const draw = (box: Box | null, thick: number, dashes: number[]) => {
        if (!box || box[2] <= box[0]) return;
        context.setLineDash(dashes);
        const [top, left, bottom, right] = box;
        // Kept two pixels large at least, and within the picture, so that it can be seen.
        const x = Math.min(left * scale, width - 4);
        const y = Math.min(top * scale, height - 4);
        const across = Math.max(4, (right - left) * scale);
        outline(context, x, y, across, Math.max(4, (bottom - top) * scale), thick);
        context.setLineDash([]);
      };
      draw(marks.origin, 1.5, [5, 4]);
      draw(marks.chosen, 2, []);
      draw(marks.hovered, 1, []);
    });
  }

  /** What a unit saw, with what lies outside the picture left empty. */
  cut(canvas: HTMLCanvasElement, side: number, box: Box | null, most: number): void {
    const picture = this.#pictures[side];
    canvas.hidden = !picture || !box || box[2] <= box[0];
    if (!picture || !box || canvas.hidden) return;
    const [top, left, bottom, right] = box;
    const across = right - left;
    const down = bottom - top;
    const scale = Math.min(most / across, most / down);
    const context = sized(canvas, Math.max(2, across * scale), Math.max(2, down * scale));
    context.imageSmoothingEnabled = scale < 1;
    context.drawImage(picture.image, left, top, across, down, 0, 0, across * scale, down * scale);
  }
}
