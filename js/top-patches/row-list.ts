/** A row a channel, by the thousand: only those in view stand on the page. */

import { element } from "../shared/controls.ts";
import type { View } from "../shared/view.ts";
import {
  decimalsFor,
  described,
  factsOf,
  type Names,
  type Overview,
  type Pick,
  picksOf,
  silenceOf,
} from "./overview.ts";
import { PatchStrip } from "./patch-strip.ts";
import { fitted, metrics, moved, NARROW, rowWindow, scrolledTo } from "./rows.ts";
import type { Sort } from "./state.ts";

export interface ListContent {
  overview: Overview;
  order: Uint32Array;
  sort: Sort;
  names: Names;
  patches: number;
  size: number;
  /** open channel, and what is chosen of it */
  channel: number;
  image: number;
  unit: number[];
  bitmap(channel: number): ImageBitmap | null;
}

export interface ListActions {
  /** a patch was chosen; null for the channel as a whole */
  choose(channel: number, pick: Pick | null): void;
  zoom(direction: number): void;
  /** what the pointer or the keyboard is on, in words */
  read(text: string): void;
}

/** Rows above and below those in view that stand ready: a wheel scrolls before a frame is drawn. */
const SPARE = 3;

export class RowList {
  readonly node = element("div", { class: "rows", role: "grid", tabindex: "0" });
  readonly #spacer = element("div", { class: "spacer", role: "presentation" });
  readonly #rows: Row[] = [];
  #content: ListContent | null = null;
  #height = 1;
  #across = 1;
  #cursor: [number, number] = [0, 0];
  #subject = "";

  readonly #view: View;
  readonly #actions: ListActions;

