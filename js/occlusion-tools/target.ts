/** The class that is looked at: typed, found by Python, chosen from a list. */

import type { Guess } from "../occlusion-probe/state.ts";
import { element } from "../shared/controls.ts";
import type { Requests } from "../shared/wire.ts";

type Found = [number, string];

export interface TargetActions {
  choose(number: number): void;
  /** Say what went wrong; empty takes it away. */
  problem(text: string): void;
}

export class TargetBox {
  readonly node: HTMLElement;
  readonly #input = element("input", {
    type: "text",
    role: "combobox",
    class: "text",
    autocomplete: "off",
    spellcheck: "false",
    "aria-autocomplete": "list",
    "aria-expanded": "false",
    "aria-controls": "classes",
  });
  readonly #list = element("ul", {
    id: "classes",
    class: "choices",
    role: "listbox",
    "aria-label": "Classes",
    hidden: "",
  });
  readonly #requests: Requests;
  readonly #actions: TargetActions;
  #found: Found[] = [];
  /** what was typed when these were found */
  #foundFor = "";
  /** the most probable classes of the picture */
  #usual: Found[] = [];
  #active = -1;
  #shown = "";

  constructor(signal: AbortSignal, requests: Requests, actions: TargetActions) {
    this.#requests = requests;
    this.#actions = actions;
    this.node = element(
      "label",
      { class: "control target" },
      element("span", {}, "Target"),
      this.#input,
      this.#list,
    );
    const on = <K extends keyof HTMLElementEventMap>(
      type: K,
      act: (event: HTMLElementEventMap[K]) => void,
    ) => this.#input.addEventListener(type, act, { signal });
    on("focus", () => {
      this.#input.select();
      this.#find("");
    });
    on("input", () => {
      actions.problem("");
      this.#find(this.#input.value);
    });
    on("blur", () => this.#close());
    on("keydown", (event) => this.#key(event));
    // The input keeps the focus; a press chooses before it could go.
    this.#list.addEventListener(
      "pointerdown",
      (event) => {
        event.preventDefault();
        const at = [...this.#list.children].indexOf(
          (event.target as Element).closest("li") as Element,
        );
        this.#take(at);
      },
      { signal },
    );
  }

  show({ number, name }: Guess, follows: boolean): void {
    this.#shown = follows ? `${name} (as predicted)` : name;
    this.#input.title = `class ${number}`;
    if (!this.#isOpen) this.#input.value = this.#shown;
  }

  #find(text: string, then: () => void = () => undefined): void {
    this.#requests.ask(
      "find_class",
      { text },
      ({ fields }) => {
        if (!this.#isOpen) return;
        this.#offer(fields.found as Found[], text);
        then();
      },
      () => undefined,
    );
  }

  get #isOpen(): boolean {
    return (this.node.getRootNode() as ShadowRoot).activeElement === this.#input;
  }

  #offer(found: Found[], text: string): void {
    this.#foundFor = text;
    if (text === "") this.#usual = found.slice(0, 5);
    this.#found = [...(text === "" ? ([[-1, "as predicted"]] as Found[]) : []), ...found];
    this.#active = this.#found.length > 0 ? (text === "" ? -1 : 0) : -1;
    this.#list.replaceChildren(
      ...this.#found.map(([number, name], i) =>
        element(
          "li",
          { role: "option", id: `class-${i}` },
          name,
          element("span", { class: "soft" }, number < 0 ? "" : ` ${number}`),
        ),
      ),
    );
    this.#list.hidden = this.#found.length === 0;
    this.#input.setAttribute("aria-expanded", String(!this.#list.hidden));
    this.#mark();
  }

  #mark(): void {
    [...this.#list.children].forEach((option, i) => {
      option.setAttribute("aria-selected", String(i === this.#active));
      if (i === this.#active) option.scrollIntoView({ block: "nearest" });
    });
    if (this.#active < 0) this.#input.removeAttribute("aria-activedescendant");
    else this.#input.setAttribute("aria-activedescendant", `class-${this.#active}`);
  }

  #key(event: KeyboardEvent): void {
    const count = this.#found.length;
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step && count > 0) {
      this.#list.hidden = false;
      this.#active = (this.#active + step + count) % count;
      this.#mark();
    } else if (event.key === "Enter") this.#enter();
    else if (event.key === "Escape") this.#close();
    else return;
    event.preventDefault();
    event.stopPropagation();
  }

  /** The chosen option, of what stands in the box now; and where there is none, why. */
  #enter(): void {
    const text = this.#input.value;
    // With the text that stood there the list is of the most probable.
    const asked = text === this.#shown ? "" : text;
    if (this.#foundFor !== asked) this.#find(text, () => this.#accept(text));
    else this.#accept(text);
  }

  #accept(text: string): void {
    if (this.#active >= 0) this.#take(this.#active);
    else if (text.trim() === "" || text === this.#shown) this.#close();
    else {
      const likely = this.#usual.map(([, name]) => name).join(", ");
      this.#actions.problem(
        `no class is named “${text}” or nearly so; the most probable are ${likely}`,
      );
    }
  }

  #take(at: number): void {
    const found = this.#found[at];
    if (!found) return;
    this.#shown = found[1];
    this.#close();
    this.#actions.problem("");
    this.#actions.choose(found[0]);
  }

  #close(): void {
    this.#list.hidden = true;
    this.#input.setAttribute("aria-expanded", "false");
    this.#input.value = this.#shown;
  }
}
