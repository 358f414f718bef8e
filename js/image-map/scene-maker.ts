/** From the traits to what the stage draws; parts that stay the same keep their identity. */

import { themeColour, type View } from "../shared/view.ts";
import type { Links } from "./about.ts";
import { type Hands, Kept } from "./hands.ts";
import type { MapData } from "./map-data.ts";
import { categoryColour, css, inks, type Paper } from "./palette.ts";
import type { Inks, Scene } from "./scene.ts";
import type { LayoutName, NamedState, Tool } from "./state.ts";

/** What the view itself knows. */
export interface Now {
  live: boolean;
  tool: Tool;
  /** what a search found; null where nothing is searched */
  found: Int32Array | null;
  chosen: number;
  links: Links | null;
  own: Scene["own"];
}

export class SceneMaker {
  #emphasis: number | null = null;
  /** what is shown until the layout that is asked for is known */
  #layout: LayoutName = "map";
  readonly #inks = new Kept<Inks>();
  readonly #borders = new Kept<Inks | null>();
  readonly #names = new Kept<Scene["names"]>();
  readonly #selected = new Kept<Int32Array>();
  readonly #links = new Kept<Scene["links"]>();
  readonly #scene = new Kept<Scene>();

  readonly #view: View;
  readonly #data: MapData;
  readonly #get: Hands["get"];

  constructor(view: View, data: MapData, get: Hands["get"]) {
    this.#view = view;
    this.#data = data;
    this.#get = get;
  }

  /** Whether the page is dark. */
  get dark(): boolean {
    const [red, green, blue] = themeColour(this.#view, "--paper");
    return 0.3 * red + 0.6 * green + 0.1 * blue < 128;
  }

  /** Let one category stand out; null ends it. */
  emphasise(category: number | null, redraw: () => void): void {
    if (category === this.#emphasis) return;
    this.#emphasis = category;
    redraw();
  }

  get layout(): LayoutName {
    const wanted = this.#get("arrangement");
    const { layouts } = this.#data;
    if (layouts[wanted]) this.#layout = wanted;
    else if (!layouts[this.#layout]) this.#layout = "map";
    return this.#layout;
  }

  /** Of the layout that is shown; null as long as there is none. */
  get places(): Uint16Array | null {
    return this.#data.layouts[this.layout] ?? null;
  }

  /** The same object for as long as nothing in it is another, and the page has the same theme. */
  scene({ live, tool, found, chosen, links, own }: Now): Scene | null {
    const get = this.#get;
    const data = this.#data;
    const { layout, places } = this;
    if (!places) return null;
    const count = places.length / 2;
    const drawn = this.#inkOf(count, found);
    const scene: Scene = {
      count,
      places,
      live: live && layout === "map",
      cell: layout === "grid" ? data.cell : 0,
      inks: drawn,
      borders: this.#borderOf(count, drawn),
      // Until it is known whether there are any.
      pictures: get("missing") ? "dots" : get("thumbnails"),
      size: get("size"),
      tool,
      selected: this.#selected.of([data.selected, drawn], () => shownOf(data.selected, drawn)),
      chosen: isShown(chosen, drawn) ? chosen : -1,
      links: this.#links.of([links, drawn], () => links && linksShown(links, drawn)),
      seams: get("seams") ? data.seams(layout) : null,
      names: this.#namesOf(layout),
      own: layout === "map" ? own : NO_OWN,
    };
    return this.#scene.of([...Object.values(scene), this.dark], () => scene);
  }

  #inkOf(count: number, found: Int32Array | null): Inks {
    const hidden = this.#get("hidden");
    const range = this.#get("range");
    const { colour } = this.#data;
    const { dark } = this;
    const emphasis = this.#emphasis;
    const filter = { hidden, range, emphasis, meant: found };
    return this.#inks.of([count, colour, hidden, range, found, dark, emphasis], () =>
      inks(count, colour, filter, paper(dark)),
    );
  }

  #borderOf(count: number, drawn: Inks): Inks | null {
    const { border, colour } = this.#data;
    const { dark } = this;
    if (this.#get("border") === "") return (colour?.state.kind ?? "none") === "none" ? null : drawn;
    return this.#borders.of([count, border, dark], () => {
      if (!border || border.state.kind === "none") return null;
      const all = { hidden: [], range: [], emphasis: null, meant: null };
      return inks(count, border, all, paper(dark));
    });
  }

  #namesOf(layout: LayoutName): Scene["names"] {
    const named = this.#get("named") as Partial<NamedState>;
    const shown = this.#get("names") && named.layout === layout;
    const hidden = this.#get("hidden");
    const { colour } = this.#data;
    // On the full screen they are larger, and measured anew.
    const large = this.#view.root.fullscreenElement !== null;
    return this.#names.of([named, shown, hidden, colour, large], () => {
      if (!shown || !named.places) return NO_NAMES;
      // Names may be of classes while colours are of something else.
      const coloured = named.by === colour?.state.name;
      return namesShown(named as NamedState, coloured ? hidden : []).map(({ number, ...name }) => ({
        ...name,
        ink: coloured ? css(categoryColour(number)) : "",
      }));
    });
  }
}

/** Names that stand on the map, of the largest categories first. */
export function namesShown({ places, texts }: NamedState, hidden: number[]) {
  return places
    .map(([number, x, y, count], i) => ({ number, x, y, count, text: shortened(texts[i] ?? "") }))
    .filter(({ number, count }) => count >= LEAST && !hidden.includes(number))
    .sort((a, b) => b.count - a.count)
    .slice(0, MOST_NAMES)
    .map(({ count: _, ...name }) => name);
}

/** On the map there is little room; the legend has the whole name. */
function shortened(name: string): string {
  return name.length > 24 ? `${name.slice(0, 22).trimEnd()}…` : name;
}

function isShown(row: number, inks: Inks): boolean {
  return inks[4 * row + 3] !== 0;
}

/** Those that are not filtered away; the same array where all are there. */
function shownOf(rows: Int32Array, inks: Inks): Int32Array {
  return rows.every((row) => isShown(row, inks)) ? rows : rows.filter((row) => isShown(row, inks));
}

/** Lines to what is not filtered away. */
export function linksShown(links: Links, inks: Inks): Scene["links"] {
  const { row, neighbours, torn } = links;
  if (row >= 0 && !isShown(row, inks)) return null;
  const there = (_: number, i: number) => isShown(neighbours[i] as number, inks);
  return { ...links, neighbours: neighbours.filter(there), torn: torn.filter(there) };
}

/** A category is named from so many images on, and so many of the largest are. */
const [LEAST, MOST_NAMES] = [3, 30];
const NO_OWN: Scene["own"] = [];
const NO_NAMES: Scene["names"] = [];

function paper(dark: boolean): Paper {
  return { dark, plain: dark ? [150, 150, 150] : [118, 118, 118] };
}
