/** Patches side by side on one canvas, each with its activation below and its marks about it. */

import { sized } from "../shared/canvas.ts";
import { element } from "../shared/controls.ts";
import { described, figure, type Names, OTHER_CLASS, OTHER_LOOK, type Pick } from "./overview.ts";
import { CAPTION, GAP } from "./rows.ts";

export interface StripContent {
  picks: Pick[];
  bitmap: ImageBitmap | null;
  /** CSS pixels of a patch */
  size: number;
  /** patches side by side before the next line */
  columns: number;
  decimals: number;
  names: Names;
  whole: boolean;
  /** no pictures can be had: the image's number stands there */
  bare: boolean;
  /** index of the patch that the keyboard is on; -1 for none */
  cursor: number;
  chosen(pick: Pick): boolean;
}

export const SYMBOLS: [number, string, string][] = [
  [OTHER_CLASS, "≠", "other-class"],
  [OTHER_LOOK, "◇", "other-look"],
];

let strips = 0;

export class PatchStrip {
  readonly node = element("div", { class: "strip" });
  readonly #canvas = element("canvas", { "aria-hidden": "true" });
  readonly #cells: Cell[] = [];
  readonly #role: string;
  readonly #id = `strip-${strips++}`;
  #drawn: unknown[] = [];
  #told: unknown[] = [];

  constructor(role: "gridcell" | "option") {
    this.#role = role;
    this.node.append(this.#canvas);
  }

  /** Id of a patch, for who points at it. */
  idOf(index: number): string {
    return `${this.#id}-${index}`;
  }

  /** Index of the patch that an event is on; -1 for none. */
  indexOf(event: Event): number {
    return this.#cells.findIndex(({ node }) => event.composedPath().includes(node));
  }

  show(content: StripContent): void {
    const { picks, size, columns, names } = content;
    const { bitmap, bare, decimals } = content;
    const shown = picks.length;
    const told = [picks, names, size, columns, decimals, bare];
    if (told.some((part, i) => part !== this.#told[i])) {
      this.#told = told;
      this.#tell(content);
    }
    picks.forEach((pick, i) => {
      this.#cells[i]?.mark(i === content.cursor, content.chosen(pick), bitmap !== null);
    });
    const density = window.devicePixelRatio;
    const drawn = [bitmap, size, columns, shown, density];
    if (drawn.some((part, i) => part !== this.#drawn[i])) {
      this.#drawn = drawn;
      this.#paint(content);
    }
  }

  #tell({ picks, size, columns, decimals, names, whole, bare }: StripContent): void {
    while (this.#cells.length < picks.length) {
      const cell = new Cell(this.#role, this.idOf(this.#cells.length));
      this.#cells.push(cell);
      this.node.append(cell.node);
    }
    this.#cells.forEach((cell, i) => {
      const pick = picks[i];
      cell.node.hidden = !pick;
      if (!pick) return;
      const left = (i % columns) * (size + GAP);
      const top = Math.floor(i / columns) * (size + CAPTION + 2);
      cell.place(left, top, size);
      cell.tell(pick, figure(pick.value, decimals), described(pick, names, whole), bare);
    });
    const lines = Math.ceil(picks.length / columns);
    this.node.style.height = `${lines * (size + CAPTION + 2)}px`;
    this.node.style.width = `${Math.min(columns, picks.length) * (size + GAP)}px`;
  }

  #paint({ picks, bitmap, size, columns }: StripContent): void {
    this.#canvas.hidden = bitmap === null;
    if (!bitmap) return;
    const across = Math.min(columns, picks.length) * (size + GAP);
    const down = Math.ceil(picks.length / columns) * (size + CAPTION + 2);
    const context = sized(this.#canvas, Math.max(1, across), Math.max(1, down));
    // Square tiles side by side; pixels stay pixels where they are drawn larger.
    const tile = bitmap.height;
    context.imageSmoothingEnabled = tile > size * window.devicePixelRatio;
    context.imageSmoothingQuality = "medium";
    for (let i = 0; i < picks.length && (i + 1) * tile <= bitmap.width; i++) {
      const x = (i % columns) * (size + GAP);
      const y = Math.floor(i / columns) * (size + CAPTION + 2);
      context.drawImage(bitmap, i * tile, 0, tile, tile, x, y, size, size);
    }
  }
}

class Cell {
  readonly node: HTMLElement;
  readonly #frame = element("span", { class: "frame" });
  readonly #badge = element("span", { class: "badge", hidden: "" });
  readonly #number = element("span", { class: "image-number" });
  readonly #value = element("span", { class: "value" });
  #flags = 0;
  #marked = "";
  #placed = "";

  constructor(role: string, id: string) {
    this.node = element("div", { class: "cell", role, id }, this.#frame, this.#value);
    this.#frame.append(this.#number, this.#badge);
  }

  place(left: number, top: number, size: number): void {
    const placed = `${left} ${top} ${size}`;
    if (placed === this.#placed) return;
    this.#placed = placed;
    const { style } = this.node;
    style.transform = `translate(${left}px, ${top}px)`;
    style.width = `${size}px`;
    this.#frame.style.height = `${size}px`;
  }

  tell(pick: Pick, value: string, text: string, bare: boolean): void {
    this.#flags = pick.flags;
    this.#value.textContent = value;
    this.node.title = text;
    this.node.setAttribute("aria-label", text);
    const marks = SYMBOLS.filter(([flag]) => pick.flags & flag).map(([, symbol]) => symbol);
    this.#number.textContent = bare ? `#${pick.image}` : "";
    this.#badge.textContent = marks.join("");
    this.#badge.hidden = marks.length === 0;
    this.#marked = "";
  }

  mark(cursor: boolean, chosen: boolean, drawn: boolean): void {
    const marked = `cell${cursor ? " cursor" : ""}${chosen ? " chosen" : ""}${drawn ? "" : " empty"}`;
    if (marked === this.#marked) return;
    this.#marked = marked;
    const kinds = SYMBOLS.filter(([flag]) => this.#flags & flag).map(([, , name]) => name);
    this.node.className = [marked, ...kinds].join(" ");
    this.node.setAttribute("aria-selected", String(chosen));
  }
}
