/** How the map is laid out, coloured and touched; what is seldom changed lies behind "More". */

import { button, element, labelled, select } from "../shared/controls.ts";
import type { Hands } from "./hands.ts";
import type { LayoutName, Pictures, Tool } from "./state.ts";

export const LAYOUTS: [LayoutName, string, string][] = [
  ["map", "Map", "Close together: alike for the network"],
  ["grid", "Grid", "Every image in a cell of its own, near its place on the map"],
  ["pca", "PCA", "The two directions in which the features differ most"],
];
export const TOOLS: [Tool, string, string][] = [
  ["pan", "Move", "Drag moves the map"],
  ["lasso", "Lasso", "Drag round images to select them; Shift adds"],
  ["box", "Box", "Drag a box to select images; Shift adds"],
];
const PICTURES: [Pictures, string][] = [
  ["thinned", "where there is room"],
  ["all", "all"],
  ["dots", "none, dots only"],
];
export const SIZES = { least: 8, most: 128, step: 4 };

export interface ToolbarActions extends Pick<Hands, "get" | "set"> {
  tool(): Tool;
  setTool(tool: Tool): void;
  save(format: "png" | "svg"): void;
}

interface Choices<T extends string> {
  node: HTMLElement;
  show(value: T): void;
}

/** Buttons of which one is pressed. */
export function choices<T extends string>(
  label: string,
  entries: [T, string, string][],
  choose: (value: T) => void,
): Choices<T> {
  const buttons = entries.map(
    ([value, text, title]) =>
      [value, button(text, title, () => choose(value), "button choice")] as const,
  );
  for (const [, node] of buttons) node.ariaLabel = node.textContent;
  return {
    node: element(
      "div",
      { class: "control choices", role: "group", "aria-label": label },
      ...buttons.map(([, node]) => node),
    ),
    show(value) {
      for (const [name, node] of buttons) node.ariaPressed = String(name === value);
    },
  };
}

export class Toolbar {
  readonly node: HTMLElement;
  readonly #layout;
  readonly #tool;
  readonly #colour;
  readonly #border;
  readonly #pictures;
  readonly #size = element("input", { type: "range" });
  readonly #names = element("input", { type: "checkbox" });
  readonly #seams = element("input", { type: "checkbox" });
  readonly #more: HTMLButtonElement;
  readonly #rest: HTMLElement;

  readonly #actions: ToolbarActions;

  constructor(signal: AbortSignal, search: HTMLElement, actions: ToolbarActions) {
    this.#actions = actions;
    const { set } = actions;
    this.#layout = choices("Layout", LAYOUTS, (layout) => set({ arrangement: layout }));
    this.#tool = choices("What dragging does", TOOLS, actions.setTool);
    // Categories of one colour are not those of another.
    this.#colour = select("Colour", (colour) => set({ colour, hidden: [], range: [] }));
    this.#border = select("Border", (border) => set({ border }));
    this.#pictures = select("Pictures", (value) => set({ thumbnails: value as Pictures }));
    this.#size.min = String(SIZES.least);
    this.#size.max = String(SIZES.most);
    this.#size.step = String(SIZES.step);
    this.#size.addEventListener("input", () => set({ size: Number(this.#size.value) }), { signal });
    this.#names.addEventListener("change", () => set({ names: this.#names.checked }), { signal });
    this.#seams.addEventListener("change", () => set({ seams: this.#seams.checked }), { signal });
    this.#rest = element(
      "div",
      { class: "toolbar rest", role: "group", "aria-label": "More", hidden: "" },
      this.#pictures.node,
      labelled("Size", this.#size),
      this.#border.node,
      this.#check(this.#names, "Class names"),
      this.#check(this.#seams, "Seams", "Lines between neighbours on the map that are unlike"),
      element(
        "div",
        { class: "control" },
        button("PNG", "Save the map as a PNG file", () => actions.save("png")),
        button("SVG", "Save the map as an SVG file", () => actions.save("svg")),
      ),
    );
    this.#more = button("More", "Pictures, borders, names, seams, files", () => this.#toggle());
    this.#more.ariaExpanded = "false";
    this.node = element(
      "div",
      {},
      element(
        "div",
        { class: "toolbar", role: "toolbar", "aria-label": "The map" },
        this.#layout.node,
        this.#colour.node,
        this.#tool.node,
        search,
        this.#more,
      ),
      this.#rest,
    );
  }

  show(): void {
    const { get, tool } = this.#actions;
    const layers = get("layers").map(({ name, label }) => ({ value: name, label }));
    this.#layout.show(get("arrangement"));
    this.#tool.show(tool());
    this.#colour.show(layers, get("colour"));
    this.#border.show([{ value: "", label: "As colour" }, ...layers], get("border"));
    this.#pictures.show(
      PICTURES.map(([value, label]) => ({ value, label })),
      get("thumbnails"),
    );
    this.#size.value = String(get("size"));
    this.#names.checked = get("names");
    this.#seams.checked = get("seams");
  }

  #check(input: HTMLInputElement, text: string, title = ""): HTMLElement {
    return element("label", { class: "control check", title }, input, text);
  }

  #toggle(): void {
    this.#rest.hidden = !this.#rest.hidden;
    this.#more.ariaExpanded = String(!this.#rest.hidden);
  }
}
