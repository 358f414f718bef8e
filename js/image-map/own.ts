/** Pictures of one's own: dropped, pasted or opened, placed on the map by Python. */

import type { FileActions, PictureFiles } from "../picture-inputs/picture-files.ts";
import { canvasOf } from "../shared/canvas.ts";
import { button, element, rebuild } from "../shared/controls.ts";
import { type Requests, unpack } from "../shared/wire.ts";
import { type Links, linksOn } from "./about.ts";
import { bringForward, type Hands, Kept } from "./hands.ts";
import { fate } from "./image-cards.ts";
import { isPacked } from "./map-data.ts";
import type { Scene } from "./scene.ts";
import type { OwnState } from "./state.ts";
import { paintWhole, type Thumbs } from "./thumbs.ts";

const [SIDE, NEAR] = [72, 30];

/** A picture that was placed. */
interface Placed {
  x: number;
  y: number;
  aspect: number;
  /** rows of its neighbours in feature space, nearest first */
  neighbours: Int32Array;
  title: string;
  lines: string[];
  picture: HTMLCanvasElement | null;
}

export interface OwnActions extends Hands {
  choose(row: number): void;
  /** show on the map the neighbours of the own picture of this number */
  pointOwn(own: number): void;
  /** move so that this place, and these rows, are in view */
  visit(x: number, y: number, rows: Int32Array): void;
}

export class OwnPictures {
  readonly node: HTMLElement;
  readonly fileActions: FileActions;
  /** where pictures may come from; empty until Python gave it */
  readonly #sources = element("div", { class: "control" });
  readonly #reason = element("p", { class: "soft" });
  readonly #status = element("p", { class: "soft", role: "status" });
  readonly #list = element("div", { class: "own-list" });
  readonly #drop: HTMLButtonElement;
  #state: unknown = null;
  #placed: Placed[] = [];
  #changed = 0;
  readonly #links = new Kept<Links[]>();
  /** a picture came that is not yet in view among the panels */
  #fresh = false;

  readonly #requests: Requests;
  readonly #thumbs: Thumbs;
  readonly #actions: OwnActions;

  constructor(requests: Requests, thumbs: Thumbs, actions: OwnActions) {
    this.#requests = requests;
    this.#thumbs = thumbs;
    this.#actions = actions;
    const say = (text: string) => {
      this.#status.textContent = text;
      this.#status.hidden = text === "";
    };
    say("");
    this.fileActions = {
      began: () => actions.failed(""),
      status: say,
      problem: actions.failed,
    };
    this.#drop = button("Take away", "Take your pictures off the map", () => this.#takeAway());
    this.node = element(
      "section",
      { class: "section own", "aria-label": "Your own pictures" },
      element("h3", {}, "Your own picture on the map"),
      this.#reason,
      this.#sources,
      this.#status,
      this.#list,
    );
  }

  /** Those on the map, for the stage; the same array for as long as nothing changed. */
  get placed(): Scene["own"] {
    return this.#placed;
  }

