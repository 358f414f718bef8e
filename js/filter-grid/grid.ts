/** The scrolling canvas of all kernels: draws what is in view, knows what is under the pointer. */

import { pixel } from "../shared/colormaps.ts";
import { element } from "../shared/controls.ts";
import { themeColour, type View } from "../shared/view.ts";
import { FLAG, type Frame } from "./frame.ts";
import {
  type Cell,
  cellAt,
  fittingScale,
  type Layout,
  makeLayout,
  neighbour,
  reveal,
  stripOrigin,
} from "./layout.ts";
import type { Focus } from "./lens.ts";
import { outline } from "./lens.ts";
import { type Paint, paintGrid } from "./paint.ts";

/** Most height that kernels take before they scroll, in CSS pixels. */
const MAX_HEIGHT = 440;

export interface GridActions {
  point(focus: Focus | null): void;
  /** `extend` keeps what was selected and adds the run from the last selected place */
  select(output: number, extend: boolean): void;
  clear(): void;
  zoom(factor: number): void;
  announce(focus: Focus): void;
}

export interface GridContent {
  frame: Frame;
  order: Uint16Array;
  selected: Set<number>;
  duplicates: Record<string, number>;
  matrix: boolean;
  panels: number;
  /** CSS pixels a weight; 0 fits */
  zoom: number;
  paint: Pick<Paint, "normalise" | "centred" | "map">;
}

export class GridCanvas {
  readonly node: HTMLElement;
  private readonly scroller: HTMLElement;
  private readonly spacer = element("div", { class: "spacer" });
  private readonly canvas = element("canvas", { "aria-hidden": "true" });
  private layout: Layout | null = null;
  private content: GridContent | null = null;
  private painted: Paint | null = null;
  /** place of the keyboard cursor in the sorted order */
  private cursor = { position: 0, panel: 0 };

  constructor(
    private readonly view: View,
    private readonly actions: GridActions,
  ) {
    this.scroller = element(
      "div",
      { class: "scroller", tabindex: "0", role: "application", "aria-describedby": "keys" },
      this.spacer,
    );
    this.spacer.append(this.canvas);
    this.node = this.scroller;
    const { signal } = view;
    const on = <K extends keyof HTMLElementEventMap>(
      type: K,
      listener: (event: HTMLElementEventMap[K]) => void,
      passive = true,
    ) => this.scroller.addEventListener(type, listener, { signal, passive });
    on("scroll", () => view.redraw());
    on("pointermove", (event) => this.actions.point(this.focusAt(event)));
    on("click", (event) => this.click(event), false);
    on("keydown", (event) => this.key(event), false);
    on("focus", () => view.redraw());
    on("blur", () => view.redraw());
    on("wheel", (event) => this.wheel(event), false);
  }

  /** The last picture's ingredients, for the lens. */
  get paint(): Paint | null {
    return this.painted;
  }

  get scale(): number {
    return this.layout ? this.layout.scale / this.layout.density : 1;
  }

  draw(content: GridContent): void {
    this.content = content;
    const density = window.devicePixelRatio || 1;
    const { frame } = content;
    const room = Math.max(40, this.scroller.clientWidth);
    const scale =
      content.zoom > 0
        ? Math.max(1, Math.round(content.zoom * density))
        : fittingScale(frame.width, frame.height, content.matrix, density);
    const layout = makeLayout({
      outputs: frame.outputs,
      panels: content.panels,
      kernelWidth: frame.width,
      kernelHeight: frame.height,
      matrix: content.matrix,
      width: Math.floor(room * density),
      scale,
      density,
    });
    this.layout = layout;
    this.spacer.style.width = `${layout.contentWidth / density}px`;
    this.spacer.style.height = `${layout.contentHeight / density}px`;
    const height = Math.min(MAX_HEIGHT, Math.ceil(layout.contentHeight / density));
    this.scroller.style.height = `${height + 2 + SCROLLBAR * Number(layout.contentWidth > room * density)}px`;
    this.scroller.setAttribute(
      "aria-label",
      `${frame.outputs} kernels of ${frame.layer}. Arrow keys move, Enter selects.`,
    );
    this.fill(layout, content, room, Math.min(height, this.scroller.clientHeight || height));
  }

