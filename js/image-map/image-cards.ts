/** One image told in pictures and words: a card at the pointer, and a panel of the chosen one. */

import { button, element, rebuild } from "../shared/controls.ts";
import { type About, type Links, TORN } from "./about.ts";
import { counted } from "./hands.ts";
import type { Thumbs } from "./thumbs.ts";

/** Sides of pictures in CSS pixels: on the card, its neighbours, in the panel. */
const [CARD, NEAR, PANEL] = [72, 34, 84];
/** Neighbours, and lines of text, on the card at the pointer. */
const [FEW, LINES] = [6, 2];
/** Between pointer and card. */
const AWAY = 18;

/** What a map did to the neighbours of an image, as a sentence. */
export function fate({ neighbours, torn }: Links): string {
  const away = torn.filter((value) => value >= TORN).length;
  const all = neighbours.length;
  if (all === 0) return "";
  if (away === 0) return `Its ${all} nearest in feature space lie near it here.`;
  return `Of its ${all} nearest in feature space ${away} ${away === 1 ? "lies" : "lie"} far off here (dashed).`;
}

interface Point {
  x: number;
  y: number;
}
interface Sides {
  width: number;
  height: number;
}

/** Where a card goes: beside a point, within the stage, over as few of the other points as may be. */
export function cardPlace(at: Point, card: Sides, room: Sides, others: Point[]): Point {
  const within = (value: number, most: number) => Math.max(4, Math.min(value, most - 4));
  const [left, right] = [at.x - AWAY - card.width, at.x + AWAY];
  const [above, below] = [at.y - AWAY - card.height, at.y + AWAY];
  const places = [
    { x: right, y: below },
    { x: left, y: below },
    { x: right, y: above },
    { x: left, y: above },
  ].map(({ x, y }) => ({
    x: within(x, room.width - card.width),
    y: within(y, room.height - card.height),
  }));
  const hides = (place: Point) => {
    const over = ({ x, y }: Point, by: number) =>
      x > place.x - by &&
      x < place.x + card.width + by &&
      y > place.y - by &&
      y < place.y + card.height + by;
    const hidden = others.filter((point) => over(point, AWAY)).length;
    return hidden + (over(at, AWAY / 2) ? 1000 : 0);
  };
  return places.reduce((best, place) => (hides(place) < hides(best) ? place : best));
}

function neighbourTitle(about: About, links: Links, i: number): string {
  const row = links.neighbours[i] as number;
  const nearer = links.ranks[i] as number;
  const on =
    nearer === 0
      ? "the nearest on the map, too"
      : `${counted(nearer, "image")} lie nearer on the map`;
  return `Neighbour ${i + 1} in feature space: ${about.title(row)}; ${on}`;
}

export class HoverCard {
  readonly node = element("div", { class: "hover-card", "aria-hidden": "true", hidden: "" });

  readonly #about: About;
  readonly #thumbs: Thumbs;

  constructor(about: About, thumbs: Thumbs) {
    this.#about = about;
    this.#thumbs = thumbs;
  }

  /** `pictures`: whether any can be had. */
  show(
    row: number,
    at: { x: number; y: number } | null,
    links: Links | null,
    pictures: boolean,
    screen: (row: number) => Point | null,
  ): void {
    const { node } = this;
    node.hidden = row < 0 || at === null;
    if (row < 0 || at === null) return;
    const { title, lines: all } = this.#about.said(row);
    const lines = all.slice(0, LINES);
    const few = links?.row === row ? Math.min(FEW, links.neighbours.length) : 0;
    rebuild(node, JSON.stringify([row, title, lines, few, pictures]), () => [
      ...(pictures ? [this.#thumbs.make(row, CARD)] : []),
      element(
        "div",
        { class: "said" },
        element("strong", {}, title),
        ...lines.map((line) => element("span", {}, line)),
      ),
      ...(links && few > 0 ? [this.#nearest(links, few, pictures)] : []),
    ]);
    const room = node.parentElement;
    if (!room) return;
    const card = { width: node.offsetWidth, height: node.offsetHeight };
    const others = few > 0 ? [...(links?.neighbours ?? [])].map(screen) : [];
    const { x, y } = cardPlace(
      at,
      card,
      { width: room.clientWidth, height: room.clientHeight },
      others.filter((point) => point !== null),
    );
    node.style.transform = `translate(${Math.round(x)}px, ${Math.round(y)}px)`;
  }

  #nearest(links: Links, few: number, pictures: boolean): HTMLElement {
    const strip = element("div", { class: "strip" });
    if (pictures) {
      for (let i = 0; i < few; i++) {
        const picture = this.#thumbs.make(links.neighbours[i] as number, NEAR);
        picture.classList.toggle("torn", (links.torn[i] as number) >= TORN);
        strip.append(picture);
      }
    }
    return element(
      "div",
      { class: "near" },
      element("span", { class: "soft" }, fate(links)),
      strip,
    );
  }
}

export interface ChosenActions {
  choose(row: number): void;
  flyTo(rows: ArrayLike<number>): void;
  select(rows: Int32Array): void;
  unchoose(): void;
}

export class ChosenPanel {
  readonly node = element("section", { class: "section chosen", "aria-label": "The chosen image" });

  readonly #about: About;
  readonly #thumbs: Thumbs;
  readonly #actions: ChosenActions;

  constructor(about: About, thumbs: Thumbs, actions: ChosenActions) {
    this.#about = about;
    this.#thumbs = thumbs;
    this.#actions = actions;
  }

  show(row: number, links: Links | null, pictures: boolean): void {
    const { node } = this;
    if (row < 0) {
      rebuild(node, "none", () => [
        element("p", { class: "soft" }, "Click an image to see it here with its neighbours."),
      ]);
      return;
    }
    const { title, lines } = this.#about.said(row);
    const torn = links ? links.torn.map((value) => Number(value >= TORN)).join("") : "";
    rebuild(node, JSON.stringify([row, title, lines, torn, pictures]), () => [
      element(
        "header",
        {},
        element("h3", {}, title),
        element(
          "div",
          { class: "control" },
          button("Go there", "Move the map to this image (f)", () => this.#actions.flyTo([row])),
          button("✕", "Choose none (Esc)", this.#actions.unchoose),
        ),
      ),
      element(
        "div",
        { class: "chosen-image" },
        ...(pictures ? [this.#thumbs.make(row, PANEL)] : []),
        element("div", { class: "said" }, ...lines.map((line) => element("span", {}, line))),
      ),
      ...(links ? this.#nearest(links, pictures) : []),
    ]);
  }

  #nearest(links: Links, pictures: boolean): HTMLElement[] {
    const { neighbours, torn } = links;
    const all = Int32Array.of(links.row, ...neighbours);
    const strip = element(
      "div",
      { class: "strip" },
      ...[...neighbours].map((row, i) => {
        const title = neighbourTitle(this.#about, links, i);
        const press = () => this.#actions.choose(row);
        const node = pictures
          ? this.#thumbs.pick(row, NEAR, title, press)
          : button(String(i + 1), title, press, "pick");
        node.dataset.row = String(row);
        node.classList.toggle("torn", (torn[i] as number) >= TORN);
        return node;
      }),
      button("All", "Move the map so that all its neighbours are in view", () =>
        this.#actions.flyTo(all),
      ),
      button("Select", "Select the image and its neighbours", () =>
        this.#actions.select(all.slice().sort()),
      ),
    );
    return [element("p", { class: "soft" }, fate(links)), strip];
  }
}
