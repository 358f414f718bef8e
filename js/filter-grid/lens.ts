/** One kernel large, with its weights as numbers and what was measured of it. */

import { element } from "../shared/controls.ts";
import { outline } from "../shared/tile-grid.ts";
import { makeLayout } from "../shared/tiles.ts";
import type { Answer, Requests } from "../shared/wire.ts";
import { FLAG, type Frame, isFiniteWeight, kernelOffset, LEVELS } from "./frame.ts";
import { type Paint, paintGrid } from "./paint.ts";

const SIDE = 176;
const ARROWS: Record<string, [number, number]> = {
  ArrowUp: [-1, 0],
  ArrowDown: [1, 0],
  ArrowLeft: [0, -1],
  ArrowRight: [0, 1],
};

/** What the pointer or the cursor is on; row and column are null when it is the whole kernel. */
export interface Focus {
  output: number;
  panel: number;
  row: number | null;
  column: number | null;
}

export class Lens {
  readonly node: HTMLElement;
  private readonly title = element("h3");
  private readonly canvas = element("canvas", {
    tabindex: "0",
    role: "application",
    "aria-label": "Weights of the kernel. Arrow keys move from one to the next.",
  });
  private readonly readout = element("p", { class: "readout" });
  private readonly facts = element("dl");
  /** output channel -> its exact weights, of the newest snapshot only */
  private readonly exact = new Map<number, Float32Array>();
  private paint: Paint | null = null;
  private focus: Focus | null = null;
  private duplicates: Record<string, number> = {};
  /** kernel that was asked for last, so that a redraw does not ask for it again */
  private asked = "";
  private newest = true;

  constructor(
    private readonly requests: Requests,
    signal: AbortSignal,
    private readonly changed: () => void,
    private readonly failed: (message: string) => void,
    private readonly announce: (text: string) => void,
  ) {
    this.node = element(
      "aside",
      { class: "lens", "aria-label": "Kernel under the pointer" },
      this.title,
      this.canvas,
      this.facts,
      this.readout,
    );
    this.canvas.addEventListener("pointermove", (event) => this.point(event), { signal });
    this.canvas.addEventListener("keydown", (event) => this.key(event), { signal });
  }

  /** Forget exact weights: they belong to kernels that are no longer there. */
  forget(): void {
    this.exact.clear();
    this.asked = "";
  }

  /** `newest`: the kernel behind the widget still has these weights, so it may be asked for them. */
  show(
    paint: Paint,
    focus: Focus | null,
    duplicates: Record<string, number>,
    newest: boolean,
  ): void {
    this.paint = paint;
    this.focus = focus;
    this.duplicates = duplicates;
    this.newest = newest;
    if (focus && newest && !this.exact.has(focus.output)) this.ask(paint.frame, focus.output);
    this.draw(newest);
  }

  private ask(frame: Frame, output: number): void {
    const question = `${frame.layer} ${frame.step} ${output}`;
    if (question === this.asked) return;
    this.asked = question;
    this.requests.ask(
      "kernel",
      { layer: frame.layer, step: frame.step, output },
      (answer: Answer) => {
        const shown = this.paint?.frame;
        if (answer.fields.layer !== shown?.layer || answer.fields.step !== shown?.step) return;
        this.exact.set(
          answer.fields.output as number,
          answer.arrays.get("weights")?.data as Float32Array,
        );
        this.changed();
      },
      this.failed,
    );
  }

  private point(event: PointerEvent): void {
    if (!this.paint || !this.focus) return;
    const { frame } = this.paint;
    const box = this.canvas.getBoundingClientRect();
    this.focus = {
      ...this.focus,
      row: Math.floor(((event.clientY - box.top) / box.height) * frame.height),
      column: Math.floor(((event.clientX - box.left) / box.width) * frame.width),
    };
    this.changed();
  }

  private key(event: KeyboardEvent): void {
    const step = ARROWS[event.key];
    if (!step || !this.paint || !this.focus) return;
    event.preventDefault();
    const { frame } = this.paint;
    const inside = (n: number, size: number) => Math.min(size - 1, Math.max(0, n));
    const { row, column } = this.focus;
    this.focus = {
      ...this.focus,
      row: row === null ? 0 : inside(row + step[0], frame.height),
      column: column === null ? 0 : inside(column + step[1], frame.width),
    };
    this.announce(this.readWeight(frame, this.focus, this.newest));
    this.changed();
  }

  /** The focus as the lens has it: hovering the lens moves the weight that is read out. */
  get current(): Focus | null {
    return this.focus;
  }

  private draw(newest: boolean): void {
    const { paint, focus } = this;
    if (!paint || !focus) {
      this.title.textContent = "No kernel chosen";
      this.readout.textContent = "Point at a kernel, or move to one with the arrow keys.";
      this.facts.replaceChildren();
      this.canvas.hidden = true;
      return;
    }
    const { frame } = paint;
    const input = paint.map !== null && frame.inputs > 1 ? `, input ${focus.panel}` : "";
    this.title.textContent = `Kernel ${focus.output}${input}`;
    this.drawCanvas(paint, focus, newest);
    this.readout.textContent = this.readWeight(frame, focus, newest);
    // Room for as many lines as it ever takes, so that nothing below jumps.
    this.readout.style.minHeight = `${(paint.map === null ? 5 : 3) * 1.45}em`;
    this.facts.replaceChildren(...this.describe(frame, focus.output));
  }

