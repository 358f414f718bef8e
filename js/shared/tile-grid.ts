/**
 * Tiles that wrap like words and scroll: only what is in view is painted. Arrow keys move a cursor,
 * Ctrl and wheel zoom about the pointer, a view says what a tile shows.
 */

import { element } from "./controls.ts";
import { cellAt, type Layout, makeLayout, neighbour, reveal, stripOrigin } from "./tiles.ts";
import { themeColour, type View } from "./view.ts";

export interface TileContent {
  /** how the tiles are called as a whole, for a screen reader */
  label: string;
  /** items in the order that they stand in; an item is what the view's callbacks get */
  items: Uint32Array;
  /** tiles side by side for each item */
  panels: number;
  /** size of a tile in CSS pixels */
  width: number;
  height: number;
  /** most height before tiles scroll, in CSS pixels */
  maxHeight: number;
  /** changes when other things stand here: the cursor goes to the first */
  subject: string;
  chosen: ReadonlySet<number>;
  /** what the tiles depend on: painted anew only where one of these is another */
  version: unknown[];
  caption(item: number): string;
  /** Paint one tile into a rectangle in device pixels. */
  paint(
    context: CanvasRenderingContext2D,
    item: number,
    panel: number,
    x: number,
    y: number,
    width: number,
    height: number,
  ): void;
}

/** A place on a tile, as fractions of its sides. */
export interface TilePoint {
  item: number;
  panel: number;
  across: number;
  down: number;
}

export interface TileActions {
  point(at: TilePoint | null): void;
  press(at: TilePoint): void;
  /** the cursor came to an item by a key */
  arrive(item: number): void;
  /** Enter or space on the item under the cursor */
  enter(item: number): void;
  zoom(direction: number): void;
}

export class TileGrid {
  readonly node: HTMLElement;
  readonly #spacer = element("div", { class: "spacer" });
  readonly #canvas = element("canvas", { "aria-hidden": "true" });
  #painted: unknown[] = [];
  #layout: Layout | null = null;
  #content: TileContent | null = null;
  #cursor = 0;

  readonly #view: View;
  readonly #actions: TileActions;

