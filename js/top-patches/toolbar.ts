/** Which layer, in which order, and how its patches are shown: each a trait. */

import { button, element, labelled, rebuild, select } from "../shared/controls.ts";
import type { Overview } from "./overview.ts";
import type { Hands, Show, Sort } from "./state.ts";
import { SIZES } from "./state.ts";

export interface ToolbarActions extends Hands {
  byImage(): void;
  help(): void;
}

const SHOWN: [Show, string, string][] = [
  ["patch", "Patch", "What the unit sees of the image"],
  ["image", "Image", "The whole image"],
  ["masked", "Masked", "The patch, dark where the channel does not answer"],
];
/** Milliseconds after the last letter of a search until Python hears of it. */
const TYPING_MS = 350;
const SUGGESTED = 20;

export class Toolbar {
  readonly node: HTMLElement;
  readonly #layer;
  readonly #sort;
  readonly #direction: HTMLButtonElement;
  readonly #search = element("input", {
    type: "search",
    list: "class-names",
    placeholder: "class name",
  });
  readonly #suggestions = element("datalist", { id: "class-names" });
  readonly #searchLabel: HTMLElement;
  readonly #shown: [Show, HTMLButtonElement][];
  readonly #size = element("input", { type: "range" });
  readonly #patches = element("input", { type: "number", min: "1", class: "number" });
  #typing: ReturnType<typeof setTimeout> | undefined;

  readonly #actions: ToolbarActions;

  constructor(signal: AbortSignal, actions: ToolbarActions) {
    this.#actions = actions;
    const { set } = actions;
    // Another layer has other channels: none of them is open, and no unit of it chosen.
    this.#layer = select("Layer", (layer) => set({ layer, channel: -1, unit: [] }));
    this.#sort = select("Sort", (sort) =>
      set({ sort: sort as Sort, descending: sort !== "index" }),
    );
    this.#direction = button("↓", "", () => set({ descending: !actions.get("descending") }));
    this.#shown = SHOWN.map(([show, text, title]) => [
      show,
      button(text, title, () => set({ show }), "button choice"),
    ]);
    this.#size.min = String(SIZES.least);
    this.#size.max = String(SIZES.most);
    this.#size.step = String(SIZES.step);
    this.#size.addEventListener("input", () => set({ size: Number(this.#size.value) }), { signal });
    this.#patches.addEventListener("change", () => this.#choosePatches(), { signal });
    this.#listenToSearch(signal);
    this.#searchLabel = labelled("Answers to", this.#search);
    this.#searchLabel.append(this.#suggestions);
    this.node = element(
      "div",
      { class: "toolbar", role: "toolbar", "aria-label": "What is shown of which channels" },
      this.#layer.node,
      element("div", { class: "control" }, this.#sort.node, this.#direction),
      this.#searchLabel,
      element(
        "div",
        { class: "control choices", role: "group", "aria-label": "Show" },
        ...this.#shown.map(([, node]) => node),
      ),
      labelled("Size", this.#size),
      labelled("Patches", this.#patches),
      button("By image", "Choose an image, and see which channels answer to it", actions.byImage),
      button("?", "Keys", actions.help),
    );
  }

  show(overview: Overview | null): void {
    const { get } = this.#actions;
    this.#layer.show(
      get("layers").map(({ name, kind, channels }) => ({
        value: name,
        label: `${name} · ${kind} · ${channels}`,
      })),
      get("layer"),
    );
    const known = overview?.state.classes_known ?? true;
    const features = overview?.arrays.diversity?.some((value) => !Number.isNaN(value)) ?? true;
    this.#sort.show(
      [
        { value: "index", label: "channel number" },
        { value: "peak", label: "peak" },
        { value: "selectivity", label: "selectivity", disabled: !known },
        { value: "sparsity", label: "sparsity" },
        { value: "diversity", label: "diversity", disabled: !features },
        { value: "purity", label: "purity", disabled: !known },
      ],
      get("sort"),
    );
    const descending = get("descending");
    this.#direction.textContent = descending ? "↓" : "↑";
    this.#direction.title = descending ? "Largest first" : "Smallest first";
    this.#direction.ariaLabel = this.#direction.title;
    this.#searchLabel.hidden = !known;
    const focused = (this.node.getRootNode() as ShadowRoot).activeElement;
    if (focused !== this.#search) this.#search.value = get("search");
    for (const [show, node] of this.#shown) {
      node.setAttribute("aria-pressed", String(show === get("show")));
    }
    this.#size.value = String(this.#actions.size());
    this.#patches.max = String(overview?.most ?? get("patches"));
    if (focused !== this.#patches) this.#patches.value = String(get("patches"));
  }

  focusSearch(): void {
    this.#search.focus();
  }

  #listenToSearch(signal: AbortSignal): void {
    const say = () => {
      clearTimeout(this.#typing);
      const search = this.#search.value;
      if (search === this.#actions.get("search")) return;
      // Sorted by what was asked for; with nothing asked the order stays.
      this.#actions.set(
        search.trim() ? { search, sort: "selectivity", descending: true } : { search },
      );
    };
    this.#search.addEventListener(
      "input",
      () => {
        this.#suggest();
        clearTimeout(this.#typing);
        this.#typing = setTimeout(say, TYPING_MS);
      },
      { signal },
    );
    this.#search.addEventListener("change", say, { signal });
    this.#search.addEventListener(
      "keydown",
      (event) => {
        if (event.key === "Enter") say();
      },
      { signal },
    );
    signal.addEventListener("abort", () => clearTimeout(this.#typing));
  }

  #suggest(): void {
    const found = suggestions(this.#actions.get("classes"), this.#search.value, SUGGESTED);
    rebuild(this.#suggestions, JSON.stringify(found), () =>
      found.map((value) => element("option", { value })),
    );
  }

  #choosePatches(): void {
    const most = Number(this.#patches.max);
    const asked = Math.round(Number(this.#patches.value));
    const patches = Math.max(1, Math.min(most, Number.isFinite(asked) ? asked : 1));
    this.#patches.value = String(patches);
    this.#actions.set({ patches });
  }
}

/** Names that hold every word that was typed, those that begin with it first. */
export function suggestions(classes: string[], typed: string, most: number): string[] {
  const words = typed.toLowerCase().split(/\s+/).filter(Boolean);
  if (words.length === 0) return [];
  const found = classes.filter((name) => words.every((word) => name.toLowerCase().includes(word)));
  const begins = (name: string) => Number(!name.toLowerCase().startsWith(words[0] as string));
  return found.sort((a, b) => begins(a) - begins(b)).slice(0, most);
}
