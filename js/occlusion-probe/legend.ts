/** What the colours over the picture mean, with numbers, units and names. */

import { colormapGradient } from "../shared/colormaps.ts";
import { button, element } from "../shared/controls.ts";
import type { Range } from "./field.ts";
import { colormapOf } from "./paint.ts";
import { amount, type Choices, type Reading, unitOf, type Views } from "./reading.ts";

/** A bar from the lowest to the highest colour, with the unmasked value marked on it. */
export function scaleLegend(
  range: Range,
  choices: Choices,
  apart: boolean,
  base: number,
  name: string,
): HTMLElement {
  const unit = unitOf(choices, apart);
  const bar = element("span", { class: "bar", "aria-hidden": "true" });
  bar.style.background = colormapGradient(colormapOf(range));
  const at = (base - range.low) / (range.high - range.low);
  const marked = !apart && Number.isFinite(base) && at >= -0.001 && at <= 1.001;
  if (marked) {
    const mark = element("span", { class: "mark" });
    mark.style.left = `${100 * Math.max(0, Math.min(1, at))}%`;
    bar.append(mark);
  }
  const signed = range.centred;
  const ends = [range.low, range.high].map((value) => amount(value, unit, signed));
  return element(
    "p",
    { class: "legend" },
    ends[0] as string,
    bar,
    ends[1] as string,
    element(
      "span",
      {},
      [meaning(choices, apart, name), marked ? unmasked(base, unit, signed) : ""]
        .filter(Boolean)
        .join("; "),
    ),
  );
}

function unmasked(base: number, unit: string, signed: boolean): string {
  return signed && base === 0
    ? "zero, as unmasked, in the middle and faint"
    : `line: unmasked, ${amount(base, unit)}; near it faint`;
}

/**
 * The legend of the large picture; where a map hardly changes on its scale it says so, with a button
 * that gives it all the colours.
 */
export class Legend {
  readonly node: HTMLElement;
  readonly #colours = element("div");
  readonly #slight: HTMLElement;
  readonly #text = element("span");
  readonly #stretch: HTMLButtonElement;

  constructor(stretch: (on: boolean) => void) {
    this.#stretch = button("Stretch colours", "Give all colours to what is there", () =>
      stretch(this.#stretch.ariaPressed !== "true"),
    );
    this.#slight = element("p", { class: "slight", hidden: "" }, this.#text, this.#stretch);
    this.node = element("div", {}, this.#colours, this.#slight);
  }

  /** `layer`: what lies over the picture, null for nothing; a difference has no reading. */
  show(
    layer: { reading: Reading | null } | null,
    views: Views | null,
    choices: Choices,
    name: string,
  ): void {
    const reading = layer?.reading ?? null;
    this.#colours.replaceChildren();
    this.#slight.hidden = !reading || !views?.slight;
    if (!layer || !views) return;
    const range = reading ? views.range : views.differenceRange;
    this.#colours.append(
      reading?.classes
        ? classLegend(reading)
        : scaleLegend(range, choices, !reading, reading?.base ?? Number.NaN, name),
    );
    if (!views.slight) return;
    const unit = unitOf(choices);
    const { low, high } = views.slight;
    const [from, to] = [low, high].map((value) => amount(value, unit, unit === "%p"));
    this.#text.textContent = `hardly changes: ${from} to ${to} `;
    this.#stretch.ariaPressed = String(choices.stretch);
  }
}

function meaning(choices: Choices, apart: boolean, name: string): string {
  if (choices.show === "feature map") return `total of the feature map${apart ? ", A − B" : ""}`;
  const of = choices.scale.endsWith("drop") ? "lost" : "left";
  const what = choices.scale.startsWith("logit") ? "logit of" : "confidence in";
  if (apart) return `A − B, ${choices.scale}; zero in the middle and faint`;
  const stretched = choices.stretch ? ", colours stretched to what is there" : "";
  return `${what} ${name} ${of} where the mask lies${stretched}`;
}

/** Each class with its colour and letter, and on how many positions it is the most probable. */
function classLegend({ classes, target }: Reading): HTMLElement {
  const entries = (classes?.categories ?? []).map(({ letter, colour, name, number, share }) => {
    const swatch = element("span", { class: "swatch", "aria-hidden": "true" }, letter);
    swatch.style.background = colour;
    const mine = number === target ? ", the target" : "";
    return element(
      "li",
      {},
      swatch,
      `${letter === "·" ? "" : `${letter}: `}${name}${mine} `,
      element("span", { class: "soft" }, share < 0.01 ? "<1 %" : `${(100 * share).toFixed(0)} %`),
    );
  });
  return element(
    "ul",
    { class: "legend classes", "aria-label": "Most probable class" },
    ...entries,
  );
}
