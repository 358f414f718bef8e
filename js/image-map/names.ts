/** Names on the map: elements that only ever move, so that no text is drawn anew as the map does. */

import { element } from "../shared/controls.ts";
import type { Scene } from "./scene.ts";
import { type Projection, toScreen } from "./viewpoint.ts";

/** CSS pixels that are left between two names. */
const GAP = 2;

interface Label {
  node: HTMLElement;
  x: number;
  y: number;
  width: number;
  height: number;
}

/** Left, top, right, bottom. */
type Box = [number, number, number, number];

export class Names {
  readonly node = element("div", { class: "map-names", "aria-hidden": "true" });
  #names: Scene["names"] = [];
  #labels: Label[] = [];

  /** Put names where they belong; one that would lie upon a larger class's moves a little, or waits. */
  show(names: Scene["names"], view: Projection): void {
    if (names !== this.#names) this.#make(names);
    const taken: Box[] = [];
    for (const { node, x, y, width, height } of this.#labels) {
      const at = toScreen(view, x, y);
      const inside = at.x > 0 && at.y > 0 && at.x < view.width && at.y < view.height;
      const box = inside ? freeBox(at, [width, height], view, taken) : null;
      node.style.visibility = box ? "" : "hidden";
      if (!box) continue;
      taken.push(box);
      node.style.transform = `translate(${Math.round(box[0])}px, ${Math.round(box[1])}px)`;
    }
  }

  #make(names: Scene["names"]): void {
    this.#names = names;
    const nodes = names.map(({ text, ink }) => {
      const node = element("span", {}, text);
      node.style.borderColor = ink || "transparent";
      return node;
    });
    this.node.replaceChildren(...nodes);
    this.#labels = names.map(({ x, y }, i) => {
      const node = nodes[i] as HTMLElement;
      return { node, x, y, width: node.offsetWidth, height: node.offsetHeight };
    });
  }
}

/** Where a name of this size has room in view: round its place, else right above or below it. */
export function freeBox(
  at: { x: number; y: number },
  [width, height]: [number, number],
  room: { width: number; height: number },
  taken: Box[],
): Box | null {
  const left = Math.max(0, Math.min(room.width - width, at.x - width / 2));
  for (const lines of [0, -1, 1]) {
    const top = at.y - height / 2 + lines * (height + GAP);
    const box: Box = [left, top, left + width, top + height];
    if (!taken.some((other) => meet(box, other))) return box;
  }
  return null;
}

function meet(a: Box, b: Box): boolean {
  return a[0] < b[2] + GAP && a[2] > b[0] - GAP && a[1] < b[3] + GAP && a[3] > b[1] - GAP;
}
