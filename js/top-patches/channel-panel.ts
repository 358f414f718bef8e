/** One channel opened: its strongest, middle and weakest patches, its histogram and its classes. */

import { button, element, rebuild } from "../shared/controls.ts";
import type { View } from "../shared/view.ts";
import { type Answer, unpack } from "../shared/wire.ts";
import { type Distribution, HistogramChart, MARKS } from "./histogram-chart.ts";
import {
  className,
  dataOf,
  decimalsFor,
  described,
  type Names,
  type Overview,
  type Pick,
  percent,
  pickAt,
  picksOf,
} from "./overview.ts";
import { PatchStrip } from "./patch-strip.ts";
import { isChosen } from "./row-list.ts";
import { GAP, moved } from "./rows.ts";
import type { ClassShare, Hands, OpenedState, Packed } from "./state.ts";
import { decodeFile, filesOf } from "./strips.ts";

export interface PanelActions extends Hands {
  choose(pick: Pick): void;
  names(): Names;
  close(): void;
  save(format: "png" | "svg"): void;
  read(text: string): void;
  failed(message: string): void;
}

/** What the panel stands on: an answer, decoded. */
interface Opened {
  state: OpenedState;
  distribution: Distribution | null;
  groups: { name: OpenedState["groups"][number]["name"]; picks: Pick[] }[];
  bitmaps: (ImageBitmap | null)[];
}

/** Classes that are told apart of the strongest patches, the most frequent. */
const SHARES = 8;
const NAMES = { top: "Strongest", middle: "About the median", bottom: "Weakest" };

export class ChannelPanel {
  /** what the channel is, and its strongest patches */
  readonly node: HTMLElement;
  /** its histogram and its classes */
  readonly facts: HTMLElement;
  /** its other patches */
  readonly rest: HTMLElement;
  readonly #title = element("h3");
  readonly #sentence = element("p", { class: "soft" });
  readonly #groups = ["top", "middle", "bottom"].map((name) => new Group(name as "top"));
  readonly #histogram = new HistogramChart();
  readonly #classes = element("div", { class: "shares" });
  #opened: Opened | null = null;

  readonly #view: View;
  readonly #actions: PanelActions;

