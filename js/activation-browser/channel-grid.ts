/** All maps of a layer as tiles, with the unit that is looked at marked on each. */

import { colormapPixels } from "../shared/colormaps.ts";
import { TileGrid } from "../shared/tile-grid.ts";
import type { View } from "../shared/view.ts";
import { isDead, type Maps, spotOf, summaryOf, type Tone } from "./maps.ts";
import type { Face, Painter } from "./painter.ts";
import type { Box, State } from "./state.ts";

/** CSS pixels that maps take before they scroll. */
const MAX_HEIGHT = 430;
/** CSS pixels that a map is wide when nobody has zoomed. */
const LARGEST = 112;
const SMALLEST = 44;

export interface ChannelActions {
  /** channel -1 and no unit: the pointer left */
  point(channel: number, unit: [number, number] | null): void;
  choose(channel: number, unit: [number, number] | null): void;
  arrive(channel: number): void;
  zoom(direction: number): void;
}

export interface ChannelContent {
  maps: Maps;
  items: Uint32Array;
  side: State["side"];
  tone: Tone;
  /** CSS pixels a map is wide; 0 fits */
  zoom: number;
  channel: number;
  pinned: ReadonlySet<number>;
  unit: [number, number] | null;
}

/** Differences have two signs, whatever colours the maps have. */
export function differenceTone(tone: Tone): Tone {
  return { ...tone, centred: true, colours: colormapPixels("diverging") };
}

export class ChannelGrid {
  readonly node: HTMLElement;
  /** CSS pixels that a map is wide now */
  size = 64;
  readonly #tiles: TileGrid;
  #maps: Maps | null = null;
  #channel = -1;

  readonly #painter: Painter;

  constructor(view: View, painter: Painter, actions: ChannelActions) {
    this.#painter = painter;
    const spot = (across: number, down: number) =>
      this.#maps ? spotOf(this.#maps, across, down) : null;
    this.#tiles = new TileGrid(view, {
      point: (at) => actions.point(at?.item ?? -1, at && spot(at.across, at.down)),
      press: (at) => actions.choose(at.item, spot(at.across, at.down)),
      arrive: (item) => actions.arrive(item),
      enter: (item) => actions.choose(item, null),
      zoom: (direction) => actions.zoom(direction),
    });
    this.node = this.#tiles.node;
  }

  /** Move as an arrow key would. */
  move(key: string): void {
    this.#tiles.move(key);
  }

  show(content: ChannelContent): void {
    const { maps, tone } = content;
    const { state } = maps;
    this.#maps = maps;
    const faces = facesOf(maps, content.side);
    const difference = differenceTone(tone);
    const odd = maps.sides.some((side) => side.nonfinite !== null);
    const { width, height } = this.#tileSize(content, faces.length);
    this.size = width;
    this.#tiles.draw({
      label: `${content.items.length} maps of ${state.layer}. Arrow keys move, Enter explains a value.`,
      items: content.items,
      panels: faces.length,
      width,
      height,
      maxHeight: MAX_HEIGHT,
      subject: `${state.layer} ${state.kind}`,
      chosen: new Set([content.channel]),
      version: [maps, tone.colours, ...Object.values(content).map(plain)],
      caption: (channel) =>
        [
          state.labels[channel] ?? String(channel),
          content.pinned.has(channel) ? " ◆" : "",
          isDead(maps, channel) ? " ∅" : "",
          odd && summaryOf(maps, channel).nonfinite > 0 ? " ✕" : "",
        ].join(""),
      paint: (context, channel, panel, x, y, wide, tall) => {
        const face = faces[panel] as Face;
        const own = face === "difference" ? difference : tone;
        this.#painter.draw(context, maps, face, channel, own, x, y, wide, tall);
        markUnits(context, maps, content.unit, x, y, wide, tall);
      },
    });
    if (content.channel !== this.#channel) {
      this.#channel = content.channel;
      if (this.#channel >= 0) this.#tiles.reveal(this.#channel);
    }
  }

  #tileSize(content: ChannelContent, faces: number): { width: number; height: number } {
    const { maps, zoom } = content;
    const room = Math.max(40, this.node.clientWidth);
    if (maps.rows === 1 && maps.columns === 1) return { width: zoom || 16, height: zoom || 16 };
    if (maps.rows === 1) {
      const width = Math.min(room - 10, zoom * 4 || 240);
      return { width: Math.max(40, (width - 4 * faces) / faces), height: 22 };
    }
    const shape = maps.rows / maps.columns;
    let width = zoom || LARGEST;
    // As large as lets all stand without scrolling, if that can still be seen.
    const stands = (side: number) =>
      Math.ceil(content.items.length / Math.max(1, Math.floor(room / (faces * (side + 2) + 6)))) *
        (side * shape + 22) <=
      MAX_HEIGHT;
    while (!zoom && width > SMALLEST && !stands(width)) width -= 2;
    return { width, height: Math.max(8, Math.round(width * shape)) };
  }
}

function facesOf(maps: Maps, side: State["side"]): Face[] {
  if (maps.sides.length < 2 || side === "A") return [0];
  return side === "both" ? [0, 1, "difference"] : side === "B" ? [1] : [side];
}

/** The unit looked at, and those tied to the origin, on a tile. */
function markUnits(
  context: CanvasRenderingContext2D,
  maps: Maps,
  unit: [number, number] | null,
  x: number,
  y: number,
  width: number,
  height: number,
): void {
  if (maps.rows * maps.columns === 1) return;
  const draw = ([top, left, bottom, right]: Box, dashes: number[]) => {
    context.lineWidth = Math.max(1, window.devicePixelRatio);
    context.setLineDash(dashes);
    for (const [colour, inset] of [
      ["#000", 0],
      ["#fff", 1],
    ] as const) {
      context.strokeStyle = colour;
      context.strokeRect(
        x + (left / maps.columns) * width - 0.5 + inset,
        y + (top / maps.rows) * height - 0.5 + inset,
        Math.max(3, ((right - left) / maps.columns) * width) - 2 * inset,
        Math.max(3, ((bottom - top) / maps.rows) * height) - 2 * inset,
      );
    }
    context.setLineDash([]);
  };
  const { units } = maps.state.related;
  if (units.length === 4) draw(units as Box, [3, 2]);
  if (unit && unit[0] < maps.rows && unit[1] < maps.columns) {
    draw([unit[0], unit[1], unit[0] + 1, unit[1] + 1], []);
  }
}

/** What two contents can be compared by: maps are compared as they are, the rest by its text. */
function plain(value: ChannelContent[keyof ChannelContent]): string {
  if (value instanceof Uint32Array) return value.join();
  if (value instanceof Set) return [...value].join();
  if (typeof value !== "object" || Array.isArray(value)) return String(value);
  if (value === null || "state" in value) return "";
  const { normalise, centred, gamma, boost } = value as Tone;
  return `${normalise} ${centred} ${gamma} ${boost}`;
}
