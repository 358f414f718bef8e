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
    const scene: Scene = {
      count,
      places,
      live: live && layout === "map",
      cell: layout === "grid" ? data.cell : 0,
      inks: this.#inkOf(count, found),
      borders: this.#borderOf(count),
      // Until it is known whether there are any.
      pictures: get("missing") ? "dots" : get("thumbnails"),
      size: get("size"),
      tool,
      selected: data.selected,
      chosen,
      links: this.#links.of([links], () => links),
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

  #borderOf(count: number): Inks | null {
    const { border } = this.#data;
    const { dark } = this;
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
    const { colour, facts } = this.#data;
    return this.#names.of([named, shown, hidden, colour, facts], () => {
      if (!shown || !named.places) return NO_NAMES;
      const categories = colour?.state.kind === "category" ? colour.state.categories : null;
      const names = new Map(categories?.map(({ number, name }) => [number, name]));
      const left = new Set(categories ? hidden : []);
      return named.places
        .filter(([number]) => !left.has(number))
        .sort((a, b) => b[3] - a[3])
        .map(([number, x, y]) => ({
          text: shortened(names.get(number) ?? facts.classes[number] ?? String(number)),
          x,
          y,
          ink: categories ? css(categoryColour(number)) : "",
        }));
    });
  }
}

/** On the map there is little room; the legend has the whole name. */
function shortened(name: string): string {
  return name.length > 24 ? `${name.slice(0, 22).trimEnd()}…` : name;
}

const NO_OWN: Scene["own"] = [];
const NO_NAMES: Scene["names"] = [];

function paper(dark: boolean): Paper {
  return { dark, plain: dark ? [150, 150, 150] : [118, 118, 118] };
}
