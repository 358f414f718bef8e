/** The target's confidence along the way that the mask went. */

import { numeric } from "../occlusion-probe/map-data.ts";
import { amount } from "../occlusion-probe/reading.ts";
import type { TrailPoint } from "../occlusion-probe/state.ts";
import { sized } from "../shared/canvas.ts";
import { element } from "../shared/controls.ts";
import { themeColour, type View } from "../shared/view.ts";

const HEIGHT = 84;
const LEFT = 48;

interface Axis {
  low: number;
  high: number;
}

/** A percentage point: what is flat looks flat. */
const LEAST_SPAN = 0.01;

const percent = (value: number) => `${Number((100 * value).toFixed(3))} %`;

/**
 * An axis for probabilities between round numbers; from zero on, unless they differ by less than a
 * tenth of the highest.
 */
export function axisOf(values: number[]): Axis {
  const finite = values.filter(Number.isFinite);
  const most = Math.max(LEAST_SPAN, ...finite);
  const apart = most - Math.min(most, ...finite);
  const flat = apart < 0.1 * most && most > LEAST_SPAN;
  const span = flat ? Math.max(LEAST_SPAN, apart) : most;
  const power = 10 ** Math.floor(Math.log10(span / 4));
  const step = power * ([1, 2, 5].find((part) => part * power * 4 >= span) ?? 10);
  // A hair's breadth, so that a round number stays what it is.
  const high = Math.min(1, Math.ceil(most / step - 1e-6) * step);
  const low = Math.min(most - apart, high - span);
  return { low: flat ? Math.max(0, Math.floor(low / step + 1e-6) * step) : 0, high };
}

export class Trail {
  readonly node: HTMLElement;
  readonly #canvas = element("canvas", { role: "img" });
  readonly #caption = element("figcaption", { class: "soft" });
  readonly #view: View;

  constructor(view: View) {
    this.#view = view;
    this.node = element("figure", { class: "trail" }, this.#canvas, this.#caption);
  }

  /** `before`: confidence without masks. */
  show(points: TrailPoint[], name: string, before: number): void {
    this.node.hidden = points.length < 2;
    if (this.node.hidden) return;
    const values = points.map(({ probability }) => numeric(probability));
    const finite = values.filter(Number.isFinite);
    const lowest = finite.length > 0 ? values.indexOf(Math.min(...finite)) : -1;
    const at = points[lowest];
    const low = at
      ? `lowest ${amount(numeric(at.probability), "%")} about row ${Math.round(at.row)}, column ${Math.round(at.col)}`
      : "no numbers";
    const axis = axisOf([...values, before]);
    const from = axis.low > 0 ? `; the axis begins at ${percent(axis.low)}` : "";
    this.#caption.textContent = `Along the last way of the mask: ${low}${from}`;
    this.#canvas.setAttribute("aria-label", `Confidence in ${name}: ${low}`);
    this.#plot(points, values, lowest, before, axis);
  }

  #plot(
    points: TrailPoint[],
    values: number[],
    lowest: number,
    before: number,
    { low, high }: Axis,
  ): void {
    const width = Math.max(160, Math.min(this.node.clientWidth || 300, 560));
    const context = sized(this.#canvas, width, HEIGHT);
    const rgb = (name: string) => `rgb(${themeColour(this.#view, name).join(" ")})`;
    const ink = rgb("--ink-soft");
    const across = width - LEFT - 6;
    const down = HEIGHT - 14;
    const whole = Math.max(1e-9, points.at(-1)?.path ?? 1);
    const x = (i: number) => LEFT + (across * (points[i] as TrailPoint).path) / whole;
    const y = (value: number) => 6 + (down * (high - value)) / (high - low);
    context.font = "11px system-ui, sans-serif";
    context.textAlign = "right";
    context.textBaseline = "middle";
    context.fillStyle = ink;
    context.strokeStyle = rgb("--rule");
    context.lineWidth = 1;
    for (const value of [low, (low + high) / 2, high]) {
      context.fillText(percent(value), LEFT - 5, y(value));
      context.beginPath();
      context.moveTo(LEFT, y(value));
      context.lineTo(LEFT + across, y(value));
      context.stroke();
    }
    if (Number.isFinite(before)) {
      context.strokeStyle = ink;
      context.setLineDash([4, 3]);
      context.beginPath();
      context.moveTo(LEFT, y(before));
      context.lineTo(LEFT + across, y(before));
      context.stroke();
      context.setLineDash([]);
    }
    context.strokeStyle = context.fillStyle = rgb("--accent");
    context.lineWidth = 2;
    context.beginPath();
    let open = false;
    values.forEach((value, i) => {
      // A value that is no number leaves a gap.
      if (Number.isFinite(value)) context[open ? "lineTo" : "moveTo"](x(i), y(value));
      open = Number.isFinite(value);
    });
    context.stroke();
    for (const i of [lowest, values.length - 1]) {
      if (!Number.isFinite(values[i])) continue;
      context.beginPath();
      context.arc(x(i), y(values[i] as number), 3.5, 0, 2 * Math.PI);
      context.fill();
    }
  }
}
