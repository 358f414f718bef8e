/** Questions a person has about a data set: which images are misplaced, twice there, or alone. */

import type { About } from "../image-map/about.ts";
import { type Facts, NONE } from "../image-map/facts.ts";
import { bringForward, type Hands } from "../image-map/hands.ts";
import type { Question, QuestionState } from "../image-map/state.ts";
import type { Thumbs } from "../image-map/thumbs.ts";
import { choices } from "../image-map/toolbar.ts";
import { button, element, rebuild, select } from "../shared/controls.ts";
import type { Answer, Requests } from "../shared/wire.ts";

const MISPLACED = "Images most of whose neighbours are of another class";
const QUESTIONS: [Question, string, string][] = [
  ["misplaced", "Misplaced", MISPLACED],
  ["duplicates", "Duplicates", "Pairs of images that the network can hardly tell apart"],
  ["outliers", "Outliers", "Images that lie alone in feature space"],
];
/** Entries that are listed at first, and that each press adds. */
const LISTED = 30;
const SIDE = 40;
const ANY = "";

export interface Entry {
  row: number;
  /** -1 for none */
  partner: number;
  said: string;
}

export function entriesOf(said: string[], arrays: Answer["arrays"]): Entry[] {
  const partners = arrays.get("partners")?.data;
  return Array.from(arrays.get("rows")?.data ?? [], (row, i) => ({
    row,
    partner: partners?.[i] ?? -1,
    said: said[i] ?? "",
  }));
}

/** Numbers of the classes that have images, in the order of their names. */
export function classesThere({ label, classes }: Facts): number[] {
  const there = new Set(label ?? []);
  there.delete(NONE);
  const name = (number: number) => classes[number] ?? `class ${number}`;
  return [...there].sort((a, b) => name(a).localeCompare(name(b), "en", { numeric: true }));
}

export interface QuestionActions extends Pick<Hands, "failed" | "announce" | "redraw"> {
  choose(row: number): void;
  flyTo(rows: ArrayLike<number>): void;
  select(rows: Int32Array): void;
}

export class Questions {
  readonly node: HTMLElement;
  readonly #kinds;
  readonly #label;
  readonly #among;
  readonly #classes: HTMLElement;
  readonly #sentence = element("p", { class: "soft" });
  readonly #all = button("Select all", "Select every image of this list", () => this.#selectAll());
  readonly #list = element("ol", { class: "answers" });
  readonly #more = button("More", "List more", () => this.#listMore());
  readonly #rest = element("div", { class: "control" }, this.#more, this.#all);
  #asking: Question | null = null;
  #chosen = { label: ANY, among: ANY };
  #entries: Entry[] = [];
  #listed = LISTED;
  #asked = 0;
  /** for an answer */
  #waits = false;
  #facts: Facts | null = null;
  #pictures = false;
  /** an answer came that is not yet in view */
  #fresh = false;

  readonly #requests: Requests;
  readonly #about: About;
  readonly #thumbs: Thumbs;
  readonly #actions: QuestionActions;