  /** Neighbours on the layout "map", of each. */
  links(map: Uint16Array): Links[] {
    return this.#links.of([this.#changed, map], () =>
      this.#placed.map(({ x, y, neighbours }) => linksOn(map, neighbours, -1, { x, y })),
    );
  }

  takeFiles({ button, picker }: PictureFiles): void {
    this.#sources.append(button, picker, this.#drop);
  }

  /** `map`: places on the layout of this name. */
  show(map: Uint16Array | undefined, pictures: boolean): void {
    this.#take();
    const { get } = this.#actions;
    const none = get("no_placing");
    const there = this.#placed.length > 0;
    const elsewhere = there && get("arrangement") !== "map";
    const text = elsewhere
      ? "It stands on the layout Map, not on this one."
      : none
        ? `None can be placed: ${none}.`
        : "Drop, paste or open one: the network sees it, and the map stays as it is.";
    if (this.#reason.textContent !== text) this.#reason.textContent = text;
    this.#reason.hidden = there && !elsewhere;
    this.#sources.hidden = none !== "";
    this.#drop.hidden = !there;
    this.node.hidden = !there && !none && this.#sources.childElementCount === 0;
    const links = map ? this.links(map) : [];
    rebuild(this.#list, `${this.#changed} ${pictures} ${links.map(fate)}`, () =>
      this.#placed.map((placed, i) => this.#card(placed, i, links[i], pictures)),
    );
    if (this.#fresh) bringForward(this.node);
    this.#fresh = false;
  }

  #take(): void {
    const state = this.#actions.get("own");
    if (state === this.#state) return;
    const first = this.#state === null;
    this.#state = state;
    this.#changed += 1;
    if (!isPacked(state)) {
      this.#placed = [];
      return;
    }
    const { said, tile, columns } = state as OwnState;
    const arrays = unpack(state.arrays, state.buffers);
    const places = arrays.get("places")?.data ?? [];
    const neighbours = arrays.get("neighbours");
    const near = neighbours?.shape[1] ?? 0;
    const before = this.#placed.length;
    this.#placed = said.map(({ title, lines }, i) => ({
      title,
      lines,
      x: places[2 * i] ?? 0,
      y: places[2 * i + 1] ?? 0,
      aspect: arrays.get("aspect")?.data[i] ?? 1,
      neighbours:
        (neighbours?.data as Int32Array | undefined)?.slice(i * near, (i + 1) * near) ??
        new Int32Array(),
      picture: null,
    }));
    const sheet = arrays.get("sheet")?.data as Uint8Array<ArrayBuffer> | undefined;
    if (sheet?.length) this.#decode(sheet, tile, columns);
    const newest = this.#placed.at(-1);
    // What was there when the page opened moves nothing.
    if (newest && !first && this.#placed.length > before) this.#arrived(newest);
  }

  #arrived({ x, y, neighbours, title, lines }: Placed): void {
    const { get, set, announce, visit, pointOwn } = this.#actions;
    this.#fresh = true;
    if (get("arrangement") !== "map") set({ arrangement: "map" });
    announce([`${title} is on the map`, ...lines].join(". "));
    visit(x, y, neighbours.subarray(0, 5));
    pointOwn(this.#placed.length - 1);
  }

  #decode(sheet: Uint8Array<ArrayBuffer>, tile: number, columns: number): void {
    const placed = this.#placed;
    createImageBitmap(new Blob([sheet], { type: "image/jpeg" })).then(
      (bitmap) => {
        if (placed === this.#placed) {
          this.#placed = placed.map((one, i) => {
            const picture = canvasOf(new ImageData(tile, tile));
            const [x, y] = [tile * (i % columns), tile * Math.floor(i / columns)];
            picture.getContext("2d")?.drawImage(bitmap, x, y, tile, tile, 0, 0, tile, tile);
            return { ...one, picture };
          });
          this.#changed += 1;
        }
        bitmap.close();
        this.#actions.redraw();
      },
      (error) => this.#actions.failed(`Your picture cannot be drawn: ${error}`),
    );
  }

  #card(placed: Placed, own: number, links: Links | undefined, pictures: boolean): HTMLElement {
    const { title, lines, picture, aspect, neighbours, x, y } = placed;
    const shown = element("canvas", { class: "thumb", "aria-hidden": "true" });
    shown.width = shown.height = 2 * SIDE;
    shown.style.width = shown.style.height = `${SIDE}px`;
    if (picture) paintWhole(shown, aspect, picture, 0, 0, picture.width, picture.height);
    const { get, set, visit } = this.#actions;
    const go = button("Go there", `Move the map to ${title}`, () => {
      if (get("arrangement") !== "map") set({ arrangement: "map" });
      visit(x, y, neighbours.subarray(0, 5));
    });
    return element(
      "div",
      { class: "own-card", "data-own": String(own) },
      element(
        "div",
        { class: "chosen-image" },
        shown,
        element(
          "div",
          { class: "said" },
          element("strong", {}, title),
          ...lines.map((line) => element("span", {}, line)),
          go,
        ),
      ),
      ...(links ? [element("p", { class: "soft" }, fate(links))] : []),
      ...(pictures ? [this.#nearest(neighbours)] : []),
    );
  }

  #nearest(neighbours: Int32Array): HTMLElement {
    return element(
      "div",
      { class: "strip", role: "group", "aria-label": "Its nearest in feature space" },
      ...[...neighbours].map((row, i) =>
        this.#thumbs.pick(row, NEAR, `Choose neighbour ${i + 1}`, () => this.#actions.choose(row)),
      ),
    );
  }

  #takeAway(): void {
    this.#requests.ask(
      "drop_own",
      {},
      () => this.#actions.redraw(),
      (message) => this.#actions.failed(message),
    );
  }
}
