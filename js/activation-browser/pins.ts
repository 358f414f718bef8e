/** Channels that stay put while layer and picture change. */

import { button, element } from "../shared/controls.ts";
import { unpack } from "../shared/wire.ts";
import { decodeMaps, type Maps, type Tone } from "./maps.ts";
import { type Painter, sized } from "./painter.ts";
import type { PinsState } from "./state.ts";

const SIDE = 64;

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
    const arrays = pins.length > 0 ? [...unpack(state.arrays, state.buffers).values()] : [];
    this.#maps = pins.map((pin, i) => {
      const array = arrays[i];
      if (!array) throw new Error(`no map came for pinned channel ${pin.channel}`);
      const { data, shape } = array;
      return decodeMaps({
        layer: pin.layer,
        kind: "maps",
        low: pin.low,
        high: pin.high,
        labels: [],
        note: "",
        pictures: [],
        prefix: 0,
        query: -1,
        nonfinite: 0,
        related: { to: "", units: [] },
        arrays: [{ name: "values_a", dtype: "uint8", shape }],
        buffers: [new DataView(data.buffer, data.byteOffset, data.byteLength)],
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