  constructor(view: View, actions: PanelActions) {
    this.#view = view;
    this.#actions = actions;
    this.facts = element("div", { class: "panel-facts" }, this.#histogram.node, this.#classes);
    this.node = element(
      "section",
      { class: "channel-panel", "aria-label": "Opened channel" },
      element(
        "header",
        {},
        this.#title,
        element(
          "div",
          { class: "control" },
          button("PNG", "Save this channel's patches as a PNG file", () => actions.save("png")),
          button("SVG", "Save this channel's patches as an SVG file", () => actions.save("svg")),
          button("✕", "Close the channel (Esc)", () => actions.close()),
        ),
      ),
      this.#sentence,
    );
    const [top, ...others] = this.#groups.map(({ node }) => node);
    this.node.append(top as HTMLElement);
    this.rest = element("section", { "aria-label": "Other samples" }, ...others);
    for (const group of this.#groups) {
      group.listen(view.signal, {
        choose: (pick) => actions.choose(pick),
        hover: (pick) => this.#hover(pick),
        redraw: () => view.redraw(),
      });
    }
  }

  /** The channel's strongest pick, once it is known. */
  get strongest(): Pick | null {
    return this.#opened?.groups[0]?.picks[0] ?? null;
  }

  /** Whether what is open is what is asked for, and fine enough. */
  holds(layer: string, channel: number, show: string, tile = 0): boolean {
    const state = this.#opened?.state;
    return (
      state?.layer === layer &&
      state.channel === channel &&
      state.show === show &&
      state.tile >= tile
    );
  }

  take(state: OpenedState, arrays: Answer["arrays"]): void {
    // The answer comes as a trait too: what is decoded already stays.
    const before = this.#opened?.state;
    if (before && sameChannel(before, state)) return;
    const data = dataOf(arrays);
    let at = 0;
    const groups = state.groups.map(({ name, count }) => {
      const picks = Array.from({ length: count }, (_, i) => pickAt(data, at + i));
      at += count;
      return { name, picks: picks.filter(({ image }) => image >= 0) };
    });
    const { edges, counts, quantiles = new Float32Array() } = data;
    const distribution = edges && counts ? { edges, counts, quantiles } : null;
    const opened: Opened = { state, distribution, groups, bitmaps: groups.map(() => null) };
    for (const bitmap of this.#opened?.bitmaps ?? []) bitmap?.close();
    this.#opened = opened;
    filesOf(arrays).forEach((file, i) => {
      if (file.length === 0) return;
      decodeFile(file).then(
        (bitmap) => {
          if (this.#opened !== opened) return bitmap.close();
          opened.bitmaps[i] = bitmap;
          this.#view.redraw();
        },
        (error) => this.#actions.failed(`The patches cannot be drawn: ${error}`),
      );
    });
    this.#view.redraw();
  }

  takePacked(packed: OpenedState & Packed): void {
    this.take(packed, unpack(packed.arrays, packed.buffers));
  }

  /** `known`: what stands there until Python has answered. */
  show(overview: Overview, channel: number, known: ImageBitmap | null): void {
    const { layer, whole, missing } = overview.state;
    const { get, size: listed } = this.#actions;
    const opened = this.#opened;
    const current = opened?.state.layer === layer && opened.state.channel === channel;
    this.#title.textContent = (current && opened.state.title) || `Channel ${channel} of ${layer}`;
    this.#sentence.textContent = current ? opened.state.sentence : "The rest comes from Python …";
    this.rest.hidden = !current;
    this.facts.hidden = !current;
    const room = this.node.clientWidth;
    // Also on a phone some stand side by side.
    const size = Math.max(24, Math.min(listed(), Math.floor(room / 4) - GAP));
    const columns = Math.max(1, Math.floor((room - 4 + GAP) / (size + GAP)));
    this.#groups.forEach((group, i) => {
      const first = i === 0 ? picksOf(overview, channel, overview.most) : [];
      group.show(current ? (opened.groups[i]?.picks ?? []) : first, {
        bitmap: current ? (opened.bitmaps[i] ?? null) : i === 0 ? known : null,
        size,
        columns,
        names: this.#actions.names(),
        whole,
        bare: missing !== "",
        focused: this.#view.root.activeElement === group.list,
        chosen: (pick) => isChosen(pick, { image: get("image"), unit: get("unit") }),
      });
    });
    if (current) this.#showFacts(opened);
  }

  #showFacts({ state, distribution, groups }: Opened): void {
    this.#histogram.node.hidden = distribution === null;
    if (distribution) {
      const samples = groups.map(
        ({ name, picks }) => [name, picks.map(({ value }) => value)] as [typeof name, number[]],
      );
      this.#histogram.show(distribution, samples, `Histogram. ${state.sentence}`);
    }
    const shares = state.class_shares;
    this.#classes.hidden = shares.length === 0;
    rebuild(this.#classes, JSON.stringify(shares), () => [sharesTable(shares, state.purity)]);
  }

  #hover(pick: Pick | null): void {
    this.#histogram.point(pick ? pick.value : null);
    const { names, read } = this.#actions;
    read(pick ? described(pick, names(), false) : "");
  }
}

function sameChannel(a: OpenedState, b: OpenedState): boolean {
  const key = (state: OpenedState) =>
    JSON.stringify([state.layer, state.channel, state.show, state.tile, state.sentence]);
  return key(a) === key(b);
}

