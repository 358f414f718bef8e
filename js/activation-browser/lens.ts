/** One channel large: its maps, the exact value under the pointer, and the patch that a unit saw. */

import { sized } from "../shared/canvas.ts";
import { element } from "../shared/controls.ts";
import { outline } from "../shared/tile-grid.ts";
import type { Answer, Requests } from "../shared/wire.ts";
import { boxOf, isDead, type Maps, summaryOf, type Tone, valueAt } from "./maps.ts";
import type { Face, Painter } from "./painter.ts";
import type { PicturePane } from "./picture.ts";

const ARROWS: Record<string, [number, number]> = {
  ArrowUp: [-1, 0],
  ArrowDown: [1, 0],
  ArrowLeft: [0, -1],
  ArrowRight: [0, 1],
};

export interface LensActions {
  hover(unit: [number, number] | null): void;
  choose(unit: [number, number]): void;
  failed(message: string): void;
  changed(): void;
  announce(text: string): void;
}

export interface LensContent {
  maps: Maps;
  channel: number;
  name: string;
  hovered: [number, number] | null;
  chosen: [number, number] | null;
  tone: Tone;
  difference: Tone;
  painter: Painter;
  picture: PicturePane;
  /** whether a map answers to the picture and layer that are chosen, so that it may be asked for */
  current: boolean;
}

