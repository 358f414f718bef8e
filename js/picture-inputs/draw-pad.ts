/** A pad to draw on by mouse, pen, finger or arrow keys; the network answers while one draws. */

import { button, element } from "../shared/controls.ts";
import type { View } from "../shared/view.ts";
import type { TypedArray } from "../shared/wire.ts";
import { areaAverage, Drawing, type PadSize, padSize, type Stroke } from "./drawing.ts";

const LIGHT = "#fff";
const DARK = "#000";
const COLOURS: Record<string, string> = {
  ink: "ink",
  red: "#d62728",
  orange: "#ff9f1c",
  yellow: "#ffe135",
  green: "#2ca02c",
  blue: "#1f77d4",
  brown: "#7b4a21",
};
/** Of the pad's longer side: what an arrow key moves the pen by. */
const STEP = 0.025;
const STEPS: Record<string, [number, number]> = {
  ArrowLeft: [-STEP, 0],
  ArrowRight: [STEP, 0],
  ArrowUp: [0, -STEP],
  ArrowDown: [0, STEP],
};
/** Button of a pen's other end. */
const PEN_ERASER = 5;

/** Pixels of the pad for Python; `done` is false in the middle of a stroke. */
export type SendDrawing = (pixels: TypedArray, shape: number[], done: boolean) => void;

export interface PadState {
  channels: number;
  width: number;
  height: number;
  /** colour of the paper to begin with */
  dark: boolean;
}