  private fill(layout: Layout, content: GridContent, room: number, height: number): void {
    const { canvas } = this;
    const width = Math.floor(room * layout.density);
    const tall = Math.floor(height * layout.density);
    if (canvas.width !== width || canvas.height !== tall) {
      canvas.width = width;
      canvas.height = tall;
      canvas.style.width = `${room}px`;
      canvas.style.height = `${height}px`;
    }
    const context = canvas.getContext("2d");
    if (!context) throw new Error("this browser gave no canvas to draw on");
    const image = context.createImageData(width, tall);
    const paper = themeColour(this.view, "--paper");
    const paint: Paint = {
      ...content.paint,
      frame: content.frame,
      layout,
      order: content.order,
      background: pixel(...paper),
    };
    this.painted = paint;
    const surface = {
      pixels: new Uint32Array(image.data.buffer),
      width,
      height: tall,
      scrollX: Math.round(this.scroller.scrollLeft * layout.density),
      scrollY: Math.round(this.scroller.scrollTop * layout.density),
    };
    paintGrid(paint, surface);
    context.putImageData(image, 0, 0);
    this.annotate(context, layout, content, surface.scrollX, surface.scrollY);
  }

  /** Numbers, marks, selection and cursor, over the pixels. */
  private annotate(
    context: CanvasRenderingContext2D,
    layout: Layout,
    content: GridContent,
    scrollX: number,
    scrollY: number,
  ): void {
    const { density } = layout;
    const ink = `rgb(${themeColour(this.view, "--ink-soft").join(" ")})`;
    const accent = `rgb(${themeColour(this.view, "--accent").join(" ")})`;
    context.font = `${11 * density}px system-ui, sans-serif`;
    context.textBaseline = "middle";
    const firstLine = Math.max(0, Math.floor((scrollY - layout.gutterY) / layout.lineHeight));
    const lastLine = Math.min(
      layout.lines - 1,
      Math.ceil((scrollY + context.canvas.height) / layout.lineHeight),
    );
    const end = Math.min(layout.outputs, (lastLine + 1) * layout.perLine);
    for (let position = firstLine * layout.perLine; position < end; position++) {
      const output = content.order[position] as number;
      const origin = stripOrigin(layout, position);
      const x = origin.x - scrollX;
      const y = origin.y - scrollY;
      if (layout.matrix && y + layout.panelHeight / 2 < layout.gutterY) continue;
      const selected = content.selected.has(output);
      if (selected) this.frameStrip(context, layout, x, y, accent);
      this.label(context, layout, content, output, x, y, selected ? accent : ink);
    }
    if (layout.matrix) this.columnNumbers(context, layout, scrollX, ink);
    this.drawCursor(context, layout, scrollX, scrollY);
  }

  private frameStrip(
    context: CanvasRenderingContext2D,
    layout: Layout,
    x: number,
    y: number,
    accent: string,
  ): void {
    const line = Math.max(1, Math.round(2 * layout.density));
    context.strokeStyle = accent;
    context.lineWidth = line;
    const left = Math.max(layout.gutterX, x);
    context.strokeRect(
      left - line / 2,
      y - line / 2,
      layout.stripWidth - (left - x) + line,
      layout.panelHeight + line,
    );
  }

  private label(
    context: CanvasRenderingContext2D,
    layout: Layout,
    content: GridContent,
    output: number,
    x: number,
    y: number,
    colour: string,
  ): void {
    const { density } = layout;
    const marks = marksOf(content, output);
    context.fillStyle = colour;
    if (layout.matrix) {
      if (layout.lineHeight < 9 * density && output % 8 !== 0) return;
      context.textAlign = "right";
      const middle = y + layout.panelHeight / 2;
      context.fillText(
        `${marks}${output}`,
        layout.gutterX - 4 * density,
        middle,
        layout.gutterX - 4 * density,
      );
    } else if (layout.caption > 0) {
      context.textAlign = "left";
      const middle = y + layout.panelHeight + layout.caption / 2;
      context.fillText(`${output}${marks ? ` ${marks}` : ""}`, x, middle, layout.stripWidth);
    }
  }

  private columnNumbers(
    context: CanvasRenderingContext2D,
    layout: Layout,
    scrollX: number,
    ink: string,
  ): void {
    const { density } = layout;
    const step = layout.panelWidth + layout.panelGap;
    const every = Math.max(1, Math.ceil((26 * density) / step));
    context.fillStyle = ink;
    context.textAlign = "center";
    for (let panel = 0; panel < layout.panels; panel += every) {
      const x = layout.gutterX + panel * step + layout.panelWidth / 2 - scrollX;
      if (x > layout.gutterX && x < context.canvas.width) {
        context.fillText(String(panel), x, layout.gutterY / 2);
      }
    }
    context.textAlign = "right";
    context.fillText("out\\in", layout.gutterX - 2 * density, layout.gutterY / 2, layout.gutterX);
  }

