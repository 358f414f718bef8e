/** One pane: its heading with what moves and closes it, and the view in it or why there is none. */

import { button, element, rebuild, svg } from "../shared/controls.ts";
import type { Host, Lacking } from "./state.ts";

export interface Hands {
  move(name: string, by: -1 | 1): void;
  close(name: string): void;
  announce(text: string): void;
}

export class Pane {
  readonly node: HTMLElement;
  /** one height of content, without what the grid makes of it */
  readonly content: HTMLElement;
  readonly #host: Host | undefined;
  readonly #title: string;
  readonly #slot = element("div", { class: "slot" });
  readonly #note = element("div", { class: "lacking", hidden: "" });
  readonly #left: HTMLButtonElement;
  readonly #right: HTMLButtonElement;
  readonly #full: HTMLButtonElement;
  /** of the view that is in it now */
  #reference = "";
  #shown: AbortController | null = null;

  constructor(name: string, title: string, host: Host | undefined, hands: Hands) {
    this.#host = host;
    this.#title = title;
    const move = (by: -1 | 1, focus: () => HTMLElement) => () => {
      hands.move(name, by);
      focus().focus();
    };
    this.#left = button(
      "←",
      `Move ${title} to the left, or up`,
      move(-1, () => (this.#left.disabled ? this.#right : this.#left)),
      "button flat move",
    );
    this.#right = button(
      "→",
      `Move ${title} to the right, or down`,
      move(1, () => (this.#right.disabled ? this.#left : this.#right)),
      "button flat move",
    );
    this.#full = button("", "", () => this.#toggleFull(hands), "button flat");
    // No font has a sign for it everywhere.
    const corners = "M1 5V1h4M9 1h4v4M13 9v4H9M5 13H1V9";
    this.#full.append(
      svg("svg", { viewBox: "0 0 14 14", "aria-hidden": "true" }, svg("path", { d: corners })),
    );
    const close = button("✕", `Close ${title}`, () => hands.close(name), "button flat");
    const header = element(
      "header",
      { class: "heading" },
      element("h3", {}, title),
      element("div", { class: "hands" }, this.#left, this.#right, this.#full, close),
    );
    this.content = element("div", { class: "content" }, header, this.#note, this.#slot);
    this.node = element("section", { class: "pane", "aria-label": title }, this.content);
    this.node.dataset.pane = name;
    this.showFull();
  }

  /** Whether it can be moved to either side, and what is in it. */
  show(first: boolean, last: boolean, reference: string, lacking: Lacking | undefined): void {
    this.#left.disabled = first;
    this.#right.disabled = last;
    const key = JSON.stringify([lacking ?? null, reference === ""]);
    rebuild(this.#note, key, () => this.#said(lacking, reference));
    this.#note.hidden = this.#note.childNodes.length === 0;
    if (reference !== this.#reference) {
      this.#reference = reference;
      this.#end();
      if (reference) void this.#embed(reference);
    }
  }

  /** Say on the button what it does now. */
  showFull(): void {
    const full = this.#isFull();
    const label = full ? "Leave full screen (Esc)" : `${this.#title} in full screen`;
    this.#full.title = label;
    this.#full.setAttribute("aria-label", label);
    this.#full.setAttribute("aria-pressed", String(full));
    this.#full.disabled = !document.fullscreenEnabled;
  }

  /** End the view in it, and leave the page. */
  remove(): void {
    if (this.#isFull()) void document.exitFullscreen();
    this.#end();
    this.#reference = "";
    this.node.remove();
  }

  #said(lacking: Lacking | undefined, reference: string): HTMLElement[] {
    if (!lacking) return reference ? [] : [element("p", {}, "Waiting for Python …")];
    const text = element("p", {}, lacking.text);
    return lacking.code ? [text, element("code", {}, lacking.code)] : [text];
  }

  #end(): void {
    this.#shown?.abort();
    this.#shown = null;
    this.#slot.replaceChildren();
  }

  async #embed(reference: string): Promise<void> {
    const controller = new AbortController();
    this.#shown = controller;
    // A view makes a shadow root on the element that it gets, which no other view could use.
    const el = element("div");
    this.#slot.replaceChildren(el);
    try {
      if (!this.#host) {
        throw new Error(
          "This page cannot show a view within another. It needs anywidget 0.11 or newer; here, show the panes in cells of their own, as in explorer.filters",
        );
      }
      const child = await this.#host.getWidget(reference);
      if (controller.signal.aborted) return;
      await child.render({ el, signal: controller.signal });
    } catch (error) {
      if (controller.signal.aborted) return;
      const said = error instanceof Error ? error.message : String(error);
      el.replaceChildren(element("p", { class: "problem", role: "alert" }, said));
    }
  }

  #isFull(): boolean {
    return (this.node.getRootNode() as ShadowRoot).fullscreenElement === this.node;
  }

  #toggleFull(hands: Hands): void {
    const way = this.#isFull() ? document.exitFullscreen() : this.node.requestFullscreen();
    way.catch(() => hands.announce("Full screen is not allowed on this page"));
  }
}
