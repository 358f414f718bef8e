/** Images by the name of their class, which needs no kernel, or of their file, which Python knows. */

import { button, element, labelled, rebuild } from "../shared/controls.ts";
import { counted, type Hands, Kept } from "./hands.ts";
import type { Facts, MapData } from "./map-data.ts";
import { union } from "./selection.ts";

/** Milliseconds after the last letter until it counts. */
const TYPING_MS = 300;
const SUGGESTED = 20;
/** Classes that are named of those found. */
const NAMED = 5;

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
    list: "search-names",
    placeholder: "class or file name",
  });
  readonly #names = element("datalist", { id: "search-names" });
  readonly #sentence = element("span", {});
  readonly #go = button("Go there", "Show all that were found (Enter)", () =>
    this.#actions.flyTo(this.#rows),
  );
  readonly #select = button("Select", "Select all that were found", () =>
    this.#actions.select(this.#rows),
  );
  readonly #found = new Kept<{ rows: Int32Array; classes: number[] }>();
  #rows: Int32Array = new Int32Array();
  #typing: ReturnType<typeof setTimeout> | undefined;

  readonly #data: MapData;
  readonly #actions: SearchActions;

  constructor(signal: AbortSignal, data: MapData, actions: SearchActions) {
    this.#data = data;
    this.#actions = actions;
    this.node = labelled("Search", this.#field);
    this.node.append(this.#names);
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
    this.#suggest(facts.classes);
    if (!searching) return null;
    const found = this.#data.found;
    const { rows, classes } = this.#found.of([search, facts, found], () => {
      const matching = classesFound(facts.classes, search);
      const here = rowsOf(facts.label, matching);
      return { rows: found.length > 0 ? union(here, found) : here, classes: matching };
    });
    this.#rows = rows;
    const text = this.#words(facts, classes);
    if (this.#sentence.textContent !== text) this.#sentence.textContent = text;
    this.#go.disabled = this.#select.disabled = rows.length === 0;
    return rows;
  }

  #words({ classes: names }: Facts, classes: number[]): string {
    const note = (this.#actions.get("found") as { note?: string }).note ?? "";
    const named = classes.slice(0, NAMED).map((number) => names[number]);
    const more = classes.length > NAMED ? ` and ${classes.length - NAMED} more` : "";
    const of = named.length > 0 ? ` (class ${named.join(", ")}${more})` : "";
    const count = `${counted(this.#rows.length, "image")} found${of}.`;
    // What Python says of files matters where it found some, or where there is nothing else.
    return note && (classes.length === 0 || this.#data.found.length > 0)
      ? `${count} ${note}`
      : count;
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

  #suggest(names: string[]): void {
    const found = classesFound(names, this.#field.value).slice(0, SUGGESTED);
    rebuild(this.#names, JSON.stringify(found), () =>
      found.map((number) => element("option", { value: names[number] as string })),
    );
  }
}
