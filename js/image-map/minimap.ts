/** The whole map, small, with what is in view; a click or drag in it goes there. */

import { sized } from "../shared/canvas.ts";
import { element } from "../shared/controls.ts";
import type { Rgb } from "./painter.ts";
import type { PlaceIndex } from "./place-index.ts";
import type { Inks } from "./scene.ts";
import { type Extent, fittingScale, inView, type Projection } from "./viewpoint.ts";

/** CSS pixels of its longer side, and of the shorter one at least. */
const SIDE = 132;
const LEAST = 66;
/** More dots than these are thinned. */
const MOST = 20_000;

export class Minimap {
  readonly node = element("canvas", {
    class: "minimap",
    role: "img",
    "aria-label": "The whole map; a frame shows what is in view",
  });
  readonly #dots = element("canvas");
  #made: unknown[] = [];
  #extent: Extent = { left: 0, top: 0, right: 65535, bottom: 65535 };

  constructor(go: (x: number, y: number) => void, signal: AbortSignal) {
    const move = (event: PointerEvent) => {
      if (!event.buttons) return;
      const box = this.node.getBoundingClientRect();
      const scale = this.#scale();
      const middle = this.#middle();
      go(
        (event.clientX - box.left - box.width / 2) / scale + middle[0],
        (event.clientY - box.top - box.height / 2) / scale + middle[1],
      );
    };
    this.node.addEventListener(
      "pointerdown",
      (event) => {
        this.node.setPointerCapture(event.pointerId);
        move(event);
      },
      { signal },
    );
    this.node.addEventListener("pointermove", move, { signal });
    this.node.style.touchAction = "none";
  }

  draw(index: PlaceIndex, inks: Inks, extent: Extent, view: Projection, ink: Rgb): void {
    this.#extent = extent;
    const { width, height } = this.#room();
    const made = [index, inks, width, height];
    if (made.some((part, i) => part !== this.#made[i])) {
      this.#made = made;
      this.#drawDots(index, inks);
    }
    const context = sized(this.node, width, height);
    context.drawImage(this.#dots, 0, 0, width, height);
    const scale = this.#scale();
    const [x, y] = this.#middle();
    const box = inView(view);
    const left = Math.max(1, (box.left - x) * scale + width / 2);
    const top = Math.max(1, (box.top - y) * scale + height / 2);
    const right = Math.min(width - 1, (box.right - x) * scale + width / 2);
    const bottom = Math.min(height - 1, (box.bottom - y) * scale + height / 2);
    context.strokeStyle = `rgb(${ink.join(" ")})`;
    context.lineWidth = 1.5;
    context.strokeRect(left, top, Math.max(3, right - left), Math.max(3, bottom - top));
  }

  #drawDots(index: PlaceIndex, inks: Inks): void {
    const { width, height } = this.#room();
    const context = sized(this.#dots, width, height);
    const scale = this.#scale();
    const [x, y] = this.#middle();
    const step = Math.max(1, Math.ceil(index.rows.length / MOST));
    const size = index.rows.length > 2000 ? 1 : 2;
    for (let i = 0; i < index.rows.length; i += step) {
      const row = index.rows[i] as number;
      const [r, g, b, a] = [0, 1, 2, 3].map((c) => inks[4 * row + c] as number);
      context.fillStyle = `rgb(${r} ${g} ${b} / ${(a as number) / 255})`;
      context.fillRect(
        ((index.places[2 * row] as number) - x) * scale + width / 2,
        ((index.places[2 * row + 1] as number) - y) * scale + height / 2,
        size,
        size,
      );
    }
  }

  #room(): { width: number; height: number } {
    const across = Math.max(1, this.#extent.right - this.#extent.left);
    const down = Math.max(1, this.#extent.bottom - this.#extent.top);
    const longer = Math.max(across, down);
    return {
      width: Math.round(Math.max(LEAST, (SIDE * across) / longer)),
      height: Math.round(Math.max(LEAST, (SIDE * down) / longer)),
    };
  }

  #scale(): number {
    // As the stage fits its map, with its margin in proportion.
    const { width, height } = this.#room();
    return fittingScale(this.#extent, { width: width + 16, height: height + 16 });
  }

  #middle(): [number, number] {
    const { left, right, top, bottom } = this.#extent;
    return [(left + right) / 2, (top + bottom) / 2];
  }
}
