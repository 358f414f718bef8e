/** Images by the name of their class, which needs no kernel, or of their file, which Python knows. */

import { button, element, labelled } from "../shared/controls.ts";
import type { Facts } from "./facts.ts";
import { counted, type Hands, Kept } from "./hands.ts";
import type { MapData } from "./map-data.ts";
import { union } from "./selection.ts";

/** Milliseconds after the last letter until it counts. */
const TYPING_MS = 300;
/** Classes that are named of those found. */
const NAMED = 3;

/** Numbers of the classes whose names hold every word that was typed. */
export function classesFound(names: string[], typed: string): number[] {
  const words = typed.toLowerCase().split(/\s+/).filter(Boolean);
  if (words.length === 0) return [];
  return [...names.keys()].filter((number) => {
    const name = (names[number] as string).toLowerCase();
    return words.every((word) => name.includes(word));
  });
}

/** Rows of these classes, ascending. */
export function rowsOf(label: Uint16Array | null, classes: number[]): Int32Array {
  if (!label || classes.length === 0) return new Int32Array();
  const wanted = new Set(classes);
  const rows: number[] = [];
  label.forEach((number, row) => {
    if (wanted.has(number)) rows.push(row);
  });
  return Int32Array.from(rows);
}

/** Images by class, or by what they are taken for where no class is known; names of what was found. */
export function foundByClass(facts: Facts, typed: string): { rows: Int32Array; names: string[] } {
  const { of, names } = namesOf(facts);
  const rows = rowsOf(of, classesFound(names, typed));
  const there = new Set<number>();
  for (const row of rows) there.add(of?.[row] as number);
  return { rows, names: [...there].sort((a, b) => a - b).map((number) => names[number] as string) };
}

function namesOf({ label, classes, predicted, outputs }: Facts) {
  return label ? { of: label, names: classes } : { of: predicted, names: outputs };
}

/** "179 images found (class 7)"; what Python says of files where nothing was found. */
export function foundWords(count: number, names: string[], guessed: boolean, note: string): string {
  const more = names.length > NAMED ? ` and ${names.length - NAMED} more` : "";
  const which = `${guessed ? "taken for" : "class"} ${names.slice(0, NAMED).join(", ")}${more}`;
  const text = `${counted(count, "image")} found`;
  if (count === 0) return note ? `${text}. ${note}` : text;
  return names.length > 0 ? `${text} (${which})` : text;
}

export interface SearchActions extends Pick<Hands, "get" | "set"> {
  flyTo(rows: Int32Array): void;
  select(rows: Int32Array): void;
}

export class Search {
  /** the field, for a toolbar */
  readonly node: HTMLElement;
  /** what was found */
  readonly said = element("div", { class: "found", role: "status", hidden: "" });
  readonly #field = element("input", {
    type: "search",
    placeholder: "class or file name",
  });
  readonly #sentence = element("span", {});
  readonly #go = button("Go there", "Show all that were found (Enter)", () =>
    this.#actions.flyTo(this.#rows),
  );
  readonly #select = button("Select", "Select all that were found", () =>
    this.#actions.select(this.#rows),
  );
  readonly #found = new Kept<{ rows: Int32Array; names: string[] }>();
  #rows: Int32Array = new Int32Array();
  #typing: ReturnType<typeof setTimeout> | undefined;

  readonly #data: MapData;
  readonly #actions: SearchActions;

  constructor(signal: AbortSignal, data: MapData, actions: SearchActions) {
    this.#data = data;
    this.#actions = actions;
    this.node = labelled("Search", this.#field);
    this.said.append(
      this.#sentence,
      this.#go,
      this.#select,
      button("✕", "End the search", () => this.#end()),
    );
    this.#field.addEventListener("input", () => this.#typed(TYPING_MS), { signal });
    this.#field.addEventListener("change", () => this.#typed(0), { signal });
    this.#field.addEventListener(
      "keydown",
      ({ key }) => {
        if (key === "Escape") this.#end();
        if (key !== "Enter") return;
        this.#say();
        if (this.#rows.length > 0) actions.flyTo(this.#rows);
      },
      { signal },
    );
    signal.addEventListener("abort", () => clearTimeout(this.#typing));
  }

  focus(): void {
    this.#field.focus();
    this.#field.select();
  }

  /** Rows that were found, ascending; null where nothing is searched. */
  show(facts: Facts): Int32Array | null {
    const search = this.#actions.get("search");
    const active = (this.node.getRootNode() as ShadowRoot).activeElement;
    if (active !== this.#field && this.#field.value !== search) this.#field.value = search;
    const searching = search.trim() !== "";
    this.said.hidden = !searching;
    if (!searching) return null;
    const found = this.#data.found;
    const { rows, names } = this.#found.of([search, facts, found], () => {
      const here = foundByClass(facts, search);
      return { ...here, rows: union(here.rows, found.rows) };
    });
    this.#rows = rows;
    const text = foundWords(rows.length, names, !facts.label, found.note);
    if (this.#sentence.textContent !== text) this.#sentence.textContent = text;
    this.#go.disabled = this.#select.disabled = rows.length === 0;
    return rows;
  }

  #typed(wait: number): void {
    clearTimeout(this.#typing);
    this.#typing = setTimeout(() => this.#say(), wait);
  }

  #say(): void {
    clearTimeout(this.#typing);
    const search = this.#field.value;
    if (search !== this.#actions.get("search")) this.#actions.set({ search });
  }

  #end(): void {
    this.#field.value = "";
    this.#say();
  }
}