export class DrawPad {
  readonly node: HTMLElement;
  readonly #view: View;
  readonly #send: SendDrawing;
  readonly #canvas = element("canvas", {
    class: "pad",
    tabindex: "0",
    role: "application",
    "aria-label":
      "Draw pad. Arrow keys move the pen, with Shift further; Space puts it down and lifts it; Control and Z undoes; Delete clears.",
  });
  readonly #context = this.#canvas.getContext("2d", {
    willReadFrequently: true,
  }) as CanvasRenderingContext2D;
  readonly #pen = element("span", { class: "pen", hidden: "" });
  readonly #paper = element("div", { class: "paper" }, this.#canvas, this.#pen);
  /** width over the pad's longer side */
  readonly #brush = element("input", {
    type: "range",
    min: "0.02",
    max: "0.25",
    step: "0.01",
    value: "0.09",
  });
  readonly #undo = button("Undo", "Take back the last stroke", () => this.#takeBack());
  readonly #clear = button("Clear", "Clear the pad", () => this.#wipe());
  readonly #turn = button("", "Turn black and white over", () => this.#turnPaper());
  readonly #palette = element("div", { class: "row", role: "group", "aria-label": "Colour" });
  readonly #drawing = new Drawing();
  #stroke: Stroke | null = null;
  /** that draws the stroke; -1 for the keys */
  #pointer = -1;
  #colour = "ink";
  #dark: boolean | null = null;
  #channels = 0;
  #size: PadSize = { width: 0, height: 0, factor: 1 };
  #at: [number, number] = [0, 0];
  #scheduled = 0;

  constructor(view: View, send: SendDrawing) {
    this.#view = view;
    this.#send = send;
    this.node = element(
      "div",
      { class: "panel", role: "group", "aria-label": "Draw" },
      this.#paper,
      element(
        "div",
        { class: "tools" },
        element("label", { class: "control" }, element("span", {}, "Brush"), this.#brush),
        this.#palette,
        element("div", { class: "row" }, this.#undo, this.#clear, this.#turn),
        element(
          "p",
          { class: "hint" },
          "Keys: arrows move the pen, Space puts it down or lifts it, Ctrl+Z undoes.",
        ),
      ),
    );
    this.#listen();
  }

  show({ channels, width, height, dark }: PadState): void {
    this.#dark ??= dark;
    const size = padSize(width, height);
    const known = this.#size;
    if (size.width === known.width && size.height === known.height && channels === this.#channels)
      return;
    this.#channels = channels;
    this.#size = size;
    this.#canvas.width = size.width * size.factor;
    this.#canvas.height = size.height * size.factor;
    this.#paper.style.aspectRatio = `${size.width} / ${size.height}`;
    this.#at = [this.#canvas.width / 2, this.#canvas.height / 2];
    this.#offerColours();
    this.#paint();
  }

  /** Begin where one left off: what is on the pad is what the network sees. */
  opened(): void {
    this.#canvas.focus({ preventScroll: true });
    if (!this.#drawing.empty) this.#changed();
  }

  /** End the stroke, and send nothing more. */
  closed(): void {
    this.#lift();
    cancelAnimationFrame(this.#scheduled);
    this.#scheduled = 0;
  }

  get #side(): number {
    return Math.max(this.#canvas.width, this.#canvas.height);
  }

  #offerColours(): void {
    const some = this.#channels === 1 ? { ink: "ink" } : COLOURS;
    const offered = Object.entries({ ...some, Eraser: "paper" });
    this.#palette.replaceChildren(
      ...offered.map(([name, colour]) => {
        const text = colour === "paper" ? name : "";
        const label = text ? "Rub out" : `Draw in ${name}`;
        const choose = () => {
          this.#colour = colour;
          this.#showTools();
        };
        const node = button(text, label, choose, text ? "button" : "button swatch");
        node.value = colour;
        return node;
      }),
    );
  }

  #listen(): void {
    const canvas = this.#canvas;
    const { signal } = this.#view;
    const on = <K extends keyof HTMLElementEventMap>(
      types: K[],
      act: (event: HTMLElementEventMap[K]) => void,
    ) => {
      for (const type of types) canvas.addEventListener(type, act, { signal });
    };
    on(["pointerdown"], (event) => {
      const { button: pressed, pointerId } = event;
      if (!event.isPrimary || (pressed !== 0 && pressed !== PEN_ERASER)) return;
      event.preventDefault();
      canvas.focus({ preventScroll: true });
      canvas.setPointerCapture(pointerId);
      this.#lift();
      this.#pointer = pointerId;
      this.#at = this.#placeOf(event);
      this.#begin(pressed === PEN_ERASER ? "paper" : this.#colour);
    });
    on(["pointermove"], (event) => {
      if (this.#pointer === event.pointerId) {
        const between = event.getCoalescedEvents?.() ?? [];
        for (const each of between.length ? between : [event]) this.#move(this.#placeOf(each));
      } else if (!this.#stroke) this.#at = this.#placeOf(event);
      this.#showPen(event.pointerType !== "touch");
    });
    on(["pointerup", "pointercancel", "lostpointercapture"], (event) => {
      if (event.pointerId === this.#pointer) this.#lift();
    });
    on(["pointerleave", "blur"], ({ type }) => {
      // A notebook may take the focus in the middle of a stroke of the mouse.
      if (type === "blur" && this.#pointer < 0) this.#lift();
      this.#pen.hidden = true;
    });
    on(["keydown"], (event) => this.#key(event));
    signal.addEventListener("abort", () => cancelAnimationFrame(this.#scheduled));
  }

  #placeOf(event: PointerEvent): [number, number] {
    const { left, top, width, height } = this.#canvas.getBoundingClientRect();
    return [
      ((event.clientX - left) / width) * this.#canvas.width,
      ((event.clientY - top) / height) * this.#canvas.height,
    ];
  }

  #key(event: KeyboardEvent): void {
    const { key } = event;
    const step = STEPS[key];
    if (step) {
      const by = this.#side * (event.shiftKey ? 4 : 1);
      const within = (value: number, limit: number) => Math.min(Math.max(value, 0), limit);
      const [x, y] = this.#at;
      const { width, height } = this.#canvas;
      this.#move([within(x + step[0] * by, width), within(y + step[1] * by, height)]);
    } else if (key === " ") {
      if (this.#stroke) this.#lift();
      else this.#begin(this.#colour);
      this.#view.announce(this.#stroke ? "Pen down" : "Pen up");
    } else if (key === "Delete" || key === "Backspace") this.#wipe();
    else if (key.toLowerCase() === "z" && (event.ctrlKey || event.metaKey)) this.#takeBack();
    else return;
    event.preventDefault();
    event.stopPropagation();
    this.#showPen(true);
  }

  #begin(colour: string): void {
    const width = Number(this.#brush.value) * this.#side;
    this.#stroke = { colour, width, points: [...this.#at] };
    this.#drawing.begin(this.#stroke);
    this.#segment(this.#stroke, 0);
    this.#changed();
  }

  /** Move the pen, drawing if it is down. */
  #move(at: [number, number]): void {
    this.#at = at;
    if (!this.#stroke) return;
    const { points } = this.#stroke;
    points.push(...at);
    this.#segment(this.#stroke, points.length - 4);
    this.#changed();
  }

  #lift(): void {
    this.#pointer = -1;
    if (!this.#stroke) return;
    this.#stroke = null;
    this.#changed();
  }

  #takeBack(): void {
    this.#lift();
    if (!this.#drawing.undoable) return;
    this.#drawing.undo();
    this.#repaint();
  }

  #wipe(): void {
    this.#lift();
    if (this.#drawing.empty) return;
    this.#drawing.clear();
    this.#repaint();
  }

  #turnPaper(): void {
    this.#lift();
    this.#dark = !this.#dark;
    if (this.#drawing.undoable) this.#repaint();
    else this.#paint();
  }

  #repaint(): void {
    this.#paint();
    this.#changed();
  }

  #paint(): void {
    const { width, height } = this.#canvas;
    this.#context.fillStyle = this.#css("paper");
    this.#context.fillRect(0, 0, width, height);
    for (const stroke of this.#drawing.strokes) {
      for (let i = 0; i === 0 || i + 3 < stroke.points.length; i += 2) this.#segment(stroke, i);
    }
    this.#showTools();
  }

  #css(colour: string): string {
    if (colour !== "ink" && colour !== "paper") return colour;
    return (colour === "paper") === this.#dark ? DARK : LIGHT;
  }

  /** Draw from the point at `i` to the next; a single point is a dot. */
  #segment({ colour, width, points }: Stroke, i: number): void {
    const context = this.#context;
    const [x = 0, y = 0, toX, toY] = points.slice(i, i + 4);
    context.strokeStyle = this.#css(colour);
    context.lineWidth = width;
    context.lineCap = "round";
    context.beginPath();
    context.moveTo(x, y);
    // A line of no length has no ends to round in some browsers.
    context.lineTo(toX ?? x + 0.01, toY ?? y);
    context.stroke();
  }

  /** Send what is drawn, once before the next frame. */
  #changed(): void {
    this.#showTools();
    if (this.#scheduled) return;
    this.#scheduled = requestAnimationFrame(() => {
      this.#scheduled = 0;
      const { width, height, factor } = this.#size;
      const [across, down, channels] = [width * factor, height * factor, this.#channels];
      const { data } = this.#context.getImageData(0, 0, across, down);
      const pixels = areaAverage(data, across, down, factor, channels);
      this.#send(pixels, [height, width, channels], !this.#stroke);
    });
  }

  #showTools(): void {
    this.#undo.disabled = !this.#drawing.undoable;
    this.#clear.disabled = this.#drawing.empty;
    this.#turn.textContent = this.#dark ? "White paper" : "Black paper";
    for (const node of this.#palette.children as HTMLCollectionOf<HTMLButtonElement>) {
      if (node.matches(".swatch")) node.style.background = this.#css(node.value);
      node.setAttribute("aria-pressed", String(node.value === this.#colour));
    }
  }

  #showPen(visible: boolean): void {
    const { style } = this.#pen;
    const { width, height } = this.#canvas;
    this.#pen.hidden = !visible;
    this.#pen.classList.toggle("down", this.#stroke !== null);
    style.width = `${(Number(this.#brush.value) * this.#side * 100) / width}%`;
    style.left = `${(100 * this.#at[0]) / width}%`;
    style.top = `${(100 * this.#at[1]) / height}%`;
  }
}