  constructor(view: View, actions: ListActions) {
    this.#view = view;
    this.#actions = actions;
    this.node.append(this.#spacer);
    const on = <K extends keyof HTMLElementEventMap>(
      type: K,
      listener: (event: HTMLElementEventMap[K]) => void,
    ) => this.node.addEventListener(type, listener, { signal: view.signal, passive: false });
    on("scroll", () => view.redraw());
    on("focus", () => view.redraw());
    on("blur", () => view.redraw());
    on("keydown", (event) => this.#key(event));
    on("click", (event) => this.#click(event));
    on("pointermove", (event) => this.#hover(event));
    on("pointerleave", () => actions.read(""));
    on("wheel", (event) => {
      if (!event.ctrlKey) return;
      event.preventDefault();
      actions.zoom(event.deltaY < 0 ? 1 : -1);
    });
  }

  /** Rows in view, for asking. */
  get inView(): [number, number] {
    const { scrollTop, clientHeight } = this.node;
    return rowWindow(scrollTop, clientHeight, this.#height, this.#content?.order.length ?? 0);
  }

  /** Side of a patch with which a row is filled. */
  fit(patches: number): number {
    return fitted(this.node.clientWidth, patches);
  }

  /** Patches of a row that there is room for. */
  get across(): number {
    return this.#across;
  }

  show(content: ListContent): void {
    const before = this.#content;
    const { overview, order, size, patches } = content;
    const { layer } = overview.state;
    const width = this.node.clientWidth;
    const { height, across } = metrics(width, size, Math.min(patches, overview.most));
    this.node.classList.toggle("narrow", width < NARROW);
    // What stood at the top stays there when rows get another height.
    const top = height === this.#height ? -1 : this.node.scrollTop / this.#height;
    this.#height = height;
    this.#across = across;
    this.#content = content;
    this.#spacer.style.height = `${order.length * height}px`;
    if (this.#subject !== layer || before?.order !== order) {
      if (this.#subject !== "") this.node.scrollTop = 0;
      this.#subject = layer;
      this.#cursor = [0, 0];
    } else if (top >= 0) this.node.scrollTop = top * height;
    this.node.setAttribute("aria-rowcount", String(order.length));
    this.node.setAttribute(
      "aria-label",
      `Strongest patches of ${order.length} channels of ${layer}`,
    );
    this.#fill(content);
  }

  /** Bring a channel into view, and the cursor to it. */
  reveal(channel: number): void {
    const row = this.#content?.order.indexOf(channel) ?? -1;
    if (row < 0) return;
    if (row !== this.#cursor[0]) this.#cursor = [row, 0];
    const { node } = this;
    node.scrollTop = scrolledTo(node.scrollTop, node.clientHeight, this.#height, row);
  }

  #fill(content: ListContent): void {
    const { scrollTop, clientHeight } = this.node;
    const rows = content.order.length;
    const [first, end] = rowWindow(scrollTop, clientHeight, this.#height, rows, SPARE);
    // Another number of rows re-deals all: only ever more.
    while (this.#rows.length < end - first) {
      const row = new Row();
      this.#rows.push(row);
      this.#spacer.append(row.node);
    }
    const pool = this.#rows.length;
    const focused = this.#view.root.activeElement === this.node;
    const used = new Set<Row>();
    for (let position = first; position < end; position++) {
      const row = this.#rows[position % pool] as Row;
      used.add(row);
      const cursor = focused && position === this.#cursor[0] ? this.#cursor[1] : -1;
      row.show(position, this.#height, this.#across, cursor, content);
      if (cursor >= 0) this.node.setAttribute("aria-activedescendant", row.strip.idOf(cursor));
    }
    for (const row of this.#rows) row.node.hidden = !used.has(row);
  }

  #rowOf(event: Event): Row | undefined {
    return this.#rows.find(({ node }) => event.composedPath().includes(node));
  }

  #click(event: MouseEvent): void {
    const row = this.#rowOf(event);
    if (!row) return;
    const index = row.strip.indexOf(event);
    this.#cursor = [row.position, Math.max(0, index)];
    this.#actions.choose(row.channel, row.picks[index] ?? null);
  }

  #hover(event: PointerEvent): void {
    const row = this.#rowOf(event);
    const pick = row?.picks[row.strip.indexOf(event)];
    this.#actions.read(row && pick ? this.#words(row.channel, pick) : "");
  }

  #words(channel: number, pick: Pick): string {
    const { overview, names } = this.#content as ListContent;
    return `Channel ${channel}: ${described(pick, names, overview.state.whole)}`;
  }

  #picksAt(position: number): Pick[] {
    const { order, overview } = this.#content as ListContent;
    return picksOf(overview, order[position] ?? 0, this.#across);
  }

  #key(event: KeyboardEvent): void {
    const content = this.#content;
    if (!content || event.ctrlKey || event.metaKey || event.altKey) return;
    const [position, patch] = this.#cursor;
    const rows = content.order.length;
    if (event.key === "Enter" || event.key === " ") {
      this.#actions.choose(
        content.order[position] as number,
        this.#picksAt(position)[patch] ?? null,
      );
    } else if (event.key === "+" || event.key === "=") this.#actions.zoom(1);
    else if (event.key === "-") this.#actions.zoom(-1);
    else if (/^(Arrow|Page|Home|End)/.test(event.key)) {
      const page = Math.max(1, Math.floor(this.node.clientHeight / this.#height) - 1);
      const patches = (row: number) => this.#picksAt(row).length;
      this.#to(moved(this.#cursor, event.key, rows, page, patches));
    } else return;
    event.preventDefault();
    event.stopPropagation();
  }

  #to(cursor: [number, number]): void {
    this.#cursor = cursor;
    const { node } = this;
    node.scrollTop = scrolledTo(node.scrollTop, node.clientHeight, this.#height, cursor[0]);
    const pick = this.#picksAt(cursor[0])[cursor[1]];
    const channel = this.#content?.order[cursor[0]] ?? 0;
    this.#actions.read(pick ? this.#words(channel, pick) : `Channel ${channel}`);
    this.#view.redraw();
  }
}

class Row {
  readonly node: HTMLElement;
  readonly strip = new PatchStrip("gridcell");
  position = -1;
  channel = -1;
  picks: Pick[] = [];
  readonly #number = element("strong", { class: "channel" });
  readonly #first = element("span", { class: "fact" });
  readonly #second = element("span", { class: "fact" });
  #told: unknown[] = [];
  #decimals = 1;

  constructor() {
    const facts = element(
      "div",
      { class: "facts", role: "rowheader" },
      this.#number,
      this.#first,
      this.#second,
    );
    this.node = element("div", { class: "row", role: "row" }, facts, this.strip.node);
  }

  show(
    position: number,
    height: number,
    across: number,
    cursor: number,
    content: ListContent,
  ): void {
    const { overview, order, sort, names, size } = content;
    const channel = order[position] as number;
    const told = [position, channel, height, across, overview, sort, names];
    if (told.some((part, i) => part !== this.#told[i])) {
      this.#told = told;
      this.position = position;
      this.channel = channel;
      this.picks = picksOf(overview, channel, across);
      this.#decimals = decimalsFor(this.picks.map(({ value }) => value));
      this.#tell(height, content);
    }
    const open = channel === content.channel;
    if (open !== this.node.classList.contains("open")) this.node.classList.toggle("open", open);
    this.strip.show({
      picks: this.picks,
      bitmap: content.bitmap(channel),
      size,
      columns: across,
      decimals: this.#decimals,
      names,
      whole: overview.state.whole,
      bare: overview.state.missing !== "",
      cursor,
      chosen: (pick) => open && isChosen(pick, content),
    });
  }

  #tell(height: number, { overview, sort, names }: ListContent): void {
    const { node, channel } = this;
    node.style.transform = `translateY(${this.position * height}px)`;
    node.style.height = `${height}px`;
    node.setAttribute("aria-rowindex", String(this.position + 1));
    this.#number.textContent = String(channel);
    const silence = silenceOf(overview, channel);
    const [first, second] = factsOf(overview, channel, sort, names.classes);
    this.#first.textContent = silence || first;
    this.#second.textContent = silence ? "" : second;
    this.#second.title = second
      .replace(/^sel[.] (\S+) ·/, "Selectivity $1 for")
      .replace(/^NaN.*/, "NaN, infinity or numbers beyond a million for some images: left out");
    node.classList.toggle("off", silence !== "");
  }
}

export function isChosen(pick: Pick, chosen: { image: number; unit: number[] }): boolean {
  const { image, unit } = chosen;
  const [row, column] = pick.place;
  return pick.image === image && (unit.length < 2 || (unit[0] === row && unit[1] === column));
}
