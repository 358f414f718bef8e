/** The view of `nbviz.Explorer`: panes that hold other views, to open, move and close. */

import type { AnyModel } from "@anywidget/types";
import choices from "../shared/choices.css";
import { button, element, rebuild } from "../shared/controls.ts";
import { listen, openView, type View } from "../shared/view.ts";
import { sayLink } from "../shared/wire.ts";
import { chosenOf, columnsFor, moved, placesOf, toggled } from "./layout.ts";
import { Pane } from "./pane.ts";
import type { Host, Model, State } from "./state.ts";
import css from "./style.css";

const COLUMNS = ["auto", "1", "2", "3"];
const TRAITS = ["panes", "columns", "titles", "children", "lacking", "chosen", "problem"];
const NUMBERS = ["layer", "channel", "unit", "image"];

class ExplorerView {
  readonly #model: Model;
  readonly #host: Host | undefined;
  readonly #view: View;
  readonly #chips = element("div", { class: "chips", role: "group", "aria-label": "Panes" });
  readonly #columns = element("div", {
    class: "control choices",
    role: "group",
    "aria-label": "Columns",
  });
  readonly #chosen = element("dl", { class: "chosen", "aria-label": "Chosen in all panes" });
  readonly #grid = element("div", { class: "panes" });
  readonly #none = element("p", { class: "none", hidden: "" }, "All panes are closed.");
  readonly #open = new Map<string, Pane>();
  readonly #sizes: ResizeObserver;

  constructor(model: AnyModel<object>, el: HTMLElement, host: Host | undefined) {
    this.#model = model as unknown as Model;
    this.#host = host;
    this.#view = openView(el, "explorer", choices + css, () => this.#draw());
    const { signal } = this.#view;
    sayLink(model as never);
    this.#view.body.append(
      element("div", { class: "bar" }, this.#chips, this.#columnsControl()),
      this.#chosen,
      this.#none,
      this.#grid,
    );
    this.#sizes = new ResizeObserver(() => this.#place());
    signal.addEventListener("abort", () => {
      this.#sizes.disconnect();
      for (const pane of this.#open.values()) pane.remove();
      this.#open.clear();
    });
    document.addEventListener(
      "fullscreenchange",
      () => {
        for (const pane of this.#open.values()) pane.showFull();
        this.#view.redraw();
      },
      { signal },
    );
    const events = [...TRAITS, ...NUMBERS].map((name) => `change:${name}`);
    listen(model as never, events, signal, () => this.#view.redraw());
    this.#view.redraw();
  }

  close(): void {
    this.#view.close();
  }

  #set<K extends keyof State>(name: K, value: State[K]): void {
    this.#model.set(name, value);
    this.#model.save_changes();
    this.#view.redraw();
  }

  #columnsControl(): HTMLElement {
    const buttons = COLUMNS.map((label, columns) => {
      const said = columns ? `${label} ${columns > 1 ? "columns" : "column"}` : "As many as fit";
      return button(label, said, () => this.#set("columns", columns), "button choice");
    });
    this.#columns.append(...buttons);
    return element("div", { class: "control" }, element("span", {}, "Columns"), this.#columns);
  }

  #draw(): void {
    const panes = this.#model.get("panes");
    this.#view.problem("python", this.#model.get("problem"));
    this.#showChips(panes);
    [...this.#columns.children].forEach((node, columns) => {
      node.setAttribute("aria-pressed", String(columns === this.#model.get("columns")));
    });
    this.#showChosen();
    this.#showPanes(panes);
    this.#none.hidden = panes.length > 0;
    this.#place();
  }

  #showChips(panes: string[]): void {
    const titles = this.#model.get("titles");
    const names = Object.keys(titles);
    rebuild(this.#chips, JSON.stringify(titles), () =>
      names.map((name) => {
        const title = titles[name] as string;
        const node = button(title, title, () => this.#toggle(name), "button chip");
        node.dataset.pane = name;
        return node;
      }),
    );
    for (const node of this.#chips.children as HTMLCollectionOf<HTMLElement>) {
      const open = panes.includes(node.dataset.pane ?? "");
      node.setAttribute("aria-pressed", String(open));
      node.title = open ? `Close ${node.textContent}` : `Open ${node.textContent}`;
    }
  }

  /** What Python says of it; without Python the numbers. */
  #showChosen(): void {
    const told = this.#model.get("chosen");
    const get = <K extends keyof State>(name: K) => this.#model.get(name);
    const [layer, channel, unit, image] = [get("layer"), get("channel"), get("unit"), get("image")];
    const chosen = told.length > 0 ? told : chosenOf({ layer, channel, unit, image });
    rebuild(this.#chosen, JSON.stringify(chosen), () =>
      chosen.map(([what, which]) =>
        element("div", {}, element("dt", {}, what), element("dd", {}, which)),
      ),
    );
  }

  #showPanes(panes: string[]): void {
    const titles = this.#model.get("titles");
    const [children, lacking] = [this.#model.get("children"), this.#model.get("lacking")];
    for (const [name, pane] of this.#open) {
      if (panes.includes(name)) continue;
      this.#sizes.unobserve(pane.content);
      pane.remove();
      this.#open.delete(name);
    }
    panes.forEach((name, at) => {
      let pane = this.#open.get(name);
      if (!pane) {
        pane = new Pane(name, titles[name] ?? name, this.#host, {
          move: (which, by) => this.#move(which, by),
          close: (which) => this.#toggle(which),
          announce: (text) => this.#view.announce(text),
        });
        this.#open.set(name, pane);
        this.#sizes.observe(pane.content);
      }
      if (this.#grid.children[at] !== pane.node) insert(this.#grid, pane.node, at);
      const last = at === panes.length - 1;
      pane.show(at === 0, last, children[name] ?? "", lacking[name]);
    });
  }

  /** Panes stand where the layout says; their order on the page is the order that Tab goes. */
  #place(): void {
    const nodes = [...this.#grid.children] as HTMLElement[];
    const columns = columnsFor(this.#grid.clientWidth, this.#model.get("columns"), nodes.length);
    this.#grid.style.setProperty("--columns", String(columns));
    this.#grid.dataset.columns = String(columns);
    const heights = nodes.map((node) => node.offsetHeight);
    placesOf(heights, columns).forEach(({ column, row, span }, i) => {
      const area = `${row} / ${column} / span ${span} / auto`;
      const { style } = nodes[i] as HTMLElement;
      if (style.gridArea !== area) style.gridArea = area;
    });
  }

  #toggle(name: string): void {
    const panes = toggled(this.#model.get("panes"), name);
    const title = this.#model.get("titles")[name] ?? name;
    this.#view.announce(`${title} ${panes.includes(name) ? "opened" : "closed"}`);
    // What has the focus goes away with its pane: its chip opens it again.
    const chip = [...this.#chips.children].find(
      (node) => (node as HTMLElement).dataset.pane === name,
    );
    (chip as HTMLElement | undefined)?.focus();
    this.#set("panes", panes);
  }

  #move(name: string, by: -1 | 1): void {
    const panes = moved(this.#model.get("panes"), name, by);
    const title = this.#model.get("titles")[name] ?? name;
    this.#view.announce(`${title} is now pane ${panes.indexOf(name) + 1} of ${panes.length}`);
    this.#set("panes", panes);
    this.#draw(); // now, so that the button that was pressed can have the focus again
  }
}

/** Put a node at a place; where the browser can, without ending what scrolls or plays in it. */
function insert(parent: HTMLElement, node: HTMLElement, at: number): void {
  const before = parent.children[at] ?? null;
  const mover = parent as { moveBefore?: (node: Node, before: Node | null) => void };
  if (node.parentNode === parent && mover.moveBefore) mover.moveBefore(node, before);
  else parent.insertBefore(node, before);
}

interface Rendered {
  model: AnyModel<object>;
  el: HTMLElement;
  host?: Host;
}

const render = ({ model, el, host }: Rendered) => {
  const view = new ExplorerView(model, el, host);
  return () => view.close();
};

export default { render };
