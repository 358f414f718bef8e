/** The view of `nbviz.ActivationBrowser`: what every layer answers, down to one unit. */

import type { AnyModel, Render } from "@anywidget/types";
import type { Inputs } from "../picture-inputs/inputs.ts";
import type { InputsPart } from "../picture-inputs/part.ts";
import { type Colormap, colormapPixels } from "../shared/colormaps.ts";
import { element, rebuild } from "../shared/controls.ts";
import { keysTable, listenToKeys } from "../shared/keys.ts";
import { fetchPart } from "../shared/parts.ts";
import { listen, openView, type View } from "../shared/view.ts";
import { type Channel, Requests, sayLink } from "../shared/wire.ts";
import { ChannelGrid, differenceTone } from "./channel-grid.ts";
import { ClassSort } from "./class-sort.ts";
import { Lens } from "./lens.ts";
import {
  boxOf,
  decodeMaps,
  isDead,
  type Maps,
  peakOf,
  sortedChannels,
  spotOf,
  summaryOf,
  type Tone,
} from "./maps.ts";
import { Painter } from "./painter.ts";
import { decodePictures, type Picture, PicturePane } from "./picture.ts";
import { Pins } from "./pins.ts";
import { Prediction } from "./prediction.ts";
import { Rail } from "./rail.ts";
import { bindings } from "./shortcuts.ts";
import type { Box, LayerEntry, Model, Place, State } from "./state.ts";
import css from "./style.css";
import { automatic, showLegend, Toolbar } from "./toolbar.ts";
import traceCss from "./trace.css";
import { TracePanel } from "./trace.ts";
import { Unit } from "./unit.ts";
import { Waiting } from "./waiting.ts";

type Spot = [number, number];
const OPACITY = { type: "range", min: "0", max: "1", step: "0.05" };

