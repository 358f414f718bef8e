/** The view of `nbviz.TopPatches`: what of the data each channel answers to most. */

import type { AnyModel, Render } from "@anywidget/types";
import choices from "../shared/choices.css";
import { download, element } from "../shared/controls.ts";
import { type Key, keysTable, listenToKeys } from "../shared/keys.ts";
import { listen, openView, type View } from "../shared/view.ts";
import { type Channel, Requests, sayLink, unpack } from "../shared/wire.ts";
import { Answering } from "./answering.ts";
import { ChannelPanel } from "./channel-panel.ts";
import { Head } from "./head.ts";
import { ImageStage } from "./image-stage.ts";
import {
  channelOrder,
  decodeOverview,
  type Names,
  type Overview,
  type Pick,
  picksOf,
} from "./overview.ts";
import { RowList } from "./row-list.ts";
import { channelsToAsk } from "./rows.ts";
import type { ImageState, Model, OpenedState, Show, State } from "./state.ts";
import { SIZES } from "./state.ts";
import { Strips, type Wanted } from "./strips.ts";
import css from "./style.css";
import { Toolbar } from "./toolbar.ts";

/** Milliseconds until a view says that it waits, and until it says what may be the matter. */
const [PATIENT_MS, LONG_MS] = [300, 4000];
const HINT = "Below patches: activations. Press one, or use arrow keys and Enter, to open it.";
const SHOWS: Show[] = ["patch", "image", "masked"];

