/** Channels that stay put while layer and picture change. */

import { sized } from "../shared/canvas.ts";
import { button, element } from "../shared/controls.ts";
import type { ArrayEntry } from "../shared/wire.ts";
import { decodeMaps, type Maps, type Tone } from "./maps.ts";
import type { Painter } from "./painter.ts";
import type { MapsState, PinsState } from "./state.ts";

const SIDE = 64;
const EMPTY: Omit<MapsState, "layer" | "low" | "high" | "arrays" | "buffers"> = {
  kind: "maps",
  labels: [],
  note: "",
  pictures: [],
  image: -1,
  compared: -1,
  asked: -1,
  prefix: 0,
  query: -1,
  nonfinite: 0,
  related: { to: "", units: [] },
};

export class Pins {
  readonly node = element("div", { class: "pins", role: "group", "aria-label": "Pinned channels" });
  #state: PinsState | null = null;
  #maps: Maps[] = [];
  #canvases: HTMLCanvasElement[] = [];

  readonly #open: (layer: string, channel: number) => void;
  readonly #unpin: (layer: string, channel: number) => void;

  constructor(
    open: (layer: string, channel: number) => void,
    unpin: (layer: string, channel: number) => void,
  ) {
    this.#open = open;
    this.#unpin = unpin;
  }

  show(state: PinsState, painter: Painter, toneOf: (maps: Maps) => Tone): void {
    if (state !== this.#state) this.#rebuild(state);
    this.#maps.forEach((maps, i) => {
      const canvas = this.#canvases[i];
      if (!canvas) return;
      const scale = SIDE / Math.max(maps.rows, maps.columns);
      const width = Math.max(8, Math.round(maps.columns * scale));
      const height = Math.max(8, Math.round(maps.rows * scale));
      const context = sized(canvas, width, height);
      painter.draw(context, maps, 0, 0, toneOf(maps), 0, 0, width, height);
    });
  }

  #rebuild(state: PinsState): void {
    this.#state = state;
    const pins = Array.isArray(state.pins) ? state.pins : [];
    this.#maps = pins.map((pin, i) => {
      const own = `${i} `;
      const kept = state.arrays
        .map((_, k) => k)
        .filter((k) => state.arrays[k]?.name.startsWith(own));
      return decodeMaps({
        ...EMPTY,
        ...pin,
        arrays: kept.map((k) => {
          const entry = state.arrays[k] as ArrayEntry;
          return { ...entry, name: entry.name.slice(own.length) };
        }),
        buffers: kept.map((k) => state.buffers[k] as DataView),
      });
    });
    this.#canvases = pins.map(() => element("canvas", { "aria-hidden": "true" }));
    this.node.hidden = pins.length === 0;
    this.node.replaceChildren(
      ...pins.map((pin, i) => {
        const name = `${pin.layer} ${pin.channel}`;
        const tile = element(
          "button",
          { type: "button", class: "pin", title: `Show ${name}` },
          this.#canvases[i] as HTMLCanvasElement,
          element("span", {}, name),
        );
        tile.addEventListener("click", () => this.#open(pin.layer, pin.channel));
        return element(
          "div",
          { class: "pinned" },
          tile,
          button("×", `Unpin ${name}`, () => this.#unpin(pin.layer, pin.channel), "button small"),
        );
      }),
    );
  }
}
