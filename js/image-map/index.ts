/** The view of `nbviz.ImageMap`: a data set laid out by what the network sees. */

import type { AnyModel, Render } from "@anywidget/types";
import choices from "../shared/choices.css";
import { download, element } from "../shared/controls.ts";
import dropTarget from "../shared/drop-target.css";
import { type Key, keysTable, listenToKeys } from "../shared/keys.ts";
import { listen, openView, type View } from "../shared/view.ts";
import { type Channel, Requests, sayLink, unpack } from "../shared/wire.ts";
import { About } from "./about.ts";
import { className } from "./facts.ts";
import { type Hands, Kept, type Model } from "./hands.ts";
import { Header } from "./header.ts";
import { HoverCard } from "./image-cards.ts";
import { isPacked, MapData, packRows } from "./map-data.ts";
import panels from "./panels.css";
import { Progress } from "./progress.ts";
import type { Scene, StageHands, Viewpoint } from "./scene.ts";
import { SceneMaker } from "./scene-maker.ts";
import { Search } from "./search.ts";
import { toggled, union } from "./selection.ts";
import { Side, type SideActions } from "./side.ts";
import { Stage } from "./stage.ts";
import { StageControls } from "./stage-controls.ts";
import type { LayoutName, State, TilesState, Tool } from "./state.ts";
import css from "./style.css";
import { Thumbs } from "./thumbs.ts";
import { LAYOUTS, SIZES, Toolbar } from "./toolbar.ts";
import { Line, Waits } from "./waits.ts";

/** Milliseconds that the map stands still for before Python hears where. */
const SETTLED_MS = 250;
const NOBODY = new Int32Array();

class ImageMapView {
  readonly #view: View;
  readonly #model: Model;
  readonly #line: Line;
  readonly #requests: Requests;
  readonly #hands: Hands;
  readonly #data: MapData;
  readonly #progress: Progress;
  readonly #stage: Stage;
  readonly #scenes: SceneMaker;
  readonly #about: About;
  readonly #thumbs: Thumbs;
  readonly #header: Header;
  readonly #toolbar: Toolbar;
  readonly #search: Search;
  readonly #hoverCard: HoverCard;
  readonly #side: Side;
  readonly #controls: StageControls;
  readonly #waits: Waits;
  readonly #help: HTMLElement;
  readonly #room: HTMLElement;
  #tool: Tool = "pan";
  /** at: where the pointer met it; null for a row that is pointed at in a list */
  #hover: { row: number; at: { x: number; y: number } | null } = { row: -1, at: null };
  /** the picture of one's own whose neighbours show, -1 for none */
  #own = -1;
  #shown: Scene | null = null;
  #pictures: unknown = null;
  readonly #known = new Kept<void>();
  /** as this view set or followed it last */
  #image = -1;
  #camera = "";
  #settling: ReturnType<typeof setTimeout> | undefined;