class TopPatchesView {
  readonly #view: View;
  readonly #model: AnyModel<object>;
  readonly #requests: Requests;
  readonly #strips: Strips;
  readonly #toolbar: Toolbar;
  readonly #list: RowList;
  readonly #panel: ChannelPanel;
  readonly #stage: ImageStage;
  readonly #answering: Answering;
  readonly #head: Head;
  readonly #readout = element("p", { class: "readout" }, HINT);
  readonly #help: HTMLElement;
  readonly #main = element("div", { class: "main" });
  readonly #byStage = element("section", { class: "by-image", "aria-label": "The whole image" });
  readonly #right = element("div", { class: "right" });
  #overview: Overview | null = null;
  readonly #decoded: {
    overview?: State["overview"];
    pictures?: State["pictures"];
    opened?: State["opened"];
  } = {};
  #order: Uint32Array = new Uint32Array();
  #orderKey: unknown[] = [];
  /** the stage is open although no channel is */
  #byImage = false;
  /** questions under way, by what they ask, so that each is asked once */
  readonly #asked = new Map<string, string>();
  #named: Names = { classes: [], outputs: [] };
  #staleSince = 0;
  /** the channel that was brought into view last */
  #revealed = "";
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(model: AnyModel<object>, host: HTMLElement) {
    this.#model = model;
    this.#view = openView(host, "top-patches", choices + css, () => this.#draw());
    const view = this.#view;
    const { signal } = view;
    this.#requests = new Requests(model as unknown as Channel, signal);
    sayLink(model as never);
    const redraw = () => view.redraw();
    const failed = (message: string) => this.#failed(message);
    const hands = {
      get: <K extends keyof State>(name: K) => this.#get(name),
      set: (values: Partial<State>) => this.#set(values),
      size: () => this.#size(),
      read: (text: string) => this.#read(text),
      failed,
    };
    this.#strips = new Strips(this.#requests, redraw, failed);
    this.#toolbar = new Toolbar(signal, {
      ...hands,
      byImage: () => this.#openImage(),
      help: () => this.#toggleHelp(),
    });
    this.#head = new Head(hands);
    this.#list = new RowList(view, {
      choose: (channel, pick) => this.#choose(channel, pick),
      zoom: (direction) => this.#zoom(direction),
      read: hands.read,
    });
    this.#panel = new ChannelPanel(view, {
      ...hands,
      choose: (pick) => this.#choose(this.#get("channel"), pick),
      close: () => this.#close(),
      names: () => this.#names(),
      save: (format) => this.#save(format),
    });
    this.#stage = new ImageStage(view, {
      box: (box) => this.#chooseBox(box ?? []),
      image: (image) => this.#set({ image, unit: [], box: [] }),
      failed,
    });
    this.#answering = new Answering(this.#requests, {
      open: (layer, channel, unit) => this.#open(layer, channel, unit),
      changed: redraw,
      failed,
      announce: (text) => view.announce(text),
    });
    const keys = this.#keys();
    this.#help = element("div", { class: "help", hidden: "" }, keysTable(keys));
    listenToKeys(view.root, signal, keys);
    this.#assemble();
    signal.addEventListener("abort", () => {
      clearTimeout(this.#timer);
      this.#strips.close();
    });
    listen(model as never, ["change"], signal, redraw);
    redraw();
  }

  close(): void {
    this.#view.close();
  }

  #get<K extends keyof State>(name: K): State[K] {
    return (this.#model as unknown as Model).get(name);
  }

  #size(): number {
    return this.#get("size") || this.#list.fit(this.#get("patches"));
  }

  #set(values: Partial<State>): void {
    const model = this.#model as unknown as Model;
    for (const [name, value] of Object.entries(values)) model.set(name as "layer", value as string);
    model.save_changes();
    this.#view.redraw();
  }

  /** One object for as long as the names stay. */
  #names(): Names {
    const [classes, outputs] = [this.#get("classes"), this.#get("outputs")];
    const before = this.#named;
    if (classes !== before.classes || outputs !== before.outputs)
      this.#named = { classes, outputs };
    return this.#named;
  }

  #failed(message: string): void {
    this.#view.problem("request", message);
    this.#view.redraw();
  }

  #read(text: string): void {
    const shown = text || HINT;
    if (this.#readout.textContent !== shown) this.#readout.textContent = shown;
  }

  #assemble(): void {
    const left = element(
      "div",
      { class: "left" },
      this.#list.node,
      this.#readout,
      this.#head.legend,
    );
    const beside = element("div", {}, this.#panel.facts, this.#answering.node);
    this.#byStage.append(this.#stage.node, beside);
    this.#right.append(this.#panel.node, this.#byStage, this.#panel.rest);
    this.#main.append(left, this.#right);
    this.#view.body.append(this.#toolbar.node, this.#help, this.#head.node, this.#main);
  }

  #draw(): void {
    this.#view.problem("python", this.#get("problem"));
    this.#decode();
    const overview = this.#overview;
    this.#toolbar.show(overview);
    if (!overview) {
      this.#head.status = "Waiting for Python …";
      return;
    }
    const stale = overview.state.layer !== this.#get("layer");
    this.#main.classList.toggle("stale", stale);
    const open = !stale && (this.#get("channel") >= 0 || this.#byImage);
    this.#main.classList.toggle("opened", open);
    this.#right.hidden = !open;
    this.#head.show(overview);
    const wanted = this.#wanted();
    this.#showList(overview, wanted);
    if (open) this.#showOpened(overview);
    this.#showStatus(overview, stale, wanted);
  }

  #decode(): void {
    const state = this.#get("overview");
    const before = this.#decoded;
    if (state !== before.overview) {
      this.#overview = decodeOverview(state);
      before.overview = state;
    }
    const pictures = this.#get("pictures");
    if (pictures !== before.pictures && Array.isArray(pictures.arrays)) {
      before.pictures = pictures;
      this.#strips.take(pictures, unpack(pictures.arrays, pictures.buffers));
    }
    const opened = this.#get("opened");
    if (opened !== before.opened && Array.isArray(opened.arrays)) {
      before.opened = opened;
      this.#panel.takePacked(opened);
    }
  }

  /** What strips are wanted, in device pixels, rounded so that a slider asks seldom. */
  #wanted(): Wanted {
    const size = this.#size() * (window.devicePixelRatio || 1);
    return {
      layer: this.#overview?.state.layer ?? "",
      show: this.#get("show"),
      patches: this.#get("patches"),
      tile: Math.min(256, 32 * Math.ceil(size / 32)),
    };
  }

  #showList(overview: Overview, wanted: Wanted): void {
    const [sort, descending] = [this.#get("sort"), this.#get("descending")];
    const key = [overview, sort, descending];
    // Which classes a search finds Python knows: until it has told, nothing moves.
    const searching = sort === "selectivity" && overview.state.search !== this.#get("search");
    const waits = searching && this.#order.length === overview.channels;
    if (!waits && key.some((part, i) => part !== this.#orderKey[i])) {
      this.#orderKey = key;
      const order = channelOrder(overview, sort, descending);
      // The same order keeps its identity, and the list its place.
      if (String(order) !== String(this.#order)) this.#order = order;
    }
    this.#list.show({
      overview,
      order: this.#order,
      sort,
      names: this.#names(),
      patches: wanted.patches,
      size: this.#size(),
      channel: this.#get("channel"),
      image: this.#get("image"),
      unit: this.#get("unit"),
      bitmap: (channel) => this.#strips.get(wanted, channel)?.bitmap ?? null,
    });
    if (overview.state.layer !== this.#get("layer")) return;
    // Whoever opened it: a hand here, a linked view, Python.
    const channel = this.#get("channel");
    const opened = `${channel} ${overview.state.layer}`;
    if (opened !== this.#revealed) {
      this.#revealed = opened;
      if (channel >= 0) {
        this.#list.reveal(channel);
        this.#view.announce(`Channel ${channel} is open`);
      }
    }
    if (overview.state.missing) return;
    const now = performance.now();
    const there = (channel: number) =>
      this.#strips.has(wanted, channel) || this.#strips.coming(wanted, channel, now);
    this.#strips.ask(wanted, channelsToAsk(this.#order, this.#list.inView, there), now);
  }

  #showOpened(overview: Overview): void {
    const { layer, missing } = overview.state;
    const channel = this.#get("channel");
    for (const node of [this.#panel.node, this.#panel.facts, this.#panel.rest]) {
      node.hidden = channel < 0;
    }
    if (channel >= 0) {
      this.#panel.show(
        overview,
        channel,
        this.#strips.get(this.#wanted(), channel)?.bitmap ?? null,
      );
      this.#askChannel(layer, channel);
    }
    const strongest = this.#panel.holds(layer, channel, this.#get("show"))
      ? this.#panel.strongest
      : null;
    const chosen = this.#get("image");
    const image = chosen >= 0 ? chosen : (strongest?.image ?? -1);
    const none = image < 0 || missing !== "";
    this.#byStage.classList.toggle("alone", none);
    this.#byStage.hidden = none && this.#panel.facts.hidden;
    this.#stage.node.hidden = this.#answering.node.hidden = none;
    if (none) return;
    this.#askImage(layer, channel, image);
    const box = this.#get("box");
    const room = Math.min(420, Math.max(160, this.#stage.node.clientWidth));
    const current = this.#stage.holds(layer, channel, image, this.#get("unit"));
    this.#stage.show(image, box, this.#names(), room, current);
    this.#answering.show(image, box, layer);
  }

  /** Ask once for what is not there, and again only when something else was asked between. */
  #once(kind: string, key: string, ask: () => void): void {
    if (this.#asked.get(kind) === key) return;
    this.#asked.set(kind, key);
    ask();
  }

  #askChannel(layer: string, channel: number): void {
    const { show, tile } = this.#wanted();
    if (this.#panel.holds(layer, channel, show, tile)) {
      this.#asked.delete("channel");
      return;
    }
    const fields = { layer, channel, show, tile };
    this.#once("channel", JSON.stringify(fields), () =>
      this.#requests.ask(
        "channel",
        fields,
        (answer) => {
          this.#view.problem("request", "");
          this.#panel.take(answer.fields as unknown as OpenedState, answer.arrays);
        },
        (message) => this.#failed(message),
      ),
    );
  }

  #askImage(layer: string, channel: number, image: number): void {
    const unit = this.#get("unit");
    if (this.#stage.holds(layer, channel, image, unit)) {
      this.#asked.delete("image");
      return;
    }
    // Which unit is marked Python knows from the trait.
    const fields = { layer, channel, image, unit };
    this.#once("image", JSON.stringify(fields), () =>
      this.#requests.ask(
        "image",
        fields,
        (answer) => {
          this.#view.problem("request", "");
          const state = { ...fields, ...answer.fields } as unknown as ImageState;
          this.#stage.take(state, answer.arrays);
        },
        (message) => this.#failed(message),
      ),
    );
  }

  /** A quiet line; nothing on the page moves for it. */
  #showStatus(overview: Overview, stale: boolean, wanted: Wanted): void {
    const now = performance.now();
    if (!stale) this.#staleSince = 0;
    else this.#staleSince ||= now;
    const [first, end] = this.#list.inView;
    const missing = overview.state.missing
      ? 0
      : this.#order.subarray(first, end).filter((channel) => !this.#strips.get(wanted, channel))
          .length;
    const waited = Math.max(
      stale ? now - this.#staleSince : 0,
      missing > 0 ? this.#strips.waited(now) : 0,
    );
    const what = stale ? `layer ${this.#get("layer")}` : "pictures";
    this.#head.status =
      waited < PATIENT_MS
        ? ""
        : waited < LONG_MS
          ? `Waiting for ${what} …`
          : `Waiting for Python: it is busy or not there (then run the cell). Missing: ${what}.`;
    clearTimeout(this.#timer);
    if (stale || missing > 0) this.#timer = setTimeout(() => this.#view.redraw(), 500);
  }

  #choose(channel: number, pick: Pick | null): void {
    const { layer } = this.#overview?.state ?? { layer: this.#get("layer") };
    const overview = this.#overview;
    const strongest = overview && pick === null ? firstPick(overview, channel) : pick;
    this.#set(
      strongest
        ? { layer, channel, image: strongest.image, unit: [...strongest.place], box: [] }
        : { layer, channel, unit: [] },
    );
  }

  #open(layer: string, channel: number, unit: number[]): void {
    this.#set({ layer, channel, unit: [...unit] });
  }

  #openImage(): void {
    this.#byImage = true;
    this.#set(this.#get("image") < 0 ? { image: firstImage(this.#overview) } : {});
  }

  #close(): void {
    this.#byImage = false;
    this.#set({ channel: -1, unit: [], box: [] });
    this.#read("");
    this.#list.node.focus();
  }

  #chooseBox(box: number[]): void {
    this.#set({ box });
    if (box.length === 4) this.#answering.ask(box);
  }

  #zoom(direction: number): void {
    const size = this.#size() + direction * SIZES.step;
    this.#set({ size: Math.max(SIZES.least, Math.min(SIZES.most, size)) });
  }

  #toggleHelp(): void {
    this.#help.hidden = !this.#help.hidden;
  }

  #save(format: "png" | "svg"): void {
    this.#requests.ask(
      "export",
      { format },
      ({ fields, arrays }) => {
        this.#view.problem("request", "");
        const bytes = arrays.get("data")?.data as Uint8Array<ArrayBuffer>;
        download(String(fields.name), String(fields.type), bytes);
      },
      (message) => this.#failed(message),
    );
  }

  #keys(): Key[] {
    const key = (names: string[], keys: string, does: string, act: Key["act"]): Key => ({
      names,
      keys,
      does,
      act,
    });
    const next = () => {
      const at = SHOWS.indexOf(this.#get("show"));
      this.#set({ show: SHOWS[(at + 1) % SHOWS.length] as Show });
    };
    return [
      key([], "↑ ↓ Page Home End", "from channel to channel", () => {}),
      key([], "← →", "from patch to patch", () => {}),
      key([], "Enter", "open the channel at this patch", () => {}),
      key(["Escape"], "Esc", "close the channel", () => this.#close()),
      key(["v"], "v", "patch, whole image, masked", next),
      key(["/"], "/", "search for a class", () => this.#toolbar.focusSearch()),
      key(["+", "="], "+", "larger patches", () => this.#zoom(1)),
      key(["-"], "−", "smaller patches", () => this.#zoom(-1)),
      key(["?", "h"], "? h", "these keys", () => this.#toggleHelp()),
    ];
  }
}

function firstPick(overview: Overview, channel: number): Pick | null {
  return picksOf(overview, channel, 1)[0] ?? null;
}

function firstImage(overview: Overview | null): number {
  return overview ? (firstPick(overview, 0)?.image ?? 0) : 0;
}

const render: Render = ({ model, el }) => {
  const view = new TopPatchesView(model, el);
  return () => view.close();
};

export default { render };
