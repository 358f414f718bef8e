/** The scrolling canvas of all kernels: draws what is in view, knows what is under the pointer. */

import { pixel } from "../shared/colormaps.ts";
import { element } from "../shared/controls.ts";
import { outline } from "../shared/tile-grid.ts";
import {
  type Cell,
  cellAt,
  fittingScale,
  type Layout,
  makeLayout,
  neighbour,
  pointOf,
  reveal,
  type Spot,
  spotAt,
  stripOrigin,
} from "../shared/tiles.ts";
import { themeColour, type View } from "../shared/view.ts";
import { FLAG, type Frame } from "./frame.ts";
import type { Focus } from "./lens.ts";
import { type Paint, paintGrid } from "./paint.ts";

/** Most height that kernels take before they scroll, in CSS pixels. */
const MAX_HEIGHT = 440;

export interface GridActions {
  point(focus: Focus | null): void;
  /** `extend` keeps what was selected and adds the run from the last selected place */
  select(output: number, extend: boolean): void;
  clear(): void;
  zoom(direction: number): void;
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
  /** what the lens shows */
  focus: Focus | null;
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
  /** keyboard cursor: a channel, so that sorting does not move it to another kernel */
  private cursor = { output: 0, panel: 0 };
  /** point of the window, in CSS pixels, that stays where it is when the scale changes */
  private anchor: { x: number; y: number } | null = null;

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
    const density = window.devicePixelRatio || 1;
    const { frame } = content;
    const { scroller } = this;
    const room = Math.max(40, scroller.clientWidth);
    const input = {
      outputs: frame.outputs,
      panels: content.panels,
      kernelWidth: frame.width,
      kernelHeight: frame.height,
      matrix: content.matrix,
      width: Math.floor(room * density),
      density,
    };
    const scale =
      content.zoom > 0
        ? Math.max(1, Math.round(content.zoom * density))
        : fittingScale(input, MAX_HEIGHT * density);
    const layout = makeLayout({ ...input, scale });
    const sameLayer = this.content?.frame.layer === frame.layer;
    const zoomed = sameLayer && this.content?.zoom !== content.zoom;
    const kept = zoomed ? this.keptSpot(content) : null;
    this.content = content;
    this.layout = layout;
    if (!sameLayer) {
      this.cursor = { output: content.order[0] ?? 0, panel: 0 };
      scroller.scrollTo(0, 0);
    }
    const height = Math.ceil(layout.contentHeight / density);
    this.spacer.style.width = `${layout.contentWidth / density}px`;
    this.spacer.style.height = `${height}px`;
    // A scroll bar that is not laid over takes its room from the kernels.
    const bar = scroller.offsetHeight - scroller.clientHeight;
    scroller.style.height = `${Math.min(MAX_HEIGHT, height) + bar}px`;
    if (kept) {
      const point = pointOf(layout, kept.spot);
      scroller.scrollLeft = point.x / density - kept.x;
      scroller.scrollTop = point.y / density - kept.y;
    }
    scroller.setAttribute(
      "aria-label",
      `${frame.outputs} kernels of ${frame.layer}. Arrow keys move, Enter selects.`,
    );
    this.fill(layout, content, room, Math.min(height, scroller.clientHeight));
  }

  /** What shall stay in its place when zooming: pointer, else the kernel in the lens, else the middle. */
  private keptSpot(content: GridContent): { spot: Spot; x: number; y: number } | null {
    const { layout, scroller, anchor } = this;
    if (!layout) return null;
    const { density } = layout;
    const middle = { x: scroller.clientWidth / 2, y: scroller.clientHeight / 2 };
    let at = anchor ?? middle;
    this.anchor = null;
    if (!anchor && content.focus) {
      const origin = stripOrigin(layout, this.positionOf(content, content.focus.output));
      const x = origin.x + (content.focus.panel + 0.5) * (layout.panelWidth + layout.panelGap);
      const y = origin.y + layout.panelHeight / 2;
      const point = { x: x / density - scroller.scrollLeft, y: y / density - scroller.scrollTop };
      const inView = point.y > 0 && point.y < scroller.clientHeight;
      if (inView && point.x > 0 && point.x < scroller.clientWidth) at = point;
    }
    const spot = spotAt(
      layout,
      (scroller.scrollLeft + at.x) * density,
      (scroller.scrollTop + at.y) * density,
    );
    return { spot, ...at };
  }

  private get focused(): boolean {
    return this.view.root.activeElement === this.scroller;
  }

  private positionOf(content: GridContent, output: number): number {
    return Math.max(0, content.order.indexOf(output));
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
    this.drawCursor(context, layout, content, scrollX, scrollY);
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
    const left = Math.max(layout.fixedX, x);
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
    content: GridContent,
    scrollX: number,
    scrollY: number,
  ): void {
    if (!this.focused) return;
    const origin = stripOrigin(layout, this.positionOf(content, this.cursor.output));
    const panel = Math.min(this.cursor.panel, layout.panels - 1);
    outline(
      context,
      origin.x + panel * (layout.panelWidth + layout.panelGap) - scrollX,
      origin.y - scrollY,
      layout.panelWidth,
      layout.panelHeight,
      layout.density,
    );
  }

  private cellUnder(event: MouseEvent): Cell | null {
    const { layout } = this;
    if (!layout) return null;
    const box = this.canvas.getBoundingClientRect();
    const x = (event.clientX - box.left) * layout.density;
    const y = (event.clientY - box.top) * layout.density;
    if (x < layout.fixedX || y < layout.fixedY) return null;
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
    const output = this.content.order[cell.position] as number;
    this.cursor = { output, panel: cell.panel };
    this.actions.select(output, event.shiftKey);
  }

  private key(event: KeyboardEvent): void {
    const { layout, content } = this;
    if (!layout || !content || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "Enter" || event.key === " ") {
      this.actions.select(this.cursor.output, event.shiftKey);
    } else if (event.key === "Escape") this.actions.clear();
    else if (event.key === "+" || event.key === "=") this.actions.zoom(1);
    else if (event.key === "-") this.actions.zoom(-1);
    else if (/^(Arrow|Page|Home|End)/.test(event.key)) this.move(layout, content, event.key);
    else return;
    event.preventDefault();
  }

  private move(layout: Layout, content: GridContent, key: string): void {
    const position = this.positionOf(content, this.cursor.output);
    const panel = Math.min(this.cursor.panel, layout.panels - 1);
    const next = neighbour(layout, position, panel, key);
    this.cursor = { output: content.order[next.position] as number, panel: next.panel };
    this.showPlace(layout, next.position, next.panel);
    const focus = { ...this.cursor, row: null, column: null };
    this.actions.point(focus);
    this.actions.announce(focus);
  }

  private showPlace(layout: Layout, position: number, panel: number): void {
    const { density } = layout;
    const origin = stripOrigin(layout, position);
    const left = origin.x + panel * (layout.panelWidth + layout.panelGap);
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
    const box = this.scroller.getBoundingClientRect();
    this.anchor = { x: event.clientX - box.left, y: event.clientY - box.top };
    this.actions.zoom(event.deltaY < 0 ? 1 : -1);
  }
}

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