export class Lens {
  readonly node: HTMLElement;
  readonly #title = element("h3");
  readonly #faces = element("div", { class: "faces" });
  readonly #canvases = ["A", "B", "A − B"].map((name) =>
    element("canvas", {
      class: "shown",
      tabindex: "0",
      role: "application",
      "aria-label": `Map ${name}. Arrow keys move from unit to unit, Enter explains the value.`,
    }),
  );
  readonly #patches = [element("canvas"), element("canvas")];
  readonly #patchNote = element("p", { class: "soft" });
  readonly #readout = element("p", { class: "readout" });
  readonly #facts = element("dl");
  #content: LensContent | null = null;
  /** exact float32 maps of the channel on show, one a picture, and what they belong to */
  #exact: { of: string; maps: Float32Array[] } = { of: "", maps: [] };
  #asked = "";

  readonly #requests: Requests;
  readonly #actions: LensActions;

  constructor(requests: Requests, signal: AbortSignal, actions: LensActions) {
    this.#requests = requests;
    this.#actions = actions;
    const names = ["A", "B", "A − B"];
    this.#canvases.forEach((canvas, i) => {
      this.#faces.append(
        element("figure", {}, canvas, element("figcaption", {}, names[i] as string)),
      );
      canvas.addEventListener(
        "pointermove",
        (event) => actions.hover(this.#unitAt(canvas, event)),
        {
          signal,
        },
      );
      canvas.addEventListener("pointerleave", () => actions.hover(null), { signal });
      canvas.addEventListener(
        "click",
        (event) => {
          const unit = this.#unitAt(canvas, event);
          if (unit) actions.choose(unit);
        },
        { signal },
      );
      canvas.addEventListener("keydown", (event) => this.#key(event), { signal });
    });
    this.#patches.forEach((patch, i) => {
      patch.setAttribute("role", "img");
      patch.setAttribute("aria-label", `Part of picture ${i === 0 ? "A" : "B"} that the unit sees`);
    });
    this.node = element(
      "section",
      { class: "lens", "aria-label": "One channel" },
      this.#title,
      element(
        "div",
        { class: "lens-parts" },
        this.#faces,
        element("div", { class: "patch" }, ...this.#patches, this.#patchNote),
        element("div", { class: "numbers" }, this.#readout, this.#facts),
      ),
    );
  }

  show(content: LensContent | null): void {
    this.#content = content;
    this.node.hidden = content === null;
    if (!content) return;
    this.#title.textContent = content.name;
    if (content.current) this.#ask(content);
    this.#draw(content);
    this.#drawPatches(content);
    this.#describe(content);
  }

  #key(event: KeyboardEvent): void {
    const content = this.#content;
    if (!content || event.ctrlKey || event.metaKey || event.altKey) return;
    const from = content.hovered ?? content.chosen ?? [0, 0];
    const step = ARROWS[event.key];
    if (step) {
      const inside = (n: number, size: number) => Math.min(size - 1, Math.max(0, n));
      const unit: [number, number] = [
        inside(from[0] + step[0], content.maps.rows),
        inside(from[1] + step[1], content.maps.columns),
      ];
      this.#actions.hover(unit);
      this.#actions.announce(this.#read(content, unit));
    } else if (event.key === "Enter" || event.key === " ") this.#actions.choose(from);
    else return;
    event.preventDefault();
    event.stopPropagation();
  }

  #unitAt(canvas: HTMLCanvasElement, event: MouseEvent): [number, number] | null {
    const content = this.#content;
    if (!content) return null;
    const box = canvas.getBoundingClientRect();
    const row = Math.floor(((event.clientY - box.top) / box.height) * content.maps.rows);
    const column = Math.floor(((event.clientX - box.left) / box.width) * content.maps.columns);
    const inside = row >= 0 && row < content.maps.rows && column >= 0;
    return inside && column < content.maps.columns ? [row, column] : null;
  }

  #ask(content: LensContent): void {
    const key = subjectOf({ ...content.maps.state, channel: content.channel });
    if (key === this.#asked) return;
    this.#asked = key;
    this.#requests.ask(
      "map",
      { channel: content.channel },
      (answer: Answer) => {
        const maps = ["a", "b"].flatMap((side) => {
          const data = answer.arrays.get(side)?.data;
          return data ? [data as Float32Array] : [];
        });
        this.#exact = { of: subjectOf(answer.fields.of as Record<string, unknown>), maps };
        this.#actions.changed();
      },
      (message) => {
        this.#asked = "";
        this.#actions.failed(message);
      },
    );
  }

  #value(content: LensContent, side: number, cell: number): [number, boolean] {
    const { of, maps } = this.#exact;
    const exact =
      of === subjectOf({ ...content.maps.state, channel: content.channel })
        ? maps[side]
        : undefined;
    if (exact && cell < exact.length) return [exact[cell] as number, true];
    return [valueAt(content.maps, side, content.channel, cell), false];
  }

  /** Share of zeros: of the exact values, once they are there. */
  #zeros(content: LensContent, about: number): number {
    const { state } = content.maps;
    const [exact] = this.#exact.maps;
    if (!exact || this.#exact.of !== subjectOf({ ...state, channel: content.channel }))
      return about;
    return exact.reduce((count, value) => count + (value === 0 ? 1 : 0), 0) / exact.length;
  }

  #draw(content: LensContent): void {
    const { maps, channel, painter, tone, difference } = content;
    const compared = maps.sides.length > 1;
    const side = compared ? 150 : 190;
    const scale = side / Math.max(maps.rows, maps.columns);
    const width = Math.max(12, Math.round(maps.columns * scale));
    const height = Math.max(12, Math.round(maps.rows * scale));
    this.#canvases.forEach((canvas, i) => {
      const figure = canvas.parentElement as HTMLElement;
      figure.hidden = i > 0 && !compared;
      (figure.lastElementChild as HTMLElement).hidden = !compared;
      if (figure.hidden) return;
      const context = sized(canvas, width, height);
      const face: Face = i === 2 ? "difference" : (i as 0 | 1);
      painter.draw(context, maps, face, channel, i === 2 ? difference : tone, 0, 0, width, height);
      for (const [unit, thick] of [
        [content.chosen, 2],
        [content.hovered, 1],
      ] as const) {
        if (!unit) continue;
        const across = width / maps.columns;
        const down = height / maps.rows;
        outline(
          context,
          Math.min(unit[1] * across, width - 5),
          Math.min(unit[0] * down, height - 5),
          Math.max(5, across),
          Math.max(5, down),
          thick,
        );
      }
    });
  }

  #drawPatches(content: LensContent): void {
    const unit = content.hovered ?? content.chosen;
    const box = unit ? boxOf(content.maps, unit[0], unit[1]) : null;
    const sides = content.maps.sides.length;
    this.#patches.forEach((patch, side) => {
      content.picture.cut(patch, side, box, sides > 1 ? 92 : 120);
    });
    const empty = box !== null && box[2] <= box[0];
    this.#patchNote.textContent = !unit
      ? "Point at a unit: what it saw stands here."
      : !box
        ? "This network's input has no pixels."
        : empty
          ? "It sees no pixel of the picture."
          : `sees ${box[2] - box[0]}×${box[3] - box[1]} px, from row ${box[0]}, column ${box[1]}`;
  }

  #read(content: LensContent, unit: [number, number]): string {
    const cell = unit[0] * content.maps.columns + unit[1];
    const sides = content.maps.sides.map((_, side) => this.#value(content, side, cell));
    const texts = sides.map(([value, exact]) =>
      Number.isFinite(value)
        ? `${exact ? "" : "≈ "}${value.toPrecision(exact ? 6 : 3)}`
        : "no number (NaN or infinite)",
    );
    const single = content.maps.rows * content.maps.columns === 1;
    const place = single ? "value" : `row ${unit[0]}, column ${unit[1]}`;
    if (texts.length === 1) return `${place}: ${texts[0]}`;
    const apart = (sides[0] as [number, boolean])[0] - (sides[1] as [number, boolean])[0];
    return `${place}: A ${texts[0]}, B ${texts[1]}, A − B ${apart.toPrecision(4)}`;
  }

  #describe(content: LensContent): void {
    const { maps, channel } = content;
    const single = maps.rows * maps.columns === 1;
    const unit = content.hovered ?? content.chosen ?? (single ? ([0, 0] as const) : null);
    this.#readout.textContent = unit
      ? this.#read(content, [unit[0], unit[1]])
      : maps.state.kind === "attention"
        ? "Point at a place to read its weight; click to look from there."
        : "Point at a unit to read it; click to see how its value came about.";
    const summary = summaryOf(maps, channel);
    const number = (value: number) => (Number.isFinite(value) ? value.toPrecision(3) : "none");
    const rows: [string, string][] = single
      ? []
      : [
          ["peak", number(summary.peak)],
          ["mean", number(summary.mean)],
          ["zeros", `${Math.round(100 * this.#zeros(content, summary.sparsity))} %`],
        ];
    if (maps.sides.length > 1) {
      rows.push(["mean |A − B|", number(summary.difference)]);
    }
    if (isDead(maps, channel)) rows.push(["marks", "dead: the same everywhere"]);
    const odd = summary.nonfinite;
    if (odd > 0) rows.push(["hatched", `${odd} values are NaN or infinite`]);
    for (const [side, tokens] of maps.prefix.entries()) {
      for (let token = 0; token < (tokens.shape[0] as number); token++) {
        const value = tokens.data[token * maps.channels + channel] as number;
        const which = maps.prefix.length > 1 ? `, ${side === 0 ? "A" : "B"}` : "";
        rows.push([token === 0 ? `class token${which}` : `token ${token}${which}`, number(value)]);
      }
    }
    this.#facts.replaceChildren(
      ...rows.flatMap(([name, value]) => [element("dt", {}, name), element("dd", {}, value)]),
    );
  }
}

/** What an exact map belongs to. */
function subjectOf(of: Record<string, unknown>): string {
  return JSON.stringify([of.kind, of.layer, of.query, of.pictures, of.channel]);
}
