/** What a mask is: its shape, size and step, and what stands where it covers. */

import { MASK_KEYS } from "../occlusion-probe/mask-keys.ts";
import type { Fill, Hands, Shape } from "../occlusion-probe/state.ts";
import { isThere } from "../occlusion-probe/state.ts";
import { button, element, select } from "../shared/controls.ts";

const SHAPES = [
  { value: "rectangle", label: "square" },
  { value: "circle", label: "circle" },
  { value: "brush", label: "free brush" },
];
const FILLS = [
  { value: "mean", label: "mean colour" },
  { value: "grey", label: "grey" },
  { value: "black", label: "black" },
  { value: "colour", label: "a colour" },
  { value: "blur", label: "the picture, blurred" },
  { value: "noise", label: "noise" },
  { value: "picture", label: "another picture" },
];

export interface MaskActions extends Hands {
  add(): void;
  remove(): void;
  clear(): void;
  /** new masks, and the one that is there, get this side */
  resize(size: number, done: boolean): void;
}

export class MaskSettings {
  readonly node: HTMLElement;
  readonly row: HTMLElement;
  readonly #shape;
  readonly #fill;
  readonly #size = element("input", { type: "range", min: "1", "aria-label": "Size of masks" });
  readonly #sizeText = element("output", { class: "number" });
  readonly #stride = numberField("Stride of the full map in pixels");
  readonly #colour = element("input", { type: "color", "aria-label": "Colour of masks" });
  readonly #fillImage = numberField("Picture that shows in masks");
  readonly #of = element("label", { class: "control" }, "no.", this.#fillImage);
  readonly #remove: HTMLButtonElement;
  readonly #clear: HTMLButtonElement;
  readonly #actions: MaskActions;

  constructor(signal: AbortSignal, actions: MaskActions) {
    this.#actions = actions;
    this.#shape = select("Mask", (value) => actions.set({ mask_shape: value as Shape }));
    this.#fill = select("filled with", (value) => actions.set({ fill: value as Fill }));
    const on = (node: HTMLElement, type: string, act: () => void) =>
      node.addEventListener(type, act, { signal });
    on(this.#size, "input", () => {
      this.#sizeText.textContent = `${this.#size.value} px`;
      actions.resize(Number(this.#size.value), false);
    });
    on(this.#size, "change", () => actions.resize(Number(this.#size.value), true));
    on(this.#stride, "change", () => actions.set({ stride: whole(this.#stride) }));
    // The list counts from 1, as the slider of the data set does.
    on(this.#fillImage, "change", () => actions.set({ fill_image: whole(this.#fillImage) - 1 }));
    on(this.#colour, "change", () => actions.set({ colour: bytesOf(this.#colour.value) }));
    this.#remove = button("Remove", "Take the chosen mask away", () => actions.remove());
    this.#clear = button("Clear", "Take all masks away", () => actions.clear());
    const labelled = (text: string, ...nodes: (Node | string)[]) =>
      element("label", { class: "control" }, element("span", {}, text), ...nodes);
    const help = element("div", { class: "help", hidden: "" }, keysTable());
    this.row = element(
      "div",
      { class: "toolbar", role: "toolbar", "aria-label": "Masks" },
      this.#shape.node,
      labelled("Size", this.#size, this.#sizeText),
      this.#fill.node,
      this.#colour,
      this.#of,
      labelled("Stride", this.#stride, "px"),
      element(
        "div",
        { class: "control", role: "group", "aria-label": "Masks over the picture" },
        button("+ Mask", "Another mask", () => actions.add()),
        this.#remove,
        this.#clear,
        button("?", "Keys", () => {
          help.hidden = !help.hidden;
        }),
      ),
    );
    this.node = element("div", {}, this.row, help);
  }

  show(masks: number): void {
    const { get } = this.#actions;
    const active = (this.node.getRootNode() as ShadowRoot).activeElement;
    const inputs = get("inputs");
    this.#shape.show(SHAPES, get("mask_shape"));
    this.#fill.show(
      FILLS.map((fill) =>
        fill.value === "picture" && inputs.images < 2 ? { ...fill, disabled: true } : fill,
      ),
      get("fill"),
    );
    this.#size.max = String(Math.min(inputs.height, inputs.width));
    if (active !== this.#size) this.#size.value = String(get("size"));
    this.#sizeText.textContent = `${this.#size.value} px`;
    if (active !== this.#stride) this.#stride.value = String(get("stride"));
    this.#colour.hidden = get("fill") !== "colour";
    this.#colour.value = hexOf(get("colour"));
    this.#of.hidden = get("fill") !== "picture";
    this.#fillImage.max = String(inputs.images);
    if (active !== this.#fillImage) this.#fillImage.value = String(get("fill_image") + 1);
    this.#remove.disabled = this.#clear.disabled = masks === 0;
    const replacement = get("replacement");
    this.#fill.node.title = isThere(replacement) ? replacement.note : "";
  }
}

function keysTable(): HTMLElement {
  const keys = [
    ...MASK_KEYS,
    ["map: ← → ↑ ↓", "another position of the map; Enter puts the mask there"],
  ] as const;
  return element(
    "dl",
    { class: "keys", "aria-label": "Keys" },
    ...keys.flatMap(([names, does]) => [element("dt", {}, names), element("dd", {}, does)]),
  );
}

function numberField(label: string): HTMLInputElement {
  return element("input", { type: "number", min: "1", class: "text", "aria-label": label });
}

/** What was typed as a whole number; what is none goes to Python, which says why not. */
const whole = (field: HTMLInputElement): number => Math.round(Number(field.value));

const hexOf = (bytes: number[]) =>
  `#${bytes.map((byte) => byte.toString(16).padStart(2, "0")).join("")}`;

const bytesOf = (text: string) =>
  [1, 3, 5].map((at) => Number.parseInt(text.slice(at, at + 2), 16));
