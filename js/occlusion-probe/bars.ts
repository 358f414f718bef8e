/** The network's confidence now and unmasked: the target large, then the most probable classes. */

import { element } from "../shared/controls.ts";
import { numeric } from "./map-data.ts";
import { amount } from "./reading.ts";
import type { Change, ConfidenceState } from "./state.ts";

interface Row {
  node: HTMLTableRowElement;
  name: HTMLElement;
  fill: HTMLElement;
  mark: HTMLElement;
  percent: HTMLElement;
  change: HTMLElement;
}

export class Bars {
  readonly node: HTMLElement;
  readonly #of = element("p", { class: "soft" });
  readonly #target = element("p", { class: "target-name" });
  readonly #big = element("span", { class: "big" });
  readonly #bigChange = element("span", { class: "change" });
  readonly #logit = element("p", { class: "soft" });
  readonly #bar = emptyRow();
  readonly #body = element("tbody");
  /** by class number: a class keeps its row, so that its bar moves and no other's does */
  readonly #rows = new Map<number, Row>();

  readonly #choose: (target: number) => void;

  /** `choose`: make a class the target. */
  constructor(choose: (target: number) => void) {
    this.#choose = choose;
    this.node = element(
      "section",
      { class: "confidence", "aria-label": "Confidence" },
      this.#of,
      this.#target,
      element("p", { class: "now" }, this.#big, this.#bigChange),
      element(
        "div",
        { class: "track wide", "aria-hidden": "true" },
        this.#bar.fill,
        this.#bar.mark,
      ),
      this.#logit,
      element(
        "table",
        { class: "bars" },
        element("caption", {}, "Most probable classes, and their change by the mask"),
        this.#body,
      ),
    );
  }

  /** `of` says what is shown; `masked` whether there is a change to tell. */
  show(state: ConfidenceState, of: string, masked: boolean): void {
    this.#of.textContent = of;
    const { target } = state;
    this.#target.textContent = target.name;
    this.#target.title = `the target, class ${target.number}`;
    fillRow(this.#bar, target, masked);
    this.#big.textContent = amount(numeric(target.probability), "%");
    showChange(this.#bigChange, target, masked, true);
    const logit = numeric(target.logit);
    const apart = logit - numeric(target.logit_before);
    this.#logit.textContent =
      `logit ${amount(logit, "")}` +
      (masked && Number.isFinite(apart)
        ? `, ${amount(apart, "", true)}; unmasked ${amount(numeric(target.before), "%")}`
        : "");
    const rows = state.top.map((guess) => {
      const row = this.#rowOf(guess.number);
      const mine = guess.number === target.number;
      row.node.classList.toggle("mine", mine);
      const name = mine ? `◎ ${guess.name}` : guess.name;
      if (row.name.textContent !== name) row.name.textContent = name;
      row.name.setAttribute("aria-pressed", String(mine));
      row.name.title = `${guess.name} (class ${guess.number}), logit ${amount(numeric(guess.logit), "")}; press to make it the target`;
      fillRow(row, guess, masked);
      row.percent.textContent = amount(numeric(guess.probability), "%");
      showChange(row.change, guess, masked, false);
      return row.node;
    });
    // Only what is out of place is moved: a moved node loses its transition and the focus.
    rows.forEach((row, i) => {
      const there = this.#body.children[i] ?? null;
      if (there !== row) this.#body.insertBefore(row, there);
    });
    while (this.#body.children.length > rows.length) this.#body.lastElementChild?.remove();
    if (this.#rows.size > 60) this.#rows.clear();
  }

  #rowOf(number: number): Row {
    const known = this.#rows.get(number);
    if (known) return known;
    const row = emptyRow();
    row.name.addEventListener("click", () => this.#choose(number));
    this.#rows.set(number, row);
    return row;
  }
}

function emptyRow(): Row {
  const name = element("button", { type: "button", class: "class" });
  const fill = element("span", { class: "fill" });
  const mark = element("span", { class: "mark" });
  const percent = element("td", { class: "percent" });
  const change = element("td", { class: "change" });
  const track = element("td", { class: "track", "aria-hidden": "true" }, fill, mark);
  const head = element("th", { scope: "row" }, name);
  const node = element("tr", {}, head, track, percent, change);
  return { node, name, fill, mark, percent, change };
}

function fillRow({ fill, mark }: Row, guess: Change, masked: boolean): void {
  const share = (value: number) => `${Math.max(0, Math.min(100, 100 * value)) || 0}%`;
  fill.style.width = share(numeric(guess.probability));
  const before = numeric(guess.before);
  mark.hidden = !masked || !Number.isFinite(before);
  mark.style.left = share(before);
}

/** Sign and arrow: colour only repeats them. */
function showChange(node: HTMLElement, guess: Change, masked: boolean, words: boolean): void {
  const apart = numeric(guess.probability) - numeric(guess.before);
  node.hidden = words && !masked;
  const known = masked && Number.isFinite(apart);
  const text = known ? amount(apart, "%p", true) : "";
  const still = text.startsWith("±");
  node.className = `change ${!known || still ? "" : apart < 0 ? "down" : "up"}`;
  node.textContent = known ? `${still ? "=" : apart < 0 ? "▼" : "▲"} ${text}` : "";
  node.title = known ? "percentage points against the unmasked picture" : "";
}

/** The target in one sentence, for a screen reader. */
export function spoken({ target }: ConfidenceState, masked: boolean): string {
  const apart = numeric(target.probability) - numeric(target.before);
  const change = Math.abs(100 * apart).toFixed(1);
  const way = apart < 0 ? "down" : "up";
  return (
    `${target.name} ${amount(numeric(target.probability), "%")}` +
    (masked && Number.isFinite(apart) ? `, ${way} ${change} percentage points` : "")
  );
}
