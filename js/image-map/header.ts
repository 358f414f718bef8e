/** What the map is, how far it has come and how far to trust it. */

import { button, element, rebuild } from "../shared/controls.ts";
import { counted, type Hands } from "./hands.ts";
import type { MapData } from "./map-data.ts";
import type { Progress } from "./progress.ts";
import type { TrustState } from "./state.ts";

/** What the measures mean, for whoever asks. */
const EXPLAINED: [string, string][] = [
  [
    "Trustworthiness",
    "whether images that lie close together on the map are close for the network, too. 1: always.",
  ],
  [
    "Continuity",
    "whether images that are close for the network stay close on the map. 1: none was torn away.",
  ],
  ["Kept", "of the nearest images in feature space, how many are among the nearest on the map."],
  [
    "Not to be read",
    "how far groups lie from each other, and how large they are: a t-SNE or UMAP map keeps neither.",
  ],
];

export interface HeaderActions extends Pick<Hands, "get" | "set"> {
  fullScreen(): void;
  help(): void;
}

/** "Trustworthiness 0.97 · continuity 0.95 · 63 % of 10 neighbours kept" */
export function trustFigures(trust: TrustState): string {
  const { trustworthiness, continuity, preserved, neighbours } = trust;
  const figures: string[] = [];
  if (trustworthiness !== null) figures.push(`trustworthiness ${hundredths(trustworthiness)}`);
  if (continuity !== null) figures.push(`continuity ${hundredths(continuity)}`);
  if (preserved !== null) {
    const percent = Math.round(100 * Number(hundredths(preserved)));
    figures.push(`${percent} % of ${counted(neighbours, "neighbour")} kept`);
  }
  const text = figures.join(" · ");
  return text ? (text[0] as string).toUpperCase() + text.slice(1) : "How far to trust it";
}

/** Two decimals; 1.00 is for what is perfect. */
function hundredths(value: number): string {
  return (value < 1 ? Math.min(value, 0.99) : value).toFixed(2);
}

export class Header {
  readonly node: HTMLElement;
  readonly #headline = element("p", { class: "headline" });
  /** a quiet line for the stage: nothing on the page moves for it */
  readonly status = element("p", { class: "status", role: "status", hidden: "" });
  readonly #bar = element("progress", { "aria-label": "Map being computed" });
  readonly #step = element("span", {});
  readonly #stop: HTMLButtonElement;
  readonly #screen: HTMLButtonElement;
  readonly #progress: HTMLElement;
  readonly #figures: HTMLButtonElement;
  readonly #explained = element("div", { class: "explained", hidden: "" });
  readonly #notes = element("details", { class: "notes soft", hidden: "" });
  #act = () => {};

  readonly #actions: HeaderActions;

  constructor(actions: HeaderActions) {
    this.#actions = actions;
    this.#stop = button("Stop", "", () => this.#act());
    this.#screen = button(
      "Full screen",
      "Fill the screen with the map, and back",
      actions.fullScreen,
      "button full-screen",
    );
    this.#figures = element("button", {
      type: "button",
      class: "figures",
      "aria-expanded": "false",
      title: "How far to trust this map",
    });
    this.#figures.addEventListener("click", () => {
      this.#explained.hidden = !this.#explained.hidden;
      this.#figures.ariaExpanded = String(!this.#explained.hidden);
    });
    this.#progress = element("div", { class: "progress" }, this.#bar, this.#step, this.#stop);
    this.node = element(
      "div",
      { class: "top" },
      element(
        "div",
        { class: "head" },
        this.#headline,
        this.#figures,
        this.#progress,
        element(
          "div",
          { class: "control corner" },
          this.#screen,
          button("?", "Keys", actions.help),
        ),
      ),
      this.#explained,
      this.#notes,
    );
  }

  say(text: string): void {
    if (this.status.textContent !== text) this.status.textContent = text;
    this.status.hidden = text === "";
  }

  show(data: MapData, progress: Progress): void {
    const { count, method } = data;
    rebuild(this.#headline, `${count} ${method}`, () => [
      element("strong", {}, count > 0 ? counted(count, "image") : "Image map"),
      ...(method ? [` ${method}`] : []),
    ]);
    const full = (this.node.getRootNode() as ShadowRoot).fullscreenElement !== null;
    const label = full ? "Leave full screen" : "Full screen";
    if (this.#screen.textContent !== label)
      this.#screen.textContent = this.#screen.ariaLabel = label;
    this.#showProgress(progress, count > 0);
    this.#showTrust();
    this.#showNotes();
  }

  #showProgress(progress: Progress, known: boolean): void {
    const { finished, stopped, iteration, total, sentence } = progress.state;
    this.#progress.hidden = finished;
    if (finished) return;
    if (total > 0) {
      this.#bar.max = total;
      this.#bar.value = iteration;
    } else this.#bar.removeAttribute("value");
    this.#bar.hidden = !progress.moving || progress.failed;
    const text = sentence || (known ? "" : "Waiting for Python …");
    if (this.#step.textContent !== text) this.#step.textContent = text;
    const halted = stopped || progress.failed;
    const label = halted ? "Go on" : "Stop";
    this.#act = () => (halted ? progress.resume() : progress.stop());
    if (this.#stop.textContent !== label) {
      this.#stop.textContent = this.#stop.ariaLabel = label;
      this.#stop.title = halted ? "Compute the map further" : "Keep the map as it is now";
    }
    this.#stop.hidden = !halted && (total === 0 || !progress.moving);
  }

  #showTrust(): void {
    const trust = this.#actions.get("trust") as TrustState;
    const known = typeof trust.sentence === "string";
    this.#figures.hidden = !known;
    if (!known) {
      this.#explained.hidden = true;
      return;
    }
    const figures = trustFigures(trust);
    if (this.#figures.textContent !== figures) this.#figures.textContent = figures;
    rebuild(this.#explained, JSON.stringify(trust), () => [
      element("p", {}, trust.sentence),
      element(
        "dl",
        {},
        ...EXPLAINED.flatMap(([name, means]) => [
          element("dt", {}, name),
          element("dd", {}, means),
        ]),
      ),
      element("div", { class: "control" }, ...this.#ways()),
    ]);
  }

  /** Ways to see on the map where not to trust it. */
  #ways(): HTMLElement[] {
    const { get, set } = this.#actions;
    const layer = get("layers").find(({ name }) => name === "trust");
    const colour = () => set({ colour: "trust", hidden: [], range: [] });
    return [
      ...(layer ? [button("Colour by trust", "Where the map is to be trusted", colour)] : []),
      button(
        "Show seams",
        "Lines between neighbours on the map that are unlike for the network",
        () => set({ seams: true }),
      ),
    ];
  }

  #showNotes(): void {
    const notes = [this.#actions.get("missing"), ...this.#actions.get("notes")].filter(Boolean);
    this.#notes.hidden = notes.length === 0;
    rebuild(this.#notes, JSON.stringify(notes), () => {
      const [first = "", ...rest] = notes;
      const more = rest.length > 0 ? ` (${rest.length} more)` : "";
      this.#notes.classList.toggle("single", rest.length === 0);
      return [element("summary", {}, first + more), ...rest.map((note) => element("p", {}, note))];
    });
  }
}