  constructor(view: View, actions: TileActions) {
    this.#view = view;
    this.#actions = actions;
    this.node = element(
      "div",
      { class: "scroller", tabindex: "0", role: "application" },
      this.#spacer,
    );
    this.#spacer.append(this.#canvas);
    const { signal } = view;
    const on = <K extends keyof HTMLElementEventMap>(
      type: K,
      listener: (event: HTMLElementEventMap[K]) => void,
    ) => this.node.addEventListener(type, listener, { signal, passive: false });
    on("scroll", () => view.redraw());
    on("pointermove", (event) => this.#actions.point(this.#pointAt(event)));
    on("pointerleave", () => this.#actions.point(null));
    on("click", (event) => this.#click(event));
    on("keydown", (event) => this.#key(event));
    on("focus", () => view.redraw());
    on("blur", () => view.redraw());
    on("wheel", (event) => {
      // Only with Ctrl (or a pinch, which browsers report so): otherwise the page scrolls.
      if (!event.ctrlKey) return;
      event.preventDefault();
      this.#actions.zoom(event.deltaY < 0 ? 1 : -1);
    });
  }

  draw(content: TileContent): void {
    const density = window.devicePixelRatio || 1;
    const { node } = this;

    const room = Math.max(40, node.clientWidth);
    const layout = makeLayout({
      outputs: content.items.length,
      panels: content.panels,
      kernelWidth: Math.max(2, Math.round(content.width * density)),
      kernelHeight: Math.max(2, Math.round(content.height * density)),
      matrix: false,
      width: Math.floor(room * density),
      scale: 1,
      density,
    });
    const zoomed = this.#content?.subject === content.subject && this.#content;
    const top = zoomed && zoomed.width !== content.width ? this.#topItem() : null;
    if (this.#content?.subject !== content.subject) {
      if (this.#content) node.scrollTo(0, 0);
      this.#cursor = content.items[0] ?? 0;
    }
    this.#content = content;
    this.#layout = layout;
    const height = Math.max(1, Math.ceil(layout.contentHeight / density));
    this.#spacer.style.width = `${layout.contentWidth / density}px`;
    this.#spacer.style.height = `${height}px`;
    const bar = node.offsetHeight - node.clientHeight;
    node.style.height = `${Math.min(content.maxHeight, height) + bar}px`;
    if (top !== null) {
      const place = content.items.indexOf(top);
      if (place >= 0) node.scrollTop = (stripOrigin(layout, place).y - layout.gutterY) / density;
    }
    node.setAttribute("aria-label", content.label);
    this.#fill(layout, content, room, Math.min(height, node.clientHeight));
  }

  /** Bring an item into view, and the cursor to it. */
  reveal(item: number): void {
    this.#cursor = item;
    const { node } = this;

    const layout = this.#layout;
    const content = this.#content;
    const position = content?.items.indexOf(item) ?? -1;
    if (!layout || position < 0) return;
    const { density } = layout;
    const top = (stripOrigin(layout, position).y - layout.gutterY) / density;
    node.scrollTop = reveal(node.scrollTop, node.clientHeight, top, layout.lineHeight / density);
  }

  #topItem(): number | null {
    const { node } = this;

    const layout = this.#layout;
    const content = this.#content;
    if (!layout || !content) return null;
    const line = Math.round((node.scrollTop * layout.density) / layout.lineHeight);
    return content.items[line * layout.perLine] ?? null;
  }

  #fill(layout: Layout, content: TileContent, room: number, height: number): void {
    const canvas = this.#canvas;
    const { density } = layout;
    const width = Math.floor(room * density);
    const tall = Math.floor(height * density);
    if (canvas.width !== width || canvas.height !== tall) {
      canvas.width = width;
      canvas.height = tall;
      canvas.style.width = `${room}px`;
      canvas.style.height = `${height}px`;
    }
    const ink = `rgb(${themeColour(this.#view, "--ink-soft").join(" ")})`;
    const accent = `rgb(${themeColour(this.#view, "--accent").join(" ")})`;
    const scrolled = Math.round(this.node.scrollTop * density);
    const cursor = this.#view.root.activeElement === this.node ? this.#cursor : -1;
    const size = [width, tall, content.width, content.height, content.panels];
    const painted = [...content.version, ...size, scrolled, ink, accent, cursor];
    if (painted.every((part, i) => part === this.#painted[i])) return;
    this.#painted = painted;
    const context = canvas.getContext("2d");
    if (!context) throw new Error("this browser gave no canvas to draw on");
    context.clearRect(0, 0, width, tall);
    context.font = `${11 * density}px system-ui, sans-serif`;
    context.textBaseline = "middle";
    const first = Math.max(0, Math.floor((scrolled - layout.gutterY) / layout.lineHeight));
    const last = Math.min(layout.lines - 1, Math.floor((scrolled + tall) / layout.lineHeight));
    const end = Math.min(layout.outputs, (last + 1) * layout.perLine);
    for (let position = first * layout.perLine; position < end; position++) {
      const item = content.items[position] as number;
      const { x, y } = stripOrigin(layout, position);
      const top = y - scrolled;
      for (let panel = 0; panel < layout.panels; panel++) {
        const left = x + panel * (layout.panelWidth + layout.panelGap);
        content.paint(context, item, panel, left, top, layout.panelWidth, layout.panelHeight);
      }
      const chosen = content.chosen.has(item);
      if (chosen) {
        context.strokeStyle = accent;
        context.lineWidth = Math.max(2, Math.round(2.5 * density));
        const half = context.lineWidth / 2;
        context.strokeRect(
          x - half,
          top - half,
          layout.stripWidth + 2 * half,
          layout.panelHeight + 2 * half,
        );
      }
      if (layout.caption > 0) {
        context.fillStyle = chosen ? accent : ink;
        const middle = top + layout.panelHeight + layout.caption / 2 + 2 * density;
        context.fillText(content.caption(item), x, middle, layout.stripWidth);
      }
    }
    if (cursor >= 0) this.#drawCursor(context, layout, scrolled);
  }

  #drawCursor(context: CanvasRenderingContext2D, layout: Layout, scrolled: number): void {
    const position = this.#content?.items.indexOf(this.#cursor) ?? -1;
    if (position < 0) return;
    const { x, y } = stripOrigin(layout, position);
    outline(
      context,
      x,
      y - scrolled,
      layout.stripWidth,
      layout.panelHeight,
      Math.max(1, layout.density),
    );
  }

  #pointAt(event: MouseEvent): TilePoint | null {
    const layout = this.#layout;
    const content = this.#content;
    if (!layout || !content) return null;
    const box = this.#canvas.getBoundingClientRect();
    const x = (event.clientX - box.left) * layout.density;
    const y =
      (event.clientY - box.top) * layout.density + Math.round(this.node.scrollTop * layout.density);
    const cell = cellAt(layout, x, y);
    if (!cell) return null;
    return {
      item: content.items[cell.position] as number,
      panel: cell.panel,
      across: cell.column / layout.panelWidth,
      down: cell.row / layout.panelHeight,
    };
  }

  #click(event: MouseEvent): void {
    const at = this.#pointAt(event);
    if (!at) return;
    this.#cursor = at.item;
    this.#actions.press(at);
  }

  #key(event: KeyboardEvent): void {
    if (!this.#content || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "Enter" || event.key === " ") this.#actions.enter(this.#cursor);
    else if (event.key === "+" || event.key === "=") this.#actions.zoom(1);
    else if (event.key === "-") this.#actions.zoom(-1);
    else if (/^(Arrow|Page|Home|End)/.test(event.key)) this.move(event.key);
    else return;
    event.preventDefault();
    event.stopPropagation();
  }

  /** Move the cursor as a key such as "ArrowLeft" does. */
  move(key: string): void {
    const layout = this.#layout;
    const content = this.#content;
    if (!layout || !content) return;
    const position = Math.max(0, content.items.indexOf(this.#cursor));
    const item = content.items[neighbour(layout, position, 0, key).position];
    if (item === undefined) return;
    this.reveal(item);
    this.#actions.arrive(item);
    this.#view.redraw();
  }
}

/** Two rings, dark in light, so that it shows on any colour. */
export function outline(
  context: CanvasRenderingContext2D,
  x: number,
  y: number,
  width: number,
  height: number,
  density: number,
): void {
  context.lineWidth = density;
  context.strokeStyle = "#fff";
  context.strokeRect(x + 0.5 * density, y + 0.5 * density, width - density, height - density);
  context.strokeStyle = "#000";
  context.strokeRect(
    x + 1.5 * density,
    y + 1.5 * density,
    width - 3 * density,
    height - 3 * density,
  );
}