  constructor(model: AnyModel<object>, host: HTMLElement) {
    this.#model = model as unknown as Model;
    this.#view = openView(host, "image-map", choices + dropTarget + panels + css, () =>
      this.#draw(),
    );
    const view = this.#view;
    const { signal } = view;
    this.#line = new Line(model as unknown as Channel, signal, () => view.redraw());
    this.#requests = new Requests(this.#line, signal);
    sayLink(model as never);
    this.#hands = {
      get: (name) => this.#model.get(name),
      set: (values) => this.#set(values),
      redraw: () => view.redraw(),
      failed: (message) => view.problem("request", message),
      announce: (text) => view.announce(text),
    };
    const hands = this.#hands;
    this.#data = new MapData(hands.get);
    this.#stage = new Stage(view, this.#requests, this.#stageHands());
    this.#thumbs = new Thumbs(this.#stage, (row) =>
      this.#line.silence ? className(this.#data.facts, row) : "",
    );
    this.#about = new About(this.#data, this.#requests, hands);
    this.#progress = new Progress(host, signal, this.#requests, {
      ...hands,
      moved: (places) => this.#data.takeLive(places),
      known: () => this.#data.count > 0,
    });
    this.#search = new Search(signal, this.#data, {
      ...hands,
      flyTo: (rows) => this.#stage.flyTo(rows),
      select: (rows) => this.#select(rows),
    });
    this.#toolbar = new Toolbar(signal, this.#search.node, {
      ...hands,
      tool: () => this.#tool,
      setTool: (tool) => this.#setTool(tool),
      save: (format) => this.#save(format),
    });
    this.#header = new Header({
      ...hands,
      fullScreen: () => this.#fullScreen(),
      help: () => this.#toggleHelp(),
    });
    this.#scenes = new SceneMaker(view, this.#data, hands.get);
    this.#hoverCard = new HoverCard(this.#about, this.#thumbs);
    const known = { about: this.#about, thumbs: this.#thumbs };
    this.#side = new Side(view, this.#requests, this.#data, known, this.#sideActions());
    this.#controls = new StageControls(this.#stage);
    this.#waits = new Waits(this.#data, this.#progress, hands.get);
    const keys = this.#keys();
    this.#help = element("div", { class: "help", hidden: "" }, keysTable(keys));
    listenToKeys(view.root, signal, keys);
    this.#room = element("div", { class: "room" });
    this.#assemble();
    this.#listen(model);
    hands.redraw();
  }

  close(): void {
    this.#view.close();
  }

  #set(values: Partial<State>): void {
    for (const [name, value] of Object.entries(values)) {
      this.#model.set(name as "arrangement", value as LayoutName);
    }
    this.#model.save_changes();
    this.#view.redraw();
  }

  #stageHands(): StageHands {
    return {
      ...this.#hands,
      hover: (row, x, y) => this.#hovered(row, { x, y }),
      choose: (row, add) => this.#choose(row, add),
      select: (rows, add) => this.#select(add ? union(this.#data.selected, rows) : rows),
      moved: (viewpoint) => this.#moved(viewpoint),
    };
  }

  #sideActions(): SideActions {
    const stage = this.#stage;
    return {
      ...this.#hands,
      choose: (row) => this.#choose(row, false),
      point: (row) => {
        this.#pointOwn(-1);
        this.#hovered(row, null);
      },
      pointOwn: (own) => this.#pointOwn(own),
      flyTo: (rows) => stage.flyTo(rows),
      visit: (x, y) => stage.look({ x, y, zoom: Math.max(4, stage.viewpoint.zoom) }),
      select: (rows) => this.#select(rows),
      emphasise: (category) => this.#scenes.emphasise(category, this.#hands.redraw),
    };
  }

  #listen(model: AnyModel<object>): void {
    const { signal } = this.#view;
    listen(model as never, ["change"], signal, this.#hands.redraw);
    document.addEventListener("fullscreenchange", this.#hands.redraw, { signal });
    signal.addEventListener("abort", () => {
      clearTimeout(this.#settling);
      this.#waits.close();
      this.#stage.close();
    });
  }

  #assemble(): void {
    this.#room.append(
      this.#stage.node,
      this.#controls.node,
      this.#search.said,
      this.#header.status,
      this.#hoverCard.node,
    );
    this.#view.body.append(
      this.#header.node,
      this.#toolbar.node,
      this.#help,
      element("div", { class: "main" }, this.#room, this.#side.node),
    );
  }

  #draw(): void {
    const { get } = this.#hands;
    const data = this.#data;
    this.#view.problem("python", get("problem"));
    data.refresh();
    this.#progress.refresh();
    this.#known.of([get("points"), get("trust")], () => this.#about.forget());
    this.#progress.advance();
    this.#takePictures();
    this.#toolbar.show();
    this.#header.show(data, this.#progress);
    const found = this.#search.show(data.facts);
    this.#view.body.style.setProperty("--asked", `${get("height")}px`);
    this.#showMap(found);
    const { silence } = this.#line;
    const blank = silence !== "" && (this.#thumbs.blank || this.#stage.tell().missing > 0);
    this.#header.say(this.#waits.text(performance.now(), silence, blank));
    this.#waits.again(this.#hands.redraw);
    this.#thumbs.paint();
  }

  #showMap(found: Int32Array | null): void {
    const { get } = this.#hands;
    const data = this.#data;
    const pictures = get("missing") === "";
    const chosen = data.rowOf(get("image"));
    const row = this.#hover.row >= 0 ? this.#hover.row : chosen;
    const { places, layout } = this.#scenes;
    const { silence } = this.#line;
    const own = this.#side.own(pictures);
    const { moving } = this.#progress;
    if (row >= 0 && row < data.count && !moving) this.#about.want(row);
    const links = row >= 0 && places ? this.#about.links(row, places) : null;
    const scene = this.#scenes.scene({
      live: moving,
      tool: this.#tool,
      found,
      chosen,
      links: (layout === "map" && this.#side.ownLinks(this.#own)) || links,
      own,
    });
    if (scene) {
      // Drawing all of a large map takes long.
      if (scene !== this.#shown) this.#stage.show(scene);
      this.#shown = scene;
      this.#follow(chosen);
    }
    const { row: hovered, at } = this.#hover;
    this.#hoverCard.show(hovered, at, links, pictures, (one) => this.#stage.screen(one));
    const near = chosen >= 0 && places ? this.#about.links(chosen, places) : null;
    const seams = get("seams") ? data.seams(layout) : null;
    const { dark } = this.#scenes;
    this.#side.show(chosen, near, { pictures, dark, seams, silence });
  }

  /** Where Python, or a linked view, wants the map to be. */
  #follow(chosen: number): void {
    const { get } = this.#hands;
    const camera = get("camera");
    if (String(camera) !== this.#camera) {
      this.#camera = String(camera);
      const [x, y, zoom] = camera as [number, number, number];
      this.#stage.look(camera.length === 3 ? { x, y, zoom } : null);
    }
    const image = get("image");
    if (image === this.#image) return;
    this.#image = image;
    this.#hovered(-1, null);
    if (chosen >= 0 && this.#stage.screen(chosen) === null) this.#stage.flyTo([chosen]);
  }

  #moved({ x, y, zoom }: Viewpoint): void {
    if (this.#hover.at) this.#hovered(-1, null);
    this.#controls.show();
    clearTimeout(this.#settling);
    this.#settling = setTimeout(() => {
      const whole = zoom === 1;
      const camera = whole ? [] : [Math.round(x), Math.round(y), Number(zoom.toPrecision(5))];
      this.#camera = String(camera);
      this.#set({ camera });
    }, SETTLED_MS);
  }

  #takePictures(): void {
    const pictures = this.#hands.get("pictures");
    if (pictures === this.#pictures) return;
    this.#pictures = pictures;
    if (!isPacked(pictures)) return;
    this.#stage.takeTiles(pictures as TilesState, unpack(pictures.arrays, pictures.buffers));
  }

  #pointOwn(own: number): void {
    if (own === this.#own) return;
    this.#own = own;
    this.#view.redraw();
  }

  #hovered(row: number, at: { x: number; y: number } | null): void {
    // The card stays where it opened for as long as the pointer is on the same image.
    if (row === this.#hover.row && (at === null) === (this.#hover.at === null)) return;
    if (row >= 0) {
      this.#own = -1;
      this.#progress.hold();
      // Python finds them while the browser draws.
      if (!this.#progress.moving) this.#about.want(row);
    }
    this.#hover = { row, at: row < 0 ? null : at };
    this.#view.redraw();
  }

  #choose(row: number, add: boolean): void {
    this.#own = -1;
    if (add && row >= 0) {
      this.#select(toggled(this.#data.selected, row));
      return;
    }
    const image = row < 0 ? -1 : this.#data.numberOf(row);
    this.#image = image;
    this.#set({ image });
    if (row < 0) return;
    const { title, lines } = this.#about.said(row);
    this.#view.announce([`Chosen: ${title}`, ...lines].join(". "));
  }

  #select(rows: Int32Array): void {
    this.#set({ _selected: packRows(rows) });
    this.#view.announce(`${rows.length.toLocaleString("en")} selected`);
  }

  #setTool(tool: Tool): void {
    this.#tool = tool;
    this.#view.redraw();
  }

  #toggleHelp(): void {
    this.#help.hidden = !this.#help.hidden;
  }

  #fullScreen(): void {
    const node = this.#view.body.parentElement as HTMLElement;
    const way = this.#view.root.fullscreenElement
      ? document.exitFullscreen()
      : node.requestFullscreen();
    way.catch((error) => this.#hands.failed(`This page does not allow full screen: ${error}`));
  }

  #save(format: "png" | "svg"): void {
    this.#requests.ask(
      "export",
      { format },
      ({ fields, arrays }) => {
        this.#hands.failed("");
        const bytes = arrays.get("data")?.data as Uint8Array<ArrayBuffer>;
        download(String(fields.name), String(fields.type), bytes);
      },
      this.#hands.failed,
    );
    this.#hands.failed(this.#line.silence);
  }

  /** Take back the last thing that stands in the way. */
  #back(): void {
    if (this.#tool !== "pan") this.#setTool("pan");
    else if (this.#data.selected.length > 0) this.#select(NOBODY);
    else if (this.#hands.get("image") >= 0) this.#choose(-1, false);
    else if (this.#hands.get("search")) this.#set({ search: "" });
  }

  #keys(): Key[] {
    const { get, set } = this.#hands;
    const key = (names: string[], keys: string, does: string, act: () => void): Key => ({
      names,
      keys,
      does,
      act,
    });
    const resize = (by: number) =>
      set({ size: Math.max(SIZES.least, Math.min(SIZES.most, get("size") + by * SIZES.step)) });
    const there = () => {
      const row = this.#data.rowOf(get("image"));
      if (row >= 0) this.#stage.flyTo([row]);
      else if (this.#data.selected.length > 0) this.#stage.flyTo(this.#data.selected);
    };
    const nextLayout = () => {
      const at = LAYOUTS.findIndex(([name]) => name === get("arrangement"));
      set({ arrangement: (LAYOUTS[(at + 1) % LAYOUTS.length] ?? LAYOUTS[0])?.[0] ?? "map" });
    };
    return [
      key([], "arrows", "move the map (on the map)", () => {}),
      key([], "+ − 0", "nearer, farther, all of it (on the map)", () => {}),
      key([], "n p, Alt + arrows", "from image to image (on the map)", () => {}),
      key([], "Enter", "choose the image; with Shift select it, too", () => {}),
      key(["g"], "g", "map, grid, PCA", nextLayout),
      key(["v"], "v", "dragging moves", () => this.#setTool("pan")),
      key(["l"], "l", "lasso", () => this.#setTool("lasso")),
      key(["b"], "b", "box", () => this.#setTool("box")),
      key(["f"], "f", "go to the chosen image, or to those selected", there),
      key(["["], "[", "smaller pictures", () => resize(-1)),
      key(["]"], "]", "larger pictures", () => resize(1)),
      key(["s"], "s", "seams", () => set({ seams: !get("seams") })),
      key(["c"], "c", "class names", () => set({ names: !get("names") })),
      key(["/"], "/", "search", () => this.#search.focus()),
      key(["Escape"], "Esc", "end the tool, select none, choose none", () => this.#back()),
      key(["?", "h"], "? h", "these keys", () => this.#toggleHelp()),
    ];
  }
}

const render: Render = ({ model, el }) => {
  const view = new ImageMapView(model, el);
  return () => view.close();
};

export default { render };