  private drawCursor(
    context: CanvasRenderingContext2D,
    layout: Layout,
    scrollX: number,
    scrollY: number,
  ): void {
    if (this.view.root.activeElement !== this.scroller) return;
    const origin = stripOrigin(layout, Math.min(this.cursor.position, layout.outputs - 1));
    const x = origin.x + this.cursor.panel * (layout.panelWidth + layout.panelGap) - scrollX;
    const margin = Math.round(2 * layout.density);
    outline(
      context,
      x - margin,
      origin.y - scrollY - margin,
      layout.panelWidth + 2 * margin,
      layout.panelHeight + 2 * margin,
      layout.density,
    );
  }

  private cellUnder(event: MouseEvent): Cell | null {
    const { layout } = this;
    if (!layout) return null;
    const box = this.canvas.getBoundingClientRect();
    const x = (event.clientX - box.left) * layout.density;
    const y = (event.clientY - box.top) * layout.density;
    if (x < layout.gutterX || y < layout.gutterY) return null;
    return cellAt(
      layout,
      x + Math.round(this.scroller.scrollLeft * layout.density),
      y + Math.round(this.scroller.scrollTop * layout.density),
    );
  }

  private focusAt(event: MouseEvent): Focus | null {
    const cell = this.cellUnder(event);
    if (!cell || !this.content) return null;
    return {
      output: this.content.order[cell.position] as number,
      panel: cell.panel,
      row: cell.row,
      column: cell.column,
    };
  }

  private click(event: MouseEvent): void {
    const cell = this.cellUnder(event);
    if (!cell || !this.content) return;
    this.cursor = { position: cell.position, panel: cell.panel };
    this.actions.select(this.content.order[cell.position] as number, event.shiftKey);
  }

  private key(event: KeyboardEvent): void {
    const { layout, content } = this;
    if (!layout || !content || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "Enter" || event.key === " ") {
      this.actions.select(content.order[this.cursor.position] as number, event.shiftKey);
    } else if (event.key === "Escape") this.actions.clear();
    else if (event.key === "+" || event.key === "=") this.actions.zoom(1);
    else if (event.key === "-") this.actions.zoom(-1);
    else if (/^(Arrow|Page|Home|End)/.test(event.key)) this.move(layout, content, event.key);
    else return;
    event.preventDefault();
  }

  private move(layout: Layout, content: GridContent, key: string): void {
    const position = Math.min(this.cursor.position, layout.outputs - 1);
    const panel = Math.min(this.cursor.panel, layout.panels - 1);
    this.cursor = neighbour(layout, position, panel, key);
    this.showCursor(layout);
    const focus = {
      output: content.order[this.cursor.position] as number,
      panel: this.cursor.panel,
      row: null,
      column: null,
    };
    this.actions.point(focus);
    this.actions.announce(focus);
  }

  private showCursor(layout: Layout): void {
    const { density } = layout;
    const origin = stripOrigin(layout, this.cursor.position);
    const left = origin.x + this.cursor.panel * (layout.panelWidth + layout.panelGap);
    const { scroller } = this;
    scroller.scrollTop = reveal(
      scroller.scrollTop,
      scroller.clientHeight - layout.gutterY / density,
      (origin.y - layout.gutterY) / density,
      layout.lineHeight / density,
    );
    scroller.scrollLeft = reveal(
      scroller.scrollLeft,
      scroller.clientWidth - layout.gutterX / density,
      (left - layout.gutterX) / density,
      layout.panelWidth / density,
    );
  }

  /** Only with Ctrl (or a pinch, which browsers report so): otherwise the page scrolls. */
  private wheel(event: WheelEvent): void {
    if (!event.ctrlKey) return;
    event.preventDefault();
    const { layout, scroller } = this;
    if (!layout) return;
    const before = { x: scroller.scrollLeft, y: scroller.scrollTop };
    const box = scroller.getBoundingClientRect();
    const at = { x: event.clientX - box.left, y: event.clientY - box.top };
    const old = { width: layout.contentWidth, height: layout.contentHeight };
    this.actions.zoom(event.deltaY < 0 ? 1 : -1);
    if (!this.content || !this.layout) return;
    // The kernel under the pointer stays under it.
    this.draw(this.content);
    scroller.scrollLeft = ((before.x + at.x) * this.layout.contentWidth) / old.width - at.x;
    scroller.scrollTop = ((before.y + at.y) * this.layout.contentHeight) / old.height - at.y;
    this.view.redraw();
  }
}

/** Height of a horizontal scroll bar, which takes its room from the kernels. */
const SCROLLBAR = 14;

function marksOf(content: GridContent, output: number): string {
  const flags = content.frame.flags[output] as number;
  const twin = content.duplicates[String(output)];
  return [
    flags & FLAG.noisy ? "▒" : "",
    flags & FLAG.dead ? "∅" : "",
    flags & FLAG.nonfinite ? "✕" : "",
    twin === undefined ? "" : `=${twin}`,
  ].join("");
}
