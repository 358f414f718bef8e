/** What stands beside, or below, the map: legend, the chosen image, selection, questions, own pictures. */

import type { QuestionsPart } from "../map-questions/part.ts";
import { element } from "../shared/controls.ts";
import { fetchPart } from "../shared/parts.ts";
import type { View } from "../shared/view.ts";
import type { Requests } from "../shared/wire.ts";
import type { About, Links } from "./about.ts";
import type { Hands } from "./hands.ts";
import { ChosenPanel } from "./image-cards.ts";
import { Legend } from "./legend.ts";
import type { MapData, Seams } from "./map-data.ts";
import { OwnPictures } from "./own.ts";
import type { Scene } from "./scene.ts";
import { SelectionPanel } from "./selection.ts";
import type { Thumbs } from "./thumbs.ts";

export interface SideActions extends Hands {
  /** -1 for none */
  choose(row: number): void;
  /** an image is pointed at in a list, -1 for none: its neighbours show on the map */
  point(row: number): void;
  /** the same of a picture of one's own */
  pointOwn(own: number): void;
  flyTo(rows: ArrayLike<number>): void;
  /** move so that this place is in view */
  visit(x: number, y: number): void;
  select(rows: Int32Array): void;
  /** let a category stand out for a moment; null ends it */
  emphasise(category: number | null): void;
}

export interface Showing {
  /** whether any can be had */
  pictures: boolean;
  dark: boolean;
  /** those that are drawn */
  seams: Seams | null;
  /** why Python does not answer; empty where it does */
  silence: string;
}

export class Side {
  readonly node: HTMLElement;
  readonly #legend: Legend;
  readonly #chosen: ChosenPanel;
  readonly #selection: SelectionPanel;
  /** null until Python gave them */
  #questions: ReturnType<QuestionsPart["openQuestions"]> | null = null;
  /** why there are none, in their place */
  readonly #none = element("section", { class: "section soft" });
  readonly #own: OwnPictures;

  readonly #data: MapData;

  constructor(
    view: View,
    requests: Requests,
    data: MapData,
    { about, thumbs }: { about: About; thumbs: Thumbs },
    actions: SideActions,
  ) {
    this.#data = data;
    this.#legend = new Legend(view.signal, actions);
    this.#chosen = new ChosenPanel(about, thumbs, {
      ...actions,
      unchoose: () => actions.choose(-1),
    });
    this.#selection = new SelectionPanel(thumbs, {
      ...actions,
      clear: () => actions.select(new Int32Array()),
    });
    this.#own = new OwnPictures(requests, thumbs, actions);
    fetchPart<QuestionsPart>(
      requests,
      "map-questions",
      ({ openQuestions, openFiles }) => {
        this.#questions = openQuestions(requests, about, thumbs, actions);
        this.#none.replaceWith(this.#questions.node);
        this.#own.takeFiles(openFiles(view, requests, this.#own.fileActions));
        actions.redraw();
      },
      actions.failed,
    );
    const panels = element(
      "div",
      { class: "panels" },
      this.#legend.node,
      this.#selection.node,
      this.#none,
      this.#own.node,
    );
    this.node = element(
      "aside",
      { class: "aside", "aria-label": "Legend, images and questions" },
      this.#chosen.node,
      panels,
    );
    this.#listen(view.signal, actions);
  }

  /** Pictures of one's own, for the stage. */
  own(pictures: boolean): Scene["own"] {
    this.#own.show(this.#data.layouts.map, pictures);
    return this.#own.placed;
  }

  /** Neighbours of a picture of one's own on the layout "map"; null where there is none. */
  ownLinks(own: number): Links | null {
    const { map } = this.#data.layouts;
    return (map && this.#own.links(map)[own]) ?? null;
  }

  show(chosen: number, links: Links | null, showing: Showing): void {
    const { pictures, dark, seams, silence } = showing;
    const { colour, border, selected, facts } = this.#data;
    this.#legend.show(colour, border, seams, dark);
    this.#chosen.show(chosen, links, pictures);
    this.#selection.show(selected, facts, pictures);
    this.#questions?.show(facts, chosen, pictures, silence);
    this.#none.textContent = silence && `Questions, and pictures of your own: ${silence}`;
    this.#none.hidden = silence === "";
  }

  #listen(signal: AbortSignal, { point, pointOwn }: SideActions): void {
    const pointed = ({ target }: Event) => {
      const data = (name: string) =>
        (target as Element).closest<HTMLElement>(`[data-${name}]`)?.dataset[name];
      const [row, own] = [data("row"), data("own")];
      if (row === undefined && own !== undefined) pointOwn(Number(own));
      else point(Number(row ?? -1));
    };
    // Only where the pointer itself moved: a list may move under it.
    let at = "";
    const moved = (event: PointerEvent) => {
      const now = `${event.clientX} ${event.clientY}`;
      if (now !== at && event.type !== "pointerdown") pointed(event);
      at = now;
    };
    this.node.addEventListener("pointerdown", moved, { signal });
    this.node.addEventListener("pointerover", moved, { signal });
    this.node.addEventListener("pointermove", moved, { signal });
    this.node.addEventListener("focusin", pointed, { signal });
    this.node.addEventListener("pointerleave", () => point(-1), { signal });
    this.node.addEventListener("focusout", () => point(-1), { signal });
  }
}
