/** A saved page: hosts the views that it holds, as Jupyter would, without Python or a network. */

import { element } from "../shared/controls.ts";
import { type PageData, readPage } from "./data.ts";
import { linkModels } from "./links.ts";
import { PageModel } from "./model.ts";
import css from "./style.css";

interface Module {
  default: { render(given: Given): unknown };
}
interface Given {
  model: PageModel;
  el: HTMLElement;
  host: Host;
  signal: AbortSignal;
}
interface Host {
  getModel(ref: string): Promise<PageModel>;
  getWidget(
    ref: string,
  ): Promise<{ render(given: { el: HTMLElement; signal?: AbortSignal }): Promise<void> }>;
}

const REF = "anywidget:";

class Page {
  readonly #data: PageData;
  readonly #models: Map<string, PageModel>;
  /** modules by their place in the file: views of one kind share theirs */
  readonly #modules = new Map<number, Promise<Module>>();
  readonly #host: Host;

  constructor(data: PageData) {
    this.#data = data;
    this.#models = new Map(
      Object.entries(data.models).map(([id, model]) => [id, new PageModel(model)]),
    );
    linkModels(this.#models, data.links);
    this.#host = {
      getModel: async (ref) => this.#model(idOf(ref)),
      getWidget: async (ref) => ({
        render: ({ el, signal }) => this.#render(idOf(ref), el, signal),
      }),
    };
  }

  show(main: HTMLElement): void {
    const { title, items, left_out, version } = this.#data;
    main.replaceChildren(element("header", {}, element("h1", {}, title), themeButton()));
    for (const item of items) {
      if ("text" in item) main.append(element("p", { class: "text" }, item.text));
      else {
        const place = element("section");
        main.append(place);
        this.#render(item.model, place).catch((error) => fail(place, error));
      }
    }
    const missing = left_out.map((said) => element("li", {}, said));
    main.append(
      element(
        "footer",
        {},
        element(
          "p",
          {},
          `Made with nbviz ${version}. There is no Python behind this page: what was saved in it works, ` +
            "and what needs a kernel says so.",
        ),
        ...(missing.length > 0
          ? [element("p", {}, "Not in this page:"), element("ul", {}, ...missing)]
          : []),
      ),
    );
  }

  #model(id: string): PageModel {
    const model = this.#models.get(id);
    if (!model) throw new Error(`this page does not hold the view ${id}`);
    return model;
  }

  async #render(id: string, el: HTMLElement, signal?: AbortSignal): Promise<void> {
    const model = this.#model(id);
    const module = await this.#module(id);
    const ended = signal ?? new AbortController().signal;
    if (ended.aborted) return;
    const close = await module.default.render({ model, el, host: this.#host, signal: ended });
    if (typeof close === "function") ended.addEventListener("abort", () => close());
  }

  #module(id: string): Promise<Module> {
    const view = this.#data.models[id]?.module as DataView<ArrayBuffer>;
    const known = this.#modules.get(view.byteOffset);
    if (known) return known;
    const address = URL.createObjectURL(new Blob([view], { type: "text/javascript" }));
    const module: Promise<Module> = import(address);
    this.#modules.set(view.byteOffset, module);
    return module;
  }
}

function idOf(ref: string): string {
  if (!ref.startsWith(REF)) throw new Error(`expected a reference to a widget, got ${ref}`);
  return ref.slice(REF.length);
}

function fail(place: HTMLElement, error: unknown): void {
  place.replaceChildren(
    element("p", { class: "failed", role: "alert" }, `This view cannot be shown: ${error}`),
  );
}

/** Light and dark, beginning with what the system has; views follow the page's attribute. */
function themeButton(): HTMLButtonElement {
  const system = matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
  const button = element("button", { type: "button", class: "theme" });
  const set = (theme: string) => {
    document.documentElement.dataset.theme = theme;
    document.body.dataset.theme = theme;
    const other = theme === "dark" ? "light" : "dark";
    button.textContent = `${other[0]?.toUpperCase()}${other.slice(1)}`;
    button.setAttribute("aria-label", `Change to ${other} colours`);
  };
  button.addEventListener("click", () =>
    set(document.documentElement.dataset.theme === "dark" ? "light" : "dark"),
  );
  set(system);
  return button;
}

async function open(): Promise<void> {
  document.head.append(element("style", {}, css));
  const main = element("main", {}, element("p", {}, "Opening …"));
  document.body.append(main);
  try {
    const data = document.getElementById("nbviz-data");
    new Page(await readPage(data?.textContent ?? "")).show(main);
    data?.remove();
  } catch (error) {
    fail(main, `${error}. Try a newer browser, or the file is damaged.`);
  }
}

void open();
