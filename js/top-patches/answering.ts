/** Which channels answer to an image, or to a box on it, more strongly than on most of the data. */

import { button, element, rebuild, select } from "../shared/controls.ts";
import type { Requests, TypedArray } from "../shared/wire.ts";
import { counted } from "./head.ts";
import { decimalsFor, figure, percent } from "./overview.ts";
import type { AnsweringState } from "./state.ts";

export interface AnsweringActions {
  open(layer: string, channel: number, unit: [number, number]): void;
  changed(): void;
  failed(message: string): void;
  announce(text: string): void;
}

export interface Found {
  layer: string;
  channel: number;
  value: number;
  /** share of the images that give more */
  share: number;
  unit: [number, number];
}

export function foundOf(state: AnsweringState, arrays: Record<string, TypedArray>): Found[] {
  const { channel, value, share, place, layer_index: layer } = arrays;
  return Array.from(channel ?? [], (number, i) => ({
    layer: state.layers[layer?.[i] ?? 0] ?? "",
    channel: number,
    value: value?.[i] ?? Number.NaN,
    share: share?.[i] ?? Number.NaN,
    unit: [place?.[2 * i] ?? 0, place?.[2 * i + 1] ?? 0],
  }));
}

/** A sentence about how many answer; Python's note says what is meant by it. */
export function verdict({ tested, total, note }: AnsweringState): string {
  return `${total} of ${counted(tested, "channel")} tested. ${note}`;
}

export class Answering {
  readonly node: HTMLElement;
  readonly #scope;
  readonly #ask: HTMLButtonElement;
  readonly #said = element("p", { class: "soft" });
  readonly #list = element("ol", { class: "found" });
  #asked = "";
  #key = "";
  #image = -1;
  #box: number[] = [];
  #layer = "";
  #scoped: "layer" | "all" = "layer";

  readonly #requests: Requests;
  readonly #actions: AnsweringActions;

  constructor(requests: Requests, actions: AnsweringActions) {
    this.#requests = requests;
    this.#actions = actions;
    this.#scope = select("in", (value) => {
      this.#scoped = value as "layer";
      if (this.#asked) this.ask();
      actions.changed();
    });
    this.#ask = button("Which channels answer here?", "", () => this.ask());
    this.node = element(
      "div",
      { class: "answering" },
      element("div", { class: "control" }, this.#ask, this.#scope.node),
      this.#said,
      this.#list,
    );
  }

  show(image: number, box: number[], layer: string): void {
    [this.#image, this.#box, this.#layer] = [image, box, layer];
    const all = "Which channels answer to this image?";
    this.#ask.textContent = box.length === 4 ? "Which channels answer in the box?" : all;
    this.#ask.title = "Those that answer more strongly than on 99 % of the images of the scan";
    this.#ask.ariaLabel = this.#ask.textContent;
    this.#scope.show(
      [
        { value: "layer", label: "this layer" },
        { value: "all", label: "all layers" },
      ],
      this.#scoped,
    );
    if (this.#key && this.#key !== this.#keyNow()) {
      // What stands there answered another question.
      this.#key = "";
      this.#said.textContent = "";
      this.#list.replaceChildren();
      delete this.#list.dataset.key;
    }
  }

  /** Ask now, of the box as it is given: the trait may not have it yet. */
  ask(box = this.#box): void {
    if (this.#image < 0) return;
    this.#box = box;
    const key = this.#keyNow();
    this.#asked = key;
    this.#said.textContent = "Asking Python …";
    this.#requests.ask(
      "answering",
      { image: this.#image, box: box.length === 4 ? box : null, scope: this.#scoped },
      ({ fields, arrays }) => {
        if (key !== this.#asked) return;
        const data = Object.fromEntries([...arrays].map(([name, { data }]) => [name, data]));
        this.#take(key, fields as unknown as AnsweringState, data);
      },
      (message) => {
        this.#said.textContent = "";
        this.#actions.failed(message);
      },
    );
  }

  #keyNow(): string {
    const layer = this.#scoped === "all" ? "" : this.#layer;
    return JSON.stringify([this.#image, this.#box, layer]);
  }

  #take(key: string, state: AnsweringState, arrays: Record<string, TypedArray>): void {
    this.#key = key;
    const found = foundOf(state, arrays);
    const said = verdict(state);
    const cut = found.length < state.total ? ` The first ${found.length}:` : "";
    this.#said.textContent = said + cut;
    this.#list.classList.toggle("one-layer", state.layers.length < 2);
    this.#actions.announce(said);
    rebuild(this.#list, `${key} ${performance.now()}`, () => found.map((one) => this.#line(one)));
    this.#actions.failed("");
    this.#actions.changed();
  }

  #line({ layer, channel, value, share, unit }: Found): HTMLElement {
    const line = element(
      "button",
      { type: "button", class: "hit" },
      element("span", { class: "hit-layer" }, layer),
      element("strong", {}, String(channel)),
      element("span", {}, figure(value, decimalsFor([value]))),
      element("span", { class: "soft" }, share > 0 ? `top ${percent(share)}` : "none above"),
    );
    line.title = `Open channel ${channel} of ${layer}`;
    line.addEventListener("click", () => this.#actions.open(layer, channel, unit));
    return element("li", {}, line);
  }
}