function sharesTable(shares: ClassShare[], purity: OpenedState["purity"]): HTMLElement {
  const pure = Number(purity ?? Number.NaN);
  const more = shares.length - SHARES;
  const text = Number.isFinite(pure) ? `Classes of the strongest: purity ${percent(pure)}` : "";
  return element(
    "table",
    {},
    element("caption", {}, text || "Classes of the strongest"),
    ...shares.slice(0, SHARES).map(({ number, name, share, count }) => {
      const bar = element("span", { class: "fill" });
      bar.style.width = `${Math.max(0, Math.min(100, 100 * share))}%`;
      const head = element("th", { scope: "row" }, className([name], name ? 0 : number));
      head.title = `${name} (class ${number})`;
      const track = element("td", { class: "track", "aria-hidden": "true" }, bar);
      return element(
        "tr",
        {},
        head,
        track,
        element("td", { class: "percent" }, `${count} · ${percent(share)}`),
      );
    }),
    ...(more > 0
      ? [element("tr", {}, element("td", { class: "soft", colspan: "3" }, `and ${more} more`))]
      : []),
  );
}

interface GroupLook {
  bitmap: ImageBitmap | null;
  size: number;
  columns: number;
  names: Names;
  whole: boolean;
  bare: boolean;
  focused: boolean;
  chosen(pick: Pick): boolean;
}

interface GroupActions {
  choose(pick: Pick): void;
  hover(pick: Pick | null): void;
  redraw(): void;
}

/** One group of patches; arrow keys go from patch to patch. */
class Group {
  readonly node: HTMLElement;
  readonly list: HTMLElement;
  readonly #strip = new PatchStrip("option");
  readonly #head: HTMLElement;
  #picks: Pick[] = [];
  #columns = 1;
  #cursor = 0;

  constructor(name: "top" | "middle" | "bottom") {
    this.#head = element("h4", {}, `${MARKS[name][1]} ${NAMES[name]}`);
    this.list = element(
      "div",
      { class: "group", role: "listbox", tabindex: "0", "aria-label": `${NAMES[name]} patches` },
      this.#strip.node,
    );
    this.node = element("div", {}, this.#head, this.list);
  }

  listen(signal: AbortSignal, actions: GroupActions): void {
    const at = (event: Event) => this.#picks[this.#strip.indexOf(event)] ?? null;
    const { list } = this;
    list.addEventListener("pointermove", (event) => actions.hover(at(event)), { signal });
    list.addEventListener("pointerleave", () => actions.hover(null), { signal });
    list.addEventListener("focus", () => actions.redraw(), { signal });
    list.addEventListener("blur", () => actions.redraw(), { signal });
    list.addEventListener(
      "click",
      (event) => {
        const pick = at(event);
        if (!pick) return;
        this.#cursor = this.#picks.indexOf(pick);
        actions.choose(pick);
      },
      { signal },
    );
    list.addEventListener("keydown", (event) => this.#key(event, actions), { signal });
  }

  show(picks: Pick[], look: GroupLook): void {
    this.node.hidden = picks.length === 0;
    this.#picks = picks;
    this.#columns = look.columns;
    this.#cursor = Math.min(this.#cursor, Math.max(0, picks.length - 1));
    this.#strip.show({
      ...look,
      picks,
      decimals: decimalsFor(picks.map(({ value }) => value)),
      cursor: look.focused ? this.#cursor : -1,
    });
    if (look.focused) {
      this.list.setAttribute("aria-activedescendant", this.#strip.idOf(this.#cursor));
    }
  }

  #key(event: KeyboardEvent, actions: GroupActions): void {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const { key } = event;
    const pick = this.#picks[this.#cursor];
    if (key === "Enter" || key === " ") {
      if (pick) actions.choose(pick);
    } else if (/^(Arrow|Home|End)/.test(key)) {
      const columns = this.#columns;
      const down = key === "ArrowDown" ? columns : key === "ArrowUp" ? -columns : 0;
      const aside = moved([0, this.#cursor], key, 1, 1, () => this.#picks.length)[1];
      const ends: Record<string, number> = { Home: 0, End: this.#picks.length - 1 };
      const to = ends[key] ?? (down === 0 ? aside : this.#cursor + down);
      if (to >= 0 && to < this.#picks.length) this.#cursor = to;
      actions.hover(this.#picks[this.#cursor] ?? null);
      actions.redraw();
    } else return;
    event.preventDefault();
    event.stopPropagation();
  }
}
