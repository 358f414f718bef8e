/** Maps A and B as they are to be shown, worked out anew only where something changed. */

import type { Answer } from "../shared/wire.ts";
import { categoriesOf } from "./classes.ts";
import type { Field } from "./field.ts";
import { decodeMap, type MapData } from "./map-data.ts";
import type { Colours } from "./paint.ts";
import {
  type Choices,
  lacking,
  panesOf,
  type Reading,
  read,
  type Views,
  viewsOf,
} from "./reading.ts";
import { isThere, type MapState, type Side } from "./state.ts";

type Given = MapState | Record<string, never>;
export type Face = "A" | "B" | "difference";

export class ShownMaps {
  /** what is being compared with; null for nothing */
  kept: MapData | null = null;
  views: Views | null = null;
  /** why B is not to be seen although there is a map; "" where it is */
  lacking = "";
  #map: MapData | null = null;
  #partial: MapData | null = null;
  #mapState: Given | null = null;
  #keptState: Given | null = null;
  #key: unknown[] = [];

  /** the newest map, whole or partial; null before there is one */
  get map(): MapData | null {
    return this.#partial ?? this.#map;
  }

  takePartial(answer: Answer): void {
    const { fields, arrays } = answer;
    this.#partial = decodeMap({ fields: fields.map as Answer["fields"], arrays });
  }

  take(map: Given, kept: Given): void {
    if (map !== this.#mapState) {
      this.#mapState = map;
      this.#map = isThere(map) ? decodeMap(map) : null;
      this.#partial = null;
    }
    if (kept !== this.#keptState) {
      this.#keptState = kept;
      this.kept = isThere(kept) ? decodeMap(kept) : null;
    }
  }

  /** `fits`: B is of the picture on show. */
  work(target: number, choices: Choices, fits: boolean): void {
    const map = fits ? this.map : null;
    const key = [map, this.kept, target, ...Object.values(choices)];
    if (key.every((part, i) => part === this.#key[i])) return;
    this.#key = key;
    const { kept } = this;
    const maps = [map, kept].filter((one) => one !== null);
    const categories = choices.show === "most probable" ? categoriesOf(maps, target) : [];
    const b = map && read(map, target, choices, categories);
    // Two targets can be compared where nothing else differs: A keeps its own.
    const a = kept && read(kept, kept.fields.target.number, choices, categories);
    this.lacking = map && !b ? lacking(map, target, choices) : "";
    this.views = maps.length > 0 ? viewsOf(a, b, choices) : null;
  }

  faces(side: Side): Face[] {
    return panesOf(side, this.kept !== null);
  }

  /** What lies over a picture for a face; null where there is nothing. */
  layerOf(face: Face): { field: Field; reading: Reading | null; colours: Colours } | null {
    const { views } = this;
    if (!views) return null;
    if (face === "difference") {
      const field = views.difference;
      return field && { field, reading: null, colours: { range: views.differenceRange, base: 0 } };
    }
    const reading = views[face];
    if (!reading) return null;
    const palette = reading.classes?.categories.map(({ colour }) => colour);
    return {
      field: reading.field,
      reading,
      colours: palette ? { palette } : { range: views.range, base: reading.base },
    };
  }
}
