/** A, B and A − B side by side on one scale, with what is under the pointer in numbers. */

import { element } from "../shared/controls.ts";
import type { Spot } from "./cells.ts";
import { scaleLegend } from "./legend.ts";
import { maskBox, nearestPosition } from "./map-data.ts";
import { SmallPane } from "./picture.ts";
import { amount, type Choices, type Reading, unitOf } from "./reading.ts";
import type { Face, ShownMaps } from "./shown-maps.ts";
import type { Side } from "./state.ts";

const FACES: Face[] = ["A", "B", "difference"];

export interface ComparedOver {
  picture: HTMLCanvasElement | null;
  opacity: number;
  spot: Spot | null;
}

export class ComparePanes {
  readonly node = element("section", { class: "compare", "aria-label": "Comparison", hidden: "" });
  readonly #panes: Record<Face, SmallPane>;
  readonly #row: HTMLElement;
  readonly #legend = element("div");
  readonly #readout = element("p", { class: "readout" });
  #maps: ShownMaps | null = null;

  constructor(signal: AbortSignal, hover: (face: Face, point: [number, number] | null) => void) {
    const pane = (face: Face) =>
      new SmallPane(
        signal,
        (down, across) => {
          const map = face === "A" ? this.#maps?.kept : this.#maps?.map;
          if (map) hover(face, [down * map.height, across * map.width]);
        },
        () => hover(face, null),
      );
    this.#panes = { A: pane("A"), B: pane("B"), difference: pane("difference") };
    this.#row = element("div", { class: "panes" }, ...FACES.map((face) => this.#panes[face].node));
    this.node.append(this.#row, this.#legend, this.#readout);
  }

  show(maps: ShownMaps, side: Side, choices: Choices, over: ComparedOver): void {
    this.#maps = maps;
    const faces = maps.faces(side);
    const { picture, opacity, spot } = over;
    this.node.hidden = faces.length < 2 || !picture;
    if (this.node.hidden || !picture || !maps.views) return;
    const apart = choices.show !== "most probable";
    this.#panes.difference.node.hidden = !apart;
    const beside = apart ? 3 : 2;
    const room = this.#row.clientWidth || 600;
    const each = Math.floor(Math.max(100, Math.min(300, (room - 12 * (beside - 1)) / beside)));
    const titles: Record<Face, string> = {
      A: `A: ${maps.kept?.fields.title ?? ""}`,
      B: maps.map ? `B: ${maps.map.fields.title}` : "B: press Full map",
      difference: "A − B",
    };
    for (const face of FACES) {
      const layer = maps.layerOf(face);
      const cell = spot && layer?.reading ? cellOf(layer.reading, spot) : -1;
      this.#panes[face].show(titles[face], picture, layer && { ...layer, opacity, cell }, each);
    }
    const { range, differenceRange, A, B } = maps.views;
    this.#legend.replaceChildren(
      ...(apart
        ? [
            scaleLegend(range, choices, false, Number.NaN, "the target"),
            scaleLegend(differenceRange, choices, true, Number.NaN, ""),
          ]
        : []),
    );
    const other =
      maps.map && maps.kept && maps.map.fields.picture_id !== maps.kept.fields.picture_id;
    const read = spot && apart ? readout(A, B, spot, choices) : "Point at a map to read it.";
    this.#readout.textContent =
      (other ? "A is of another picture than the one shown. " : "") + read;
  }
}

/** The cell of a map that is nearest to a mask of another. */
function cellOf({ map }: Reading, spot: Spot): number {
  if (map === spot.map) return spot.position;
  const [top, left, bottom, right] = maskBox(spot.map, spot.position);
  const down = map.height / spot.map.height;
  const across = map.width / spot.map.width;
  return nearestPosition(map, ((top + bottom) / 2) * down, ((left + right) / 2) * across);
}

function readout(a: Reading | null, b: Reading | null, spot: Spot, choices: Choices): string {
  const value = (reading: Reading | null) => {
    if (!reading) return Number.NaN;
    const from = reading.map.standIn[cellOf(reading, spot)] as number;
    return from < 0 ? Number.NaN : (reading.values[from] as number);
  };
  const [top, left, bottom, right] = maskBox(spot.map, spot.position);
  const unit = unitOf(choices);
  const signed = choices.scale.endsWith("drop") && choices.show === "confidence";
  const numbers = [
    `A ${amount(value(a), unit, signed)}`,
    `B ${amount(value(b), unit, signed)}`,
    `A − B ${amount(value(a) - value(b), unitOf(choices, true), true)}`,
  ];
  return `Middle at row ${(top + bottom) / 2}, column ${(left + right) / 2}: ${numbers.join(", ")}`;
}
