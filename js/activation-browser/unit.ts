/** The line of the chosen unit: where it is, how one came to it, and what can be done with it. */

import { button, element, rebuild } from "../shared/controls.ts";
import type { Maps } from "./maps.ts";
import type { LayerEntry, Place, State } from "./state.ts";

export interface UnitActions {
  get<K extends keyof State>(name: K): State[K];
  set(values: Partial<State>): void;
  togglePin(): void;
  toggleOrigin(): void;
}

export class Unit {
  readonly node = element("div", { class: "unit" });

  readonly #actions: UnitActions;

  constructor(actions: UnitActions) {
    this.#actions = actions;
  }

  show(maps: Maps, entry: LayerEntry | null, unit: [number, number] | null): void {
    const { get } = this.#actions;
    const channel = get("channel");
    const origin = get("origin");
    const trail = get("trail");
    const pinned = get("pinned").some(
      ([layer, pin]) => layer === maps.state.layer && pin === channel,
    );
    this.node.hidden = channel < 0;
    const key = JSON.stringify([
      maps.state.layer,
      maps.state.kind,
      channel,
      unit,
      origin,
      trail,
      pinned,
    ]);
    rebuild(this.node, key, () => [
      ...this.#crumbs(trail, maps.state.layer, channel, unit),
      ...(maps.state.kind === "maps"
        ? [
            button(
              pinned ? "Unpin channel" : "Pin channel",
              "Keep this channel on show when layer and picture change (p)",
              () => this.#actions.togglePin(),
            ),
          ]
        : []),
      ...this.#originControls(origin, unit, entry),
    ]);
  }

  #crumbs(trail: Place[], layer: string, channel: number, unit: [number, number] | null): Node[] {
    const name = (place: { layer: string; channel: number; unit: number[] }) =>
      `${place.layer} ${place.channel}${place.unit.length === 2 ? ` (${place.unit.join(", ")})` : ""}`;
    const back = trail.map((place, i) => {
      const node = button(name(place), `Back to ${name(place)}`, () =>
        this.#actions.set({ ...place, trail: trail.slice(0, i) }),
      );
      return element("span", { class: "crumb" }, node, " ← ");
    });
    const here = element("strong", {}, name({ layer, channel, unit: unit ?? [] }));
    return [element("nav", { class: "trail", "aria-label": "Way back" }, ...back, here)];
  }

  #originControls(
    origin: State["origin"],
    unit: [number, number] | null,
    entry: LayerEntry | null,
  ): Node[] {
    const { set, toggleOrigin } = this.#actions;
    if ("layer" in origin) {
      const place = origin as Place;
      const name = `${place.layer} ${place.channel} (${place.unit.join(", ")})`;
      return [
        button(`Origin: ${name}`, `Go to the origin, ${name}`, () =>
          set({ layer: place.layer, channel: place.channel, unit: place.unit, trail: [] }),
        ),
        button("Let go of origin", "No origin (d)", () => toggleOrigin()),
      ];
    }
    if (!unit || !entry || entry.grid.length === 0) return [];
    return [
      button(
        "Keep as origin",
        "Mark on other layers the units that may feed this one, or that it may feed (d)",
        () => toggleOrigin(),
      ),
    ];
  }
}
