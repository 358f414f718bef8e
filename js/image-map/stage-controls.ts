/** What lies on the stage: nearer, farther, all of it, and the small map of where one is. */

import { button, element } from "../shared/controls.ts";
import type { Viewpoint } from "./scene.ts";

/** The part of the stage that is needed here. */
interface Looking {
  readonly viewpoint: Viewpoint;
  look(viewpoint: Viewpoint | null): void;
  readonly minimap: HTMLElement;
}

const STEP = 1.6;

export class StageControls {
  readonly node: HTMLElement;
  readonly #corner: HTMLElement;

  readonly #stage: Looking;

  constructor(stage: Looking) {
    this.#stage = stage;
    this.#corner = element("div", { class: "minimap-corner", hidden: "" }, stage.minimap);
    this.node = element(
      "div",
      { class: "over" },
      element(
        "div",
        { class: "zooms", role: "group", "aria-label": "Zoom" },
        button("+", "Nearer (+)", () => this.#zoom(STEP)),
        button("−", "Farther (−)", () => this.#zoom(1 / STEP)),
        button("All", "All of the map (0)", () => stage.look(null)),
      ),
      this.#corner,
    );
  }

  /** The small map helps only where not all is in view. */
  show(): void {
    this.#corner.hidden = this.#stage.viewpoint.zoom < 1.3;
  }

  #zoom(by: number): void {
    const { x, y, zoom } = this.#stage.viewpoint;
    const next = Math.max(1, zoom * by);
    this.#stage.look(next === 1 ? null : { x, y, zoom: next });
  }
}
