/** Sets of rows, ascending, and what is selected, in words and pictures. */

import { button, element, rebuild } from "../shared/controls.ts";
import { type Facts, NONE } from "./facts.ts";
import { counted } from "./hands.ts";
import type { Thumbs } from "./thumbs.ts";

/** Rows that are in either. */
export function union(a: Int32Array, b: Int32Array): Int32Array {
  const both = new Int32Array(a.length + b.length);
  let [i, j, end] = [0, 0, 0];
  while (i < a.length || j < b.length) {
    const left = a[i] ?? Number.POSITIVE_INFINITY;
    const right = b[j] ?? Number.POSITIVE_INFINITY;
    both[end] = Math.min(left, right);
    end += 1;
    if (left <= right) i += 1;
    if (right <= left) j += 1;
  }
  return both.slice(0, end);
}

/** A row taken in, or out if it was in. */
export function toggled(rows: Int32Array, row: number): Int32Array {
  return rows.includes(row) ? rows.filter((one) => one !== row) : union(rows, Int32Array.of(row));
}

/** Names and counts of the classes of these rows, the most frequent first. */
export function makeup(rows: Int32Array, { label, classes }: Facts): [string, number][] {
  if (!label) return [];
  const counts = new Map<number, number>();
  for (const row of rows) {
    const number = label[row] ?? NONE;
    counts.set(number, (counts.get(number) ?? 0) + 1);
  }
  const name = (number: number) =>
    number === NONE ? "class not known" : (classes[number] ?? `class ${number}`);
  return [...counts]
    .sort((a, b) => b[1] - a[1] || a[0] - b[0])
    .map(([number, count]) => [name(number), count]);
}

export interface SelectionActions {
  choose(row: number): void;
  flyTo(rows: Int32Array): void;
  clear(): void;
}

/** Pictures, and classes, that are shown of a selection. */
const [PICTURES, CLASSES] = [14, 5];
const SIDE = 34;

export class SelectionPanel {
  readonly node = element("section", { class: "section", "aria-label": "Selection", hidden: "" });
  #rows: Int32Array | null = null;
  #shown = 0;

  readonly #thumbs: Thumbs;
  readonly #actions: SelectionActions;

  constructor(thumbs: Thumbs, actions: SelectionActions) {
    this.#thumbs = thumbs;
    this.#actions = actions;
  }

  show(rows: Int32Array, facts: Facts, pictures: boolean): void {
    this.node.hidden = rows.length === 0;
    if (rows !== this.#rows) this.#shown += 1;
    this.#rows = rows;
    rebuild(this.node, `${this.#shown} ${facts.classes.length} ${pictures}`, () => {
      const parts = makeup(rows, facts);
      const named = parts.slice(0, CLASSES).map(([name, count]) => `${name}: ${count}`);
      const more = parts.length > CLASSES ? ` and ${parts.length - CLASSES} more classes` : "";
      return [
        element(
          "header",
          {},
          element("h3", {}, `${counted(rows.length, "image")} selected`),
          element(
            "div",
            { class: "control" },
            button("Go there", "Show all that are selected", () => this.#actions.flyTo(rows)),
            button("Clear", "Select none (Esc)", this.#actions.clear),
          ),
        ),
        element("p", { class: "soft" }, named.join(" · ") + more),
        ...(pictures ? [this.#pictures(rows)] : []),
        element("p", { class: "soft" }, "In Python: the numbers are in ", code(".selected")),
      ];
    });
  }

  #pictures(rows: Int32Array): HTMLElement {
    const some = rows.length <= PICTURES ? rows : spread(rows, PICTURES);
    return element(
      "div",
      { class: "strip" },
      ...[...some].map((row) =>
        this.#thumbs.pick(row, SIDE, `Choose the image in row ${row}`, () =>
          this.#actions.choose(row),
        ),
      ),
    );
  }
}

function code(text: string): HTMLElement {
  return element("code", {}, text);
}

/** So many rows, evenly from first to last. */
function spread(rows: Int32Array, count: number): Int32Array {
  return Int32Array.from(
    { length: count },
    (_, i) => rows[Math.round((i * (rows.length - 1)) / (count - 1))] as number,
  );
}
