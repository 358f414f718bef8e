/**
 * Masks that a hand moves over the picture: mouse, pen, finger or keys. The layer fills its host,
 * shows the masks filled with what stands in for the covered pixels, and tells of each change.
 */

import { element, svg } from "../shared/controls.ts";
import { maskKey } from "./mask-keys.ts";
import {
  centreOf,
  covered,
  grown,
  HANDLES,
  type Handle,
  handlePoint,
  handlesOf,
  type MaskState,
  maskAt,
  maskOf,
  moved,
  outlineOf,
  type Point,
  painted,
  resized,
  type Shape,
} from "./masks.ts";

export type { MaskState, Point } from "./masks.ts";
export { covered } from "./masks.ts";

export interface MaskLayerOptions {
  /** sides of the network's input in pixels */
  height: number;
  width: number;
  /** pixels that an arrow key goes with Shift */
  stride: () => number;
  newShape: () => Shape;
  /** side of a new mask and width of the brush, in pixels */
  size: () => number;
  /** Masks are others now; `done` when the hand rests. The point is the middle of the mask. */
  changed(masks: MaskState[], what: { done: boolean; point: Point }): void;
  /** Where the pointer is, in pixels with fractions; null when it is elsewhere or drags. */
  hover(point: Point | null): void;
}

interface Hold {
  pointer: number;
  does: "move" | "resize" | "paint" | "tap";
  /** what there was before, and how the mask in hand began */
  before: MaskState[];
  mask: MaskState | null;
  from: Point;
  handle: Handle;
  /** whether anything has changed yet */
  changed: boolean;
}

/** CSS pixels by which a hand may miss a mask. */
const SLACK = 8;
/** CSS pixels from handle to handle. */
const ROOM = 28;

export class MaskLayer {
  /** covers the picture; masks within it take the focus in turn */
  readonly element = element("div", {
    class: "masks",
    role: "application",
    "aria-label":
      "Masks over the picture. Enter adds a mask, Tab goes from mask to mask, arrow keys move it, " +
      "plus and minus resize it, Delete takes it away.",
  });

  readonly #options: MaskLayerOptions;
  readonly #fill = element("canvas", { "aria-hidden": "true" });
  readonly #lines: SVGSVGElement;
  readonly #ghost = [svg("path", { class: "under" }), svg("path", { class: "dashes" })];
  readonly #boxes = element("div", { class: "boxes" });
  readonly #handles = HANDLES.map((handle) => element("i", { "data-handle": handle.join() }));
  readonly #ending = new AbortController();
  readonly #resizing = new ResizeObserver(() => this.#draw());
  #masks: MaskState[] = [];
  #chosen = -1;
  #preview: ImageData | null = null;
  #shown: MaskState | null = null;
  #hold: Hold | null = null;
  /** a key has changed masks and is still down */
  #pressed = false;