class ActivationBrowserView {
  readonly view: View;
  /** null until it has come from Python */
  inputs: Inputs | null = null;
  readonly grid: ChannelGrid;
  readonly rail: Rail;
  readonly #requests: Requests;
  readonly #toolbar: Toolbar;
  readonly #lens: Lens;
  readonly #pane: PicturePane;
  readonly #pins: Pins;
  readonly #unit: Unit;
  readonly #trace: TracePanel;
  readonly #classSort: ClassSort;
  readonly #waiting: Waiting;
  readonly #prediction = new Prediction();
  readonly #painter = new Painter();
  readonly #headline = element("p", { class: "headline" });
  readonly #note = element("p", { class: "note" });
  readonly #legend = element("div", { class: "legend" });
  readonly #overlay = element("input", { ...OPACITY, "aria-label": "Opacity of the map" });
  readonly #sources = element(
    "p",
    { class: "soft" },
    "Other pictures (of the data set, drawn, from a file or the camera) need Python behind the page.",
  );
  readonly #help: HTMLElement;
  readonly #center = element("div", { class: "center" });
  #maps: Maps | null = null;
  #decoded: State["maps"] | null = null;
  #pictures: Picture[] = [];
  #decodedPicture: State["picture"] | null = null;
  /** what the pointer is on: a channel, and a unit of whatever channel */
  #hoveredChannel = -1;
  #hovered: Spot | null = null;

  readonly #model: AnyModel<object>;

  constructor(model: AnyModel<object>, host: HTMLElement) {
    this.#model = model;
    this.view = openView(host, "activation-browser", css + traceCss, () => this.#draw());
    const { signal } = this.view;
    this.#requests = new Requests(model as unknown as Channel, signal);
    sayLink(model as never);
    const redraw = () => this.view.redraw();
    const failed = (message: string) => this.view.problem("request", message);
    this.rail = new Rail(
      this.view,
      () => this.get("layer"),
      (layer) => this.openLayer(layer),
    );
    this.#toolbar = new Toolbar(signal, {
      get: (name) => this.get(name),
      set: (name, value) => this.set({ [name]: value }),
      zoom: (direction) => this.zoom(direction),
      keepAsB: () => this.#requests.ask("keep", {}, () => this.view.problem("request", ""), failed),
      help: () => this.toggleHelp(),
    });
    fetchPart<InputsPart>(
      this.#requests,
      "picture-inputs",
      ({ openInputs }) => {
        this.inputs = openInputs(this.view, this.#requests, {
          choose: (image) => this.set({ image }),
          problem: (text) => this.view.problem("request", text),
        });
        this.#sources.replaceChildren(this.inputs.node);
        redraw();
      },
      failed,
    );
    this.grid = new ChannelGrid(this.view, this.#painter, {
      point: (channel, unit) => this.#point(channel, unit),
      choose: (channel, unit) =>
        this.#chooseUnit(
          channel,
          unit ?? this.chosen ?? (this.#maps ? peakOf(this.#maps, channel) : [0, 0]),
        ),
      arrive: (channel) => this.#arrive(channel),
      zoom: (direction) => this.zoom(direction),
    });
    this.#lens = new Lens(this.#requests, signal, {
      hover: (unit) => this.#hover(unit),
      choose: (unit) => this.#chooseUnit(this.#focus, unit, true),
      failed,
      changed: redraw,
      announce: (text) => this.view.announce(text),
    });
    this.#pane = new PicturePane(
      signal,
      (_side, across, down, press) => this.#pointAtPicture(across, down, press),
      () => this.#hover(null),
    );
    this.#pins = new Pins(
      (layer, channel) => this.set({ layer, channel }),
      (layer, channel) => this.togglePin(layer, channel),
    );
    this.#unit = new Unit({
      get: (name) => this.get(name),
      set: (values) => this.set(values),
      togglePin: () => this.togglePin(),
      toggleOrigin: () => this.toggleOrigin(),
    });
    this.#trace = new TracePanel(signal, {
      open: (layer, channel, row, column) =>
        this.#stepBack({ layer, channel, unit: [row, column] }),
      announce: (text) => this.view.announce(text),
    });
    this.#waiting = new Waiting(this.view, (name) => this.get(name));
    this.#classSort = new ClassSort(this.#requests, redraw, failed);
    this.#overlay.addEventListener(
      "input",
      () => this.set({ overlay: Number(this.#overlay.value) }),
      {
        signal,
      },
    );
    const keys = bindings(this);
    this.#help = element("div", { class: "help", hidden: "" }, keysTable(keys));
    listenToKeys(this.view.root, signal, keys);
    this.#assemble();
    listen(model as never, ["change"], signal, redraw);
    redraw();
  }

  close(): void {
    this.view.close();
  }

  get<K extends keyof State>(name: K): State[K] {
    return (this.#model as unknown as Model).get(name);
  }

  set(values: Partial<State>): void {
    const model = this.#model as unknown as Model;
    for (const [name, value] of Object.entries(values)) model.set(name as "layer", value as string);
    model.save_changes();
    this.view.redraw();
  }

  /** Channel that is looked at: the one under the pointer, else the chosen one. */
  get #focus(): number {
    return this.#hoveredChannel >= 0 ? this.#hoveredChannel : this.get("channel");
  }

  /** Unit that is chosen; in attention the place of the query. */
  get chosen(): Spot | null {
    const maps = this.#maps;
    if (maps?.state.kind === "attention") {
      const place = maps.state.query - maps.state.prefix;
      return place < 0 ? null : [Math.floor(place / maps.columns), place % maps.columns];
    }
    const unit = this.get("unit");
    return unit.length === 2 ? [unit[0] as number, unit[1] as number] : null;
  }

  #assemble(): void {
    const right = element(
      "aside",
      { class: "right", "aria-label": "Picture and prediction" },
      this.#pane.node,
      element(
        "label",
        { class: "control overlay" },
        element("span", {}, "Map over it"),
        this.#overlay,
      ),
      this.#prediction.node,
    );
    this.#center.append(this.#headline, this.#note, this.#pins.node, this.grid.node, this.#legend);
    this.view.body.append(
      this.#sources,
      this.#toolbar.node,
      this.#help,
      element("div", { class: "main" }, this.rail.node, this.#center, right),
      this.#lens.node,
      this.#unit.node,
      this.#trace.node,
    );
  }

  #draw(): void {
    this.#decode();
    this.view.problem("python", this.get("problem"));
    const layers = this.get("layers");
    const maps = this.#maps;
    const stale = maps !== null && this.#waiting.show(maps, this.inputs?.waitingSince ?? 0);
    this.rail.show(layers, this.get("rail"), this.get("layer"), this.#railIsOld());
    this.inputs?.show({ ...this.get("inputs"), image: this.get("image") });
    this.#toolbar.show(
      maps,
      layers.some((entry) => entry.heads > 0),
    );
    this.#prediction.show(this.get("prediction"));
    this.#center.parentElement?.classList.toggle("stale", stale);
    this.#overlay.value = String(this.get("overlay"));
    if (!maps) return;
    this.#showHeadline(maps, layers);
    this.#showGrid(maps);
    this.#showPicture(maps);
    this.#pins.show(this.get("pins"), this.#painter, (own) => this.#tone(own));
    this.#showLens(maps, stale);
    const entry = layers.find(({ name }) => name === maps.state.layer);
    this.#unit.show(maps, entry ?? null, this.chosen);
    this.#trace.show(this.get("trace"));
  }

  #decode(): void {
    const picture = this.get("picture");
    if (picture !== this.#decodedPicture && Array.isArray(picture.arrays)) {
      this.#pictures = decodePictures(picture);
      this.#decodedPicture = picture;
      (this.view.root.host as HTMLElement).dataset.nbvizPicture = String(picture.number);
    }
    const state = this.get("maps");
    if (state === this.#decoded || !Array.isArray(state.arrays)) return;
    const before = this.#maps?.state;
    this.#maps = decodeMaps(state);
    this.#decoded = state;
    if (before?.layer !== state.layer || before.kind !== state.kind) {
      this.#hoveredChannel = -1;
      this.#hovered = null;
    }
  }

  /** Thumbnails are not made anew for every picture of a camera. */
  #railIsOld(): boolean {
    return this.get("rail").number !== this.get("picture").number;
  }

  #showHeadline(maps: Maps, layers: LayerEntry[]): void {
    const entry = layers.find(({ name }) => name === maps.state.layer);
    const { state } = maps;
    const text =
      state.kind === "attention"
        ? `attention from ${this.#queryName(maps)}, by head. Click the picture to look from another place.`
        : [entry?.kind, entry?.shape, entry?.sees].filter(Boolean).join(" · ");
    rebuild(this.#headline, `${state.layer} ${text}`, () => [
      element("strong", {}, state.layer),
      ` ${text}`,
    ]);
    const notes = [this.get("picture").note ?? "", state.note];
    let dead = 0;
    for (let i = 0; i < maps.channels; i++) dead += isDead(maps, i) ? 1 : 0;
    if (dead > 0) {
      notes.push(
        `${dead} of ${maps.channels} ${dead === 1 ? "channel is" : "channels are"} the same everywhere (∅)${this.get("hide_dead") ? ", hidden" : ""}.`,
      );
    }
    if (state.nonfinite > 0) notes.push(`${state.nonfinite} values are NaN or infinite: hatched.`);
    if (this.get("sort") === "class") notes.push(this.#classSort.note);
    notes.push(RELATED[state.related.to] ?? "");
    this.#note.textContent = notes.filter(Boolean).join(" ");
    this.#note.hidden = this.#note.textContent === "";
  }

  #queryName(maps: Maps): string {
    const query = maps.state.query - maps.state.prefix;
    if (query >= 0) {
      return `the patch in row ${Math.floor(query / maps.columns)}, column ${query % maps.columns}`;
    }
    return maps.state.query === 0 ? "the class token" : `token ${maps.state.query}`;
  }

  #colormap(maps: Maps): Colormap {
    const chosen = this.get("colormap");
    return chosen === "auto" ? automatic(maps) : chosen;
  }

  #tone(maps: Maps): Tone {
    const name = this.#colormap(maps);
    return {
      normalise: this.get("normalise"),
      centred: name === "diverging",
      gamma: this.get("gamma"),
      boost: this.get("boost"),
      colours: colormapPixels(name),
    };
  }

  #showGrid(maps: Maps): void {
    const { state } = maps;
    const sort = this.get("sort");
    const byClass = sort === "class" ? this.#classSort.of(state, this.get("prediction")) : null;
    const tone = this.#tone(maps);
    const side = this.get("side");
    const pinned = this.get("pinned").flatMap(([layer, channel]) =>
      layer === state.layer ? [channel] : [],
    );
    this.grid.show({
      maps,
      items: sortedChannels(maps, sort, byClass, this.get("hide_dead")),
      side,
      tone,
      zoom: this.get("zoom"),
      channel: this.get("channel"),
      pinned: new Set(pinned),
      unit: this.#hovered ?? this.chosen,
    });
    const apart = side === "difference" && maps.sides.length > 1;
    const shown = apart ? differenceTone(tone) : tone;
    showLegend(this.#legend, maps, shown, apart ? "diverging" : this.#colormap(maps));
  }

  #showPicture(maps: Maps): void {
    const channel = this.#focus;
    const picture = this.get("inputs");
    const box = (unit: Spot | null): Box | null => {
      if (!unit || unit[0] >= maps.rows || unit[1] >= maps.columns) return null;
      if (maps.state.kind === "maps") return boxOf(maps, unit[0], unit[1]);
      const [tall, wide] = [picture.height / maps.rows, picture.width / maps.columns];
      return [unit[0] * tall, unit[1] * wide, (unit[0] + 1) * tall, (unit[1] + 1) * wide];
    };
    const origin = this.get("origin") as Place & { box?: Box };
    const inputs = this.get("inputs");
    this.#pane.show(
      this.#pictures,
      `the picture as the network sees it, ${inputs.width}×${inputs.height}. ${inputs.labels}`,
      channel >= 0 && channel < maps.channels
        ? {
            maps,
            painter: this.#painter,
            channel,
            tone: this.#tone(maps),
            opacity: this.get("overlay"),
          }
        : null,
      { hovered: box(this.#hovered), chosen: box(this.chosen), origin: origin.box ?? null },
      Math.max(120, Math.min(this.#pane.node.clientWidth || 224, 320)),
    );
  }

  #showLens(maps: Maps, stale: boolean): void {
    const channel = this.#focus;
    if (channel < 0 || channel >= maps.channels) {
      this.#lens.show(null);
      return;
    }
    const label = maps.state.labels[channel];
    const tone = this.#tone(maps);
    this.#lens.show({
      maps,
      channel,
      name: `${maps.state.layer}, ${label ?? `channel ${channel}`}`,
      hovered: this.#hovered,
      chosen: this.chosen,
      tone,
      difference: differenceTone(tone),
      painter: this.#painter,
      picture: this.#pane,
      current: !stale,
    });
  }

  #point(channel: number, unit: Spot | null): void {
    this.#hoveredChannel = channel;
    this.#hover(unit);
  }

  #hover(unit: Spot | null): void {
    this.#hovered = unit;
    this.view.redraw();
  }

  #pointAtPicture(across: number, down: number, press: boolean): void {
    const maps = this.#maps;
    if (!maps || maps.rows * maps.columns === 1) return;
    const unit = spotOf(maps, across, down);
    if (!press) this.#hover(unit);
    else if (this.get("show") === "attention") {
      this.#askFrom(unit);
    } else if (this.get("channel") >= 0) this.#chooseUnit(this.get("channel"), unit);
  }

  /** `asks`: in attention the place is the query; on a tile it only says which head is meant. */
  #chooseUnit(channel: number, unit: Spot, asks = false): void {
    if (channel < 0) return;
    if (this.get("show") !== "attention") this.set({ channel, unit, trail: [] });
    else if (asks) this.#askFrom(unit);
    else this.set({ channel });
  }

  #askFrom([row, column]: Spot): void {
    const { state, columns } = this.#maps as Maps;
    this.set({ query: state.prefix + row * columns + column });
  }

  #arrive(channel: number): void {
    this.#hoveredChannel = -1;
    this.set({ channel });
    const maps = this.#maps;
    if (!maps) return;
    const { peak } = summaryOf(maps, channel);
    const name = maps.state.labels[channel] ?? `channel ${channel}`;
    this.view.announce(`${name}, peak ${peak.toPrecision(3)}`);
  }

  openLayer(layer: string): void {
    if (layer !== this.get("layer")) this.set({ layer, trail: [] });
  }

  /** Step to a unit that fed the one on show; the trail leads back. */
  #stepBack(to: Place): void {
    const here = { layer: this.get("layer"), channel: this.get("channel"), unit: this.get("unit") };
    this.set({ ...to, trail: [...this.get("trail"), here] });
  }

  togglePin(layer = this.get("layer"), channel = this.get("channel")): void {
    if (channel < 0) return;
    const rest = this.get("pinned").filter(([l, c]) => l !== layer || c !== channel);
    const had = rest.length < this.get("pinned").length;
    this.set({ pinned: had ? rest : [...rest, [layer, channel]] });
  }

  toggleOrigin(): void {
    if ("layer" in this.get("origin")) this.set({ origin: {} });
    else if (this.chosen) {
      const place = {
        layer: this.get("layer"),
        channel: this.get("channel"),
        unit: this.get("unit"),
      };
      this.set({ origin: place });
    }
  }

  toggleHelp(): void {
    this.#help.hidden = !this.#help.hidden;
  }

  zoom(direction: number): void {
    const maps = this.#maps;
    if (!maps) return;
    const now = this.get("zoom") || this.grid.size;
    this.set({ zoom: Math.round(Math.min(480, Math.max(8, now * 1.3 ** direction))) });
  }
}

export type { ActivationBrowserView };

const RELATED: Record<string, string> = {
  feeds: "Dashed: the units that may feed the origin.",
  "fed by": "Dashed: the units that the origin may feed.",
  is: "Dashed: the origin.",
};

const render: Render = ({ model, el }) => {
  const view = new ActivationBrowserView(model, el);
  return () => view.close();
};

export default { render };
