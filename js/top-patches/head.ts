/** What is on show, in words: the layer, what a search found, what is waited for, what marks mean. */

import { element, rebuild } from "../shared/controls.ts";
import { OTHER_CLASS, OTHER_LOOK, type Overview } from "./overview.ts";
import { SYMBOLS } from "./patch-strip.ts";
import type { Hands } from "./state.ts";

const WORDS: Record<number, string> = {
  [OTHER_CLASS]: "another class than most of the row",
  [OTHER_LOOK]: "looks unlike the rest of the row",
};
/** Classes that are named of those that a search found. */
const NAMED = 6;

export function counted(count: number, noun: string): string {
  return `${count.toLocaleString("en")} ${noun}${count === 1 ? "" : "s"}`;
}

export class Head {
  readonly node: HTMLElement;
  readonly legend = element("div", { class: "legend", hidden: "" });
  readonly #headline = element("p", { class: "headline" });
  readonly #status = element("p", { class: "status", role: "status" });
  readonly #found = element("p", { class: "soft", hidden: "" });

  readonly #hands: Pick<Hands, "get">;

  constructor(hands: Pick<Hands, "get">) {
    this.#hands = hands;
    const line = element("div", { class: "head" }, this.#headline, this.#status);
    this.node = element("div", {}, line, this.#found);
  }

  /** A quiet line; nothing on the page moves for it. */
  set status(text: string) {
    if (this.#status.textContent !== text) this.#status.textContent = text;
  }

  show({ state, channels, dead, flags }: Overview): void {
    const { get } = this.#hands;
    const entry = get("layers").find(({ name }) => name === state.layer);
    const sees = state.whole ? "the whole image" : (entry?.rf ?? "");
    const facts = [
      entry?.kind ?? "",
      counted(channels, "channel"),
      state.images ? counted(state.images, "image") : "",
      sees ? `each unit sees ${sees}` : "",
      dead > 0 ? `${dead} dead` : "",
    ].filter(Boolean);
    const text = facts.join(" · ");
    rebuild(this.#headline, `${state.layer} ${text}`, () => [
      element("strong", {}, state.layer),
      ` ${text}`,
    ]);
    const found = [this.#searched(), state.missing].filter(Boolean).join(" ");
    if (this.#found.textContent !== found) this.#found.textContent = found;
    this.#found.hidden = found === "";
    this.#showLegend(flags);
  }

  #searched(): string {
    const { get } = this.#hands;
    if (get("search").trim() === "") return "";
    const { classes = [], note = "" } = get("found");
    const named = classes.slice(0, NAMED).map(({ name }) => name);
    const more = classes.length > NAMED ? ` and ${classes.length - NAMED} more` : "";
    return named.length > 0 ? `Selectivity for ${named.join(", ")}${more}. ${note}` : note;
  }

  #showLegend(flags: number): void {
    const there = SYMBOLS.filter(([flag]) => flags & flag);
    this.legend.hidden = there.length === 0;
    rebuild(this.legend, String(flags), () => [
      element("span", {}, "False friends?"),
      ...there.map(([flag, symbol, name]) => {
        const badge = element("span", { class: "badge" }, symbol);
        const frame = element("span", { class: "frame sample-frame" }, badge);
        const word = element("span", {}, WORDS[flag] ?? "");
        return element("span", { class: `control ${name}` }, frame, word);
      }),
    ]);
  }
}