  constructor(host: HTMLElement, options: MaskLayerOptions) {
    this.#options = options;
    const { width, height } = options;
    this.#fill.width = width;
    this.#fill.height = height;
    this.#lines = svg("svg", {
      viewBox: `0 0 ${width} ${height}`,
      preserveAspectRatio: "none",
      "aria-hidden": "true",
    });
    this.element.append(this.#fill, this.#lines, this.#boxes, ...this.#handles);
    this.#listen();
    this.#resizing.observe(this.element);
    host.append(this.element);
    this.#draw();
  }

  get masks(): MaskState[] {
    return this.#masks;
  }

  /** Number of the mask that keys and handles act on; -1 for none. */
  get chosen(): number {
    return this.#chosen;
  }

  /**
   * Show these masks. While a hand changes masks, its own stay. The chosen one stays chosen unless
   * `current` is false.
   */
  set(masks: MaskState[], current = true): void {
    if (this.#hold || this.#pressed) return;
    this.#masks = masks;
    if (!current || this.#chosen >= masks.length) this.#chosen = -1;
    this.#draw();
  }

  /** Another mask in the middle of the picture, or beside what is there. */
  add(): void {
    const { height, width, size, newShape, stride } = this.#options;
    const taken = ([row, column]: Point) =>
      this.#masks.some((mask) => {
        const [y, x] = centreOf(mask);
        return Math.abs(y - row) < 2 && Math.abs(x - column) < 2;
      });
    const step = Math.max(4, stride());
    let point: Point = [height / 2, width / 2];
    for (let i = 0; taken(point) && i < 16; i++) {
      point = [(point[0] + step) % height, (point[1] + step) % width];
    }
    this.#masks = [...this.#masks, maskOf(newShape(), point, size(), this.#options)];
    this.#choose(this.#masks.length - 1, true);
    this.#tell(true);
  }

  /** Take away the chosen mask, or the last one. */
  remove(): void {
    if (this.#masks.length === 0) return;
    const gone = this.#chosen < 0 ? this.#masks.length - 1 : this.#chosen;
    const focused = this.#boxes.contains(this.#active());
    const [mask] = this.#masks.slice(gone, gone + 1);
    this.#masks = this.#masks.filter((_, i) => i !== gone);
    this.#choose(Math.min(gone, this.#masks.length - 1), focused);
    this.#tell(true, mask && centreOf(mask));
  }

  clear(): void {
    if (this.#masks.length === 0) return;
    const focused = this.#boxes.contains(this.#active());
    this.#masks = [];
    this.#choose(-1, focused);
    this.#tell(true, [this.#options.height / 2, this.#options.width / 2]);
  }

  /** Fill masks with the pixels of this picture, of the input's size; null fills them with grey. */
  setPreview(replacement: ImageData | null): void {
    const { height, width } = this.#options;
    if (replacement && (replacement.width !== width || replacement.height !== height)) {
      throw new Error(
        `expected a replacement of ${width}×${height} pixels, got one of ` +
          `${replacement.width}×${replacement.height}`,
      );
    }
    this.#preview = replacement;
    this.#draw();
  }

  /** A dashed outline of a mask that is none of those set. */
  ghost(mask: MaskState | null): void {
    this.#shown = mask;
    this.#drawGhost(mask);
  }

  destroy(): void {
    this.#ending.abort();
    this.#resizing.disconnect();
    this.element.remove();
  }

  // Hands

  #listen(): void {
    const { signal } = this.#ending;
    const on = <K extends keyof HTMLElementEventMap>(
      type: K,
      act: (event: HTMLElementEventMap[K]) => void,
    ) => this.element.addEventListener(type, act, { signal });
    on("pointerdown", (event) => this.#press(event));
    on("pointermove", (event) => this.#drag(event));
    on("pointerup", (event) => this.#lift(event));
    on("pointercancel", (event) => this.#lift(event));
    on("lostpointercapture", (event) => this.#lift(event));
    on("pointerleave", () => this.#leave());
    on("keydown", (event) => this.#key(event));
    on("keyup", () => this.#rest());
    on("focusout", () => this.#rest());
    on("focusin", ({ target }) => {
      const index = [...this.#boxes.children].indexOf(target as Element);
      if (index >= 0 && index !== this.#chosen) this.#choose(index, false);
    });
  }

  #point(event: PointerEvent): Point {
    const box = this.element.getBoundingClientRect();
    return [
      ((event.clientY - box.top) / box.height) * this.#options.height,
      ((event.clientX - box.left) / box.width) * this.#options.width,
    ];
  }

  #press(event: PointerEvent): void {
    if (this.#hold || event.button !== 0 || !event.isPrimary) return;
    this.#rest();
    const from = this.#point(event);
    const handle = (event.target as HTMLElement).dataset.handle;
    const does = handle ? "resize" : this.#begin(from, event);
    this.#options.hover(does || event.pointerType !== "touch" ? null : from);
    if (!does) {
      this.#choose(-1, true);
      return;
    }
    this.#hold = {
      pointer: event.pointerId,
      does,
      before: this.#masks,
      mask: this.#masks[this.#chosen] ?? null,
      from,
      handle: (handle?.split(",").map(Number) ?? [0, 0]) as Handle,
      changed: false,
    };
    // A finger that may yet scroll the page keeps its freedom.
    if (does === "tap") return;
    this.element.setPointerCapture(event.pointerId);
    event.preventDefault();
    if (this.#chosen >= 0) this.#choose(this.#chosen, true);
    if (does === "paint") this.#paint(from);
    else if (this.#chosen < 0) this.#place(from);
  }

  /** What a press at a point begins, with the mask that it is about chosen; null for nothing. */
  #begin(point: Point, event: PointerEvent): Hold["does"] | null {
    const hit = maskAt(this.#masks, point, SLACK / this.#scale());
    const mask = this.#masks[hit];
    const brush = this.#options.newShape() === "brush";
    const onto = mask?.shape === "brush" && !event.ctrlKey && !event.metaKey;
    if (brush && (!mask || onto)) {
      if (mask) this.#chosen = hit;
      return "paint";
    }
    if (mask) {
      this.#chosen = hit;
      return "move";
    }
    if (this.#masks.length > 0) return null;
    this.#chosen = -1;
    return event.pointerType === "touch" ? "tap" : "move";
  }

  #drag(event: PointerEvent): void {
    const hold = this.#hold;
    const point = this.#point(event);
    if (!hold) {
      if (event.pointerType !== "touch") this.#hover(point);
      return;
    }
    if (event.pointerId !== hold.pointer) return;
    if (hold.does === "paint") this.#paint(point);
    if (hold.does === "paint" || !hold.mask) return;
    const by: Point = [point[0] - hold.from[0], point[1] - hold.from[1]];
    const ratio = event.altKey || event.shiftKey;
    const mask =
      hold.does === "move"
        ? moved(hold.mask, ...by, this.#options)
        : resized(hold.mask, hold.handle, by, ratio, this.#options);
    if (by[0] || by[1] || hold.changed) this.#change(mask);
  }

  #lift(event: PointerEvent): void {
    const hold = this.#hold;
    if (!hold || event.pointerId !== hold.pointer) return;
    if (hold.does === "tap" && event.type === "pointerup") this.#place(this.#point(event));
    this.#hold = null;
    if (hold.changed) this.#tell(true);
  }

  /** A new mask around a point, in the hand. */
  #place(point: Point): void {
    const { newShape, size } = this.#options;
    const mask = maskOf(newShape(), point, size(), this.#options);
    if (this.#hold) Object.assign(this.#hold, { mask, changed: true });
    this.#masks = [...this.#masks, mask];
    this.#choose(this.#masks.length - 1, true);
    this.#tell(false);
  }

  #paint(to: Point): void {
    const hold = this.#hold as Hold;
    const onto = this.#masks[this.#chosen];
    const old = onto?.shape === "brush" ? onto : null;
    const mask = painted(old, hold.from, to, this.#options.size(), this.#options);
    hold.from = to;
    if (mask.height === 0) return;
    if (old) {
      this.#change(mask);
      return;
    }
    hold.changed = true;
    this.#masks = [...this.#masks, mask];
    this.#choose(this.#masks.length - 1, true);
    this.#tell(false);
  }

  #hover(point: Point): void {
    const { newShape, size, hover } = this.#options;
    hover(point);
    if (this.#shown || newShape() !== "brush") return;
    const [row, column] = point;
    const side = size();
    const box = { top: row - side / 2, left: column - side / 2, height: side, width: side };
    this.#drawGhost({ shape: "circle", ...box });
  }

  #leave(): void {
    if (this.#hold) return;
    this.#options.hover(null);
    this.#drawGhost(this.#shown);
  }

  // Keys

  #key(event: KeyboardEvent): void {
    const key = maskKey(event, Math.max(1, this.#options.stride()));
    const mask = this.#masks[this.#chosen];
    if (!key || (!mask && key.does !== "add")) return;
    event.preventDefault();
    event.stopPropagation();
    if (this.#hold) {
      if (key.does === "deselect") this.#takeBack(this.#hold);
    } else if (key.does === "add") this.add();
    else if (key.does === "remove") this.remove();
    else if (key.does === "deselect") this.#choose(-1, true);
    else if (mask) {
      this.#pressed = true;
      if (key.does === "move") this.#change(moved(mask, key.down, key.across, this.#options));
      else this.#change(grown(mask, key.rows, key.columns, this.#options));
    }
  }

  /** Put back what there was when the hand took hold. */
  #takeBack(hold: Hold): void {
    this.#hold = null;
    this.#masks = hold.before;
    this.#choose(Math.min(this.#chosen, this.#masks.length - 1), true);
    if (hold.changed) this.#tell(true, hold.from);
  }

  /** Keys are up again. */
  #rest(): void {
    if (!this.#pressed) return;
    this.#pressed = false;
    this.#tell(true);
  }

  // What is there

  #change(mask: MaskState): void {
    const chosen = this.#chosen;
    if (JSON.stringify(mask) === JSON.stringify(this.#masks[chosen])) return;
    if (this.#hold) this.#hold.changed = true;
    this.#masks = this.#masks.map((old, i) => (i === chosen ? mask : old));
    this.#draw();
    this.#tell(false);
  }

  #tell(done: boolean, point?: Point): void {
    const mask = this.#masks[this.#chosen] ?? this.#masks.at(-1);
    const at = point ?? (mask && centreOf(mask)) ?? [0, 0];
    this.#options.changed(this.#masks, { done, point: at });
  }

  #choose(index: number, focus: boolean): void {
    this.#chosen = index;
    this.#draw();
    const node = (this.#boxes.children[index] ?? this.element) as HTMLElement;
    if (focus && node !== this.#active()) node.focus({ preventScroll: true });
  }

  #active(): Element | null {
    return (this.element.getRootNode() as Document | ShadowRoot).activeElement;
  }

  // What it looks like

  /** CSS pixels to a pixel of the input. */
  #scale(): number {
    return Math.max(0.01, this.element.clientWidth / this.#options.width);
  }

  #draw(): void {
    // With masks, they are what Tab goes to.
    this.element.tabIndex = this.#masks.length > 0 ? -1 : 0;
    this.#drawFill();
    const lines = this.#masks.flatMap((mask, i) => {
      const d = outlineOf(mask);
      const over = i === this.#chosen ? "over chosen" : "over";
      return [svg("path", { d, class: "under" }), svg("path", { d, class: over })];
    });
    this.#lines.replaceChildren(...lines, ...this.#ghost);
    this.#drawBoxes();
    this.#drawHandles();
  }

  #drawFill(): void {
    const { height, width } = this.#options;
    const context = this.#fill.getContext("2d");
    if (!context) throw new Error("this browser gave no canvas to draw on");
    const plane = covered(this.#masks, height, width);
    const image = context.createImageData(width, height);
    const pixels = new Uint32Array(image.data.buffer);
    const from = this.#preview && new Uint32Array(this.#preview.data.slice().buffer);
    for (let i = 0; i < plane.length; i++) {
      // Half-transparent grey, in either order of bytes.
      if (plane[i]) pixels[i] = from ? (from[i] as number) : 0xb0808080;
    }
    context.putImageData(image, 0, 0);
  }

  #drawGhost(mask: MaskState | null): void {
    for (const path of this.#ghost) path.setAttribute("d", mask ? outlineOf(mask) : "");
  }

  #drawBoxes(): void {
    const { children } = this.#boxes;
    while (children.length > this.#masks.length) children[children.length - 1]?.remove();
    while (children.length < this.#masks.length) {
      const attributes = { tabindex: "0", role: "group", "aria-roledescription": "mask" };
      this.#boxes.append(element("div", attributes));
    }
    const { height, width, newShape } = this.#options;
    this.element.dataset.brush = String(newShape() === "brush");
    this.#masks.forEach((mask, i) => {
      const node = children[i] as HTMLElement;
      node.style.top = `${(100 * mask.top) / height}%`;
      node.style.left = `${(100 * mask.left) / width}%`;
      node.style.height = `${(100 * mask.height) / height}%`;
      node.style.width = `${(100 * mask.width) / width}%`;
      const label =
        `${mask.shape} ${i + 1} of ${this.#masks.length}, ${mask.width} wide and ` +
        `${mask.height} high, from row ${mask.top}, column ${mask.left}`;
      if (node.getAttribute("aria-label") !== label) node.setAttribute("aria-label", label);
    });
  }

  #drawHandles(): void {
    const mask = this.#masks[this.#chosen];
    const shown = mask ? handlesOf(mask, ROOM / this.#scale(), this.#options) : [];
    this.#handles.forEach((node, i) => {
      const handle = HANDLES[i] as Handle;
      node.hidden = !shown.includes(handle);
      if (!mask) return;
      const [row, column] = handlePoint(mask, handle, this.#options);
      node.style.top = `${(100 * row) / this.#options.height}%`;
      node.style.left = `${(100 * column) / this.#options.width}%`;
    });
  }
}