  private drawCanvas(paint: Paint, focus: Focus, newest: boolean): void {
    const { frame, layout: grid } = paint;
    const density = grid.density;
    const scale = Math.max(1, Math.floor((SIDE * density) / Math.max(frame.width, frame.height)));
    const layout = makeLayout({ ...grid, outputs: 1, matrix: false, scale, width: 1 });
    const { canvas } = this;
    canvas.hidden = false;
    canvas.width = layout.panelWidth;
    canvas.height = layout.panelHeight;
    canvas.style.width = `${layout.panelWidth / density}px`;
    canvas.style.height = `${layout.panelHeight / density}px`;
    const context = canvas.getContext("2d");
    if (!context) return;
    const image = context.createImageData(canvas.width, canvas.height);
    paintGrid(
      { ...paint, layout, order: Uint16Array.of(focus.output) },
      {
        pixels: new Uint32Array(image.data.buffer),
        width: canvas.width,
        height: canvas.height,
        scrollX: layout.gutterX + focus.panel * (layout.panelWidth + layout.panelGap),
        scrollY: layout.gutterY,
      },
    );
    context.putImageData(image, 0, 0);
    if (paint.map !== null && layout.scaleX >= 30 * density) {
      this.writeWeights(context, paint, focus, layout.scaleX, layout.scaleY, density, newest);
    }
    if (focus.row !== null && focus.column !== null) {
      outline(
        context,
        focus.column * layout.scaleX,
        focus.row * layout.scaleY,
        layout.scaleX,
        layout.scaleY,
        density,
      );
    }
  }

  private writeWeights(
    context: CanvasRenderingContext2D,
    paint: Paint,
    focus: Focus,
    scaleX: number,
    scaleY: number,
    density: number,
    newest: boolean,
  ): void {
    const { frame } = paint;
    context.font = `${Math.min(18 * density, scaleX / 3.2)}px system-ui, sans-serif`;
    context.textAlign = "center";
    context.textBaseline = "middle";
    context.lineWidth = 3 * density;
    for (let row = 0; row < frame.height; row++) {
      for (let column = 0; column < frame.width; column++) {
        const value = this.weight(frame, focus.output, focus.panel, row, column, newest).value;
        const text = Number.isNaN(value) ? "NaN" : shortNumber(value);
        const x = (column + 0.5) * scaleX;
        const y = (row + 0.5) * scaleY;
        context.strokeStyle = "rgb(255 255 255 / 75%)";
        context.strokeText(text, x, y);
        context.fillStyle = "#111";
        context.fillText(text, x, y);
      }
    }
  }

  private weight(
    frame: Frame,
    output: number,
    input: number,
    row: number,
    column: number,
    newest: boolean,
  ): { value: number; exact: boolean } {
    const index = kernelOffset(frame, output, input) + row * frame.width + column;
    const exact = newest ? this.exact.get(output) : undefined;
    if (exact) {
      const each = frame.inputs * frame.height * frame.width;
      return { value: exact[index - output * each] as number, exact: true };
    }
    if (!isFiniteWeight(frame, index)) return { value: Number.NaN, exact: false };
    const value = ((frame.values[index] as number) / LEVELS) * (frame.scale[output] as number);
    return { value, exact: false };
  }

  private readWeight(frame: Frame, focus: Focus, newest: boolean): string {
    const { row, column } = focus;
    if (row === null || column === null)
      return "Point at a weight to read it (or Tab, arrow keys).";
    const inputs =
      this.paint?.map === null ? Array.from({ length: frame.inputs }, (_, i) => i) : [focus.panel];
    const read = inputs.map((i) => this.weight(frame, focus.output, i, row, column, newest));
    const exact = read.every((weight) => weight.exact);
    // Without Python there are 255 levels: no more digits are shown than they carry.
    const half = (frame.scale[focus.output] as number) / LEVELS / 2;
    const digits = half > 0 ? Math.min(12, Math.max(0, Math.ceil(-Math.log10(half)))) : 0;
    const names = ["R ", "G ", "B "];
    const numbers = read.map(({ value }, i) => {
      const text = !Number.isFinite(value)
        ? String(value)
        : exact
          ? value.toPrecision(6)
          : value.toFixed(digits);
      return `${inputs.length > 1 ? names[i] : ""}${text}`;
    });
    const place = frame.height === 1 ? `tap ${column}` : `row ${row}, column ${column}`;
    const why = newest ? "exact when Python answers" : "past steps are kept in 255 levels";
    const lines = [`${place} ${exact ? "=" : "≈"}`, ...numbers];
    return exact ? lines.join("\n") : [...lines, `± ${half.toPrecision(1)}; ${why}`].join("\n");
  }

  private describe(frame: Frame, output: number): HTMLElement[] {
    const noise = frame.noise[output] as number;
    const flags = frame.flags[output] as number;
    const rows: [string, string][] = [
      ["norm", (frame.norm[output] as number).toPrecision(4)],
      [
        "noise",
        Number.isNaN(noise) ? "cannot be judged" : `${noise.toFixed(2)} (0 structured, 1 random)`,
      ],
    ];
    const marks: string[] = [];
    if (flags & FLAG.noisy) marks.push("looks like noise");
    if (flags & FLAG.dead) marks.push("dead: norm near zero");
    if (flags & FLAG.nonfinite) marks.push("holds NaN or infinite weights");
    const twin = this.duplicates[String(output)];
    if (twin !== undefined) marks.push(`nearly the same as kernel ${twin}`);
    if (marks.length > 0) rows.push(["marks", marks.join("; ")]);
    return rows.flatMap(([name, value]) => [element("dt", {}, name), element("dd", {}, value)]);
  }
}

function shortNumber(value: number): string {
  const size = Math.abs(value);
  if (size !== 0 && (size < 0.01 || size >= 100)) return value.toExponential(0).replace("+", "");
  return value.toFixed(2).replace("0.", ".");
}
