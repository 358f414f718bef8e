/** What stands beside, or below, the map: legend, the chosen image, selection, questions, own pictures. */

import { element } from "../shared/controls.ts";
import type { View } from "../shared/view.ts";
import type { Requests } from "../shared/wire.ts";
import type { About, Links } from "./about.ts";
import type { Hands } from "./hands.ts";
import { ChosenPanel } from "./image-cards.ts";
import { Legend } from "./legend.ts";
import type { MapData } from "./map-data.ts";
import { OwnPictures } from "./own.ts";
import { Questions } from "./questions.ts";
import type { Scene } from "./scene.ts";
import { SelectionPanel } from "./selection.ts";
import type { Thumbs } from "./thumbs.ts";

export interface SideActions extends Hands {
  /** -1 for none */
  choose(row: number): void;
  /** an image is pointed at in a list, -1 for none: its neighbours show on the map */
  point(row: number): void;
  flyTo(rows: ArrayLike<number>): void;
  /** move so that this place is in view */
  visit(x: number, y: number): void;
  select(rows: Int32Array): void;
  /** let a category stand out for a moment; null ends it */
  emphasise(category: number | null): void;
}

export class Side {
  readonly node: HTMLElement;
  readonly #legend: Legend;
  readonly #chosen: ChosenPanel;
  readonly #selection: SelectionPanel;
  readonly #questions: Questions;
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
    this.#questions = new Questions(requests, about, thumbs, actions);
    this.#own = new OwnPictures(view, requests, thumbs, actions);
    const panels = element(
      "div",
      { class: "panels" },
      this.#legend.node,
      this.#selection.node,
      this.#questions.node,
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
    this.#own.show(pictures);
    return this.#own.placed;
  }

  /** `pictures`: whether any can be had. */
  show(chosen: number, links: Links | null, pictures: boolean, dark: boolean): void {
    const { colour, border, selected, facts } = this.#data;
    this.#legend.show(colour, border, dark);
    this.#chosen.show(chosen, links, pictures);
    this.#selection.show(selected, facts, pictures);
    this.#questions.show(facts, chosen, pictures);
  }

  #listen(signal: AbortSignal, { point }: SideActions): void {
    const pointed = ({ target }: Event) => {
      const { row } = (target as Element).closest<HTMLElement>("[data-row]")?.dataset ?? {};
      point(row === undefined ? -1 : Number(row));
    };
    this.node.addEventListener("pointerover", pointed, { signal });
    this.node.addEventListener("focusin", pointed, { signal });
    this.node.addEventListener("pointerleave", () => point(-1), { signal });
    this.node.addEventListener("focusout", () => point(-1), { signal });
  }
}