  constructor(requests: Requests, about: About, thumbs: Thumbs, actions: QuestionActions) {
    this.#requests = requests;
    this.#about = about;
    this.#thumbs = thumbs;
    this.#actions = actions;
    this.#kinds = choices<Question>("Which images are", QUESTIONS, (about) => this.#ask(about));
    this.#label = select("of", (label) => this.#narrow({ label }));
    this.#among = select("among", (among) => this.#narrow({ among }));
    for (const [{ node }, name] of [
      [this.#label, "Images of class"],
      [this.#among, "Among images of class"],
    ] as const) {
      node.querySelector("select")?.setAttribute("aria-label", name);
    }
    this.#classes = element(
      "div",
      { class: "control of-class", hidden: "" },
      this.#label.node,
      this.#among.node,
    );
    this.node = element(
      "section",
      { class: "section questions", "aria-label": "Questions" },
      element("h3", {}, "Which images are …"),
      this.#kinds.node,
      this.#classes,
      this.#sentence,
      this.#list,
      this.#rest,
    );
    this.#say("");
    this.#list.addEventListener("keydown", (event) => this.#step(event));
  }

  /** `silence`: why Python does not answer; empty where it does. */
  show(facts: Facts, chosen: number, pictures: boolean, silence: string): void {
    this.#pictures = pictures;
    if (this.#waits) this.#say(silence || "Asking Python …");
    if (facts !== this.#facts) {
      this.#facts = facts;
      const name = (number: number) => facts.classes[number] ?? `class ${number}`;
      const names = classesThere(facts).map((number) => ({
        value: String(number),
        label: name(number),
      }));
      const any = { value: ANY, label: "any" };
      this.#label.show([any, ...names], this.#chosen.label);
      this.#among.show([any, ...names], this.#chosen.among);
    }
    if (this.#asking) this.#kinds.show(this.#asking);
    const misplaced = this.#kinds.node.firstElementChild as HTMLButtonElement;
    misplaced.disabled = !facts.label;
    misplaced.title = facts.label ? MISPLACED : "No labels are known: pass labels= to ImageMap";
    this.#classes.hidden = this.#asking !== "misplaced" || !facts.label;
    this.#more.hidden = this.#entries.length <= this.#listed;
    this.#rest.hidden = this.#entries.length === 0;
    rebuild(this.#list, `${this.#asked} ${this.#entries.length} ${this.#listed} ${pictures}`, () =>
      this.#entries.slice(0, this.#listed).map((entry) => this.#line(entry)),
    );
    for (const node of this.#list.querySelectorAll<HTMLElement>("button")) {
      node.ariaCurrent = String(Number(node.dataset.row) === chosen);
    }
    if (this.#fresh) bringForward(this.node);
    this.#fresh = false;
  }

  #ask(about: Question): void {
    this.#asking = about;
    this.#entries = [];
    this.#listed = LISTED;
    this.#asked += 1;
    const mine = this.#asked;
    this.#waits = true;
    const number = (value: string) => (value === ANY ? null : Number(value));
    const { label, among } = this.#chosen;
    const of = about === "misplaced" ? { label: number(label), among: number(among) } : {};
    this.#requests.ask(
      "question",
      { about, label: null, among: null, ...of },
      ({ fields, arrays }) => {
        if (mine !== this.#asked) return;
        const { said, sentence } = fields as unknown as QuestionState;
        this.#entries = entriesOf(said, arrays);
        this.#waits = false;
        this.#say(sentence);
        this.#actions.announce(sentence);
        this.#fresh = true;
        this.#actions.failed("");
        this.#actions.redraw();
      },
      (message) => {
        if (mine !== this.#asked) return;
        this.#waits = false;
        this.#say("");
        this.#actions.failed(message);
        this.#actions.redraw();
      },
    );
    this.#actions.redraw();
  }

  #say(sentence: string): void {
    if (this.#sentence.textContent !== sentence) this.#sentence.textContent = sentence;
    this.#sentence.hidden = sentence === "";
  }

  #narrow(part: Partial<{ label: string; among: string }>): void {
    this.#chosen = { ...this.#chosen, ...part };
    this.#ask("misplaced");
  }

  #line(entry: Entry): HTMLElement {
    const { row, partner, said } = entry;
    const node = element("button", { type: "button", class: "answer" });
    node.dataset.row = String(row);
    if (this.#pictures) {
      node.append(this.#thumbs.make(row, SIDE));
      if (partner >= 0) node.append(this.#thumbs.make(partner, SIDE));
    } else node.append(element("strong", {}, this.#about.title(row)));
    node.append(element("span", {}, said));
    node.addEventListener("click", () => this.#open(entry));
    return element("li", {}, node);
  }

  #open({ row, partner }: Entry): void {
    this.#actions.choose(row);
    this.#actions.flyTo(partner >= 0 ? [row, partner] : [row]);
  }

  #listMore(): void {
    this.#listed += LISTED;
    this.#actions.redraw();
  }

  #selectAll(): void {
    const rows = this.#entries.flatMap(({ row, partner }) =>
      partner >= 0 ? [row, partner] : [row],
    );
    const all = Int32Array.from(new Set(rows)).sort();
    this.#actions.select(all);
    this.#actions.flyTo(all);
  }

  /** Up and down go through the list. */
  #step(event: KeyboardEvent): void {
    const step = event.key === "ArrowDown" ? 1 : event.key === "ArrowUp" ? -1 : 0;
    if (step === 0) return;
    const lines = [...this.#list.querySelectorAll<HTMLElement>("button")];
    const at = lines.indexOf(event.target as HTMLElement);
    lines[at + step]?.focus();
    event.preventDefault();
  }
}
