/** Draws single maps into canvases, and keeps what it drew for as long as it stays the same. */

import {
  differencePixels,
  levelPixels,
  type Maps,
  paintDifference,
  paintMap,
  shrunk,
  type Tone,
} from "./maps.ts";

/** What a tile shows: a picture's map, or the difference of two. */
export type Face = 0 | 1 | "difference";

const TILES_KEPT = 400;

export class Painter {
  readonly #patch = document.createElement("canvas");
  readonly #single = new Uint32Array(1);
  readonly #tiles = new Map<string, HTMLCanvasElement>();
  #maps: Maps | null = null;
  #tone = "";

  draw(
    context: CanvasRenderingContext2D,
    maps: Maps,
    face: Face,
    channel: number,
    tone: Tone,
    x: number,
    y: number,
    width: number,
    height: number,
  ): void {
    if (maps.rows * maps.columns === 1) {
      // Thousands of single values are filled quicker than drawn.
      paintFace(maps, face, channel, tone, this.#single);
      const bytes = new Uint8Array(this.#single.buffer);
      context.fillStyle = `rgb(${bytes[0]} ${bytes[1]} ${bytes[2]})`;
      context.fillRect(x, y, width, height);
      return;
    }
    if (width >= maps.columns && height >= maps.rows) {
      this.#fill(maps, face, channel, tone);
      context.imageSmoothingEnabled = false;
      context.drawImage(this.#patch, x, y, width, height);
      return;
    }
    this.#forgetOld(maps, tone);
    const key = `${channel} ${face} ${width} ${height}`;
    let tile = this.#tiles.get(key);
    if (!tile) {
      this.#fill(shrunk(maps, Math.floor(maps.columns / width)), face, channel, tone);
      tile = document.createElement("canvas");
      tile.width = width;
      tile.height = height;
      const own = tile.getContext("2d");
      if (!own) return;
      own.imageSmoothingQuality = "medium";
      own.drawImage(this.#patch, 0, 0, width, height);
      if (this.#tiles.size >= TILES_KEPT) this.#tiles.clear();
      this.#tiles.set(key, tile);
    }
    context.drawImage(tile, x, y);
  }

  #forgetOld(maps: Maps, tone: Tone): void {
    const { normalise, centred, gamma, boost, colours } = tone;
    const key = `${normalise} ${centred} ${gamma} ${boost} ${colours[0]} ${colours[255]}`;
    if (maps === this.#maps && key === this.#tone) return;
    this.#maps = maps;
    this.#tone = key;
    this.#tiles.clear();
  }

  #fill(maps: Maps, face: Face, channel: number, tone: Tone): void {
    const patch = this.#patch;
    if (patch.width !== maps.columns) patch.width = maps.columns;
    if (patch.height !== maps.rows) patch.height = maps.rows;
    const own = patch.getContext("2d");
    if (!own) throw new Error("this browser gave no canvas to draw on");
    const image = own.createImageData(maps.columns, maps.rows);
    paintFace(maps, face, channel, tone, new Uint32Array(image.data.buffer));
    own.putImageData(image, 0, 0);
  }
}

function paintFace(maps: Maps, face: Face, channel: number, tone: Tone, pixels: Uint32Array): void {
  if (face === "difference") {
    paintDifference(maps, channel, differencePixels(maps, channel, tone), pixels);
  } else paintMap(maps, face, channel, levelPixels(maps, channel, tone), pixels);
}
