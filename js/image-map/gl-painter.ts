/** Draws the map with WebGL2: one call for each page of tiles that is in view. */

import { acquire, compiled, makeRoom, type Program, release, type SharedGl } from "./gl.ts";
import { DOT, DOT_FRAGMENT, DOT_VERTEX, OUTSIDE, PICTURE, pictureProgram } from "./gl-programs.ts";
import type { Frame, Painter, Rgb } from "./painter.ts";
import { PAGE, type TileSlots } from "./tile-slots.ts";
import type { TileStore } from "./tile-store.ts";
import { inView, widened } from "./viewpoint.ts";

/** Bytes of a picture's instance. */
const INSTANCE = 32;
/** Pages of a pool, at most: a picture's bucket is `pool * MOST_PAGES + page`. */
const MOST_PAGES = 32;
/** The bucket of pictures that have not come. */
const BARE = 3 * MOST_PAGES;
/** A slot that says there is no tile. */
const NO_TILE = 65535;

interface Page {
  texture: WebGLTexture;
  height: number;
}

export class GlPainter implements Painter {
  readonly kind = "webgl2";
  readonly pages = [25, 8, 4] as const;
  readonly most = 102_400;
  readonly #shared: SharedGl;
  readonly #gl: WebGL2RenderingContext;
  readonly #dots: Program;
  /** of pictures, by what they are for, made when needed: software runs every branch there is */
  readonly #programs = new Map<string, Program>();
  /** device pixels of a picture up to which it is a point */
  readonly #mostPoint: number;
  readonly #buffers = new Map<string, WebGLBuffer>();
  readonly #textures = new Map<number, Page>();
  /** what each buffer was made of */
  readonly #made = new Map<string, unknown[]>();
  /** what it made was lost with the context */
  #gone = false;
  /** device pixels of what is drawn */
  #size: [number, number] = [1, 1];
  readonly #stop = new AbortController();
  /** pictures by bucket: bucket, first instance, how many */
  #runs: [number, number, number][] = [];

  /** The painter, or null where there is no WebGL2. */
  static open(lost: () => void, restored: () => void): GlPainter | null {
    const shared = acquire();
    if (!shared) return null;
    try {
      return new GlPainter(shared, lost, restored);
    } catch (error) {
      release(shared);
      throw error;
    }
  }

  private constructor(shared: SharedGl, lost: () => void, restored: () => void) {
    this.#shared = shared;
    this.#gl = shared.gl;
    this.#dots = compiled(this.#gl, DOT_VERTEX, DOT_FRAGMENT);
    const range = this.#gl.getParameter(this.#gl.ALIASED_POINT_SIZE_RANGE) as Float32Array;
    this.#mostPoint = Math.min(OUTSIDE, range[1] ?? 1) / 2;
    const { signal } = this.#stop;
    const { canvas } = shared;
    canvas.addEventListener(
      "webglcontextlost",
      (event) => {
        // Without this the browser never gives it back.
        event.preventDefault();
        this.#gone = true;
        lost();
      },
      { signal },
    );
    canvas.addEventListener("webglcontextrestored", restored, { signal });
  }

  put(pool: number, slots: TileSlots, slot: number, pixels: ImageData, x: number, y: number): void {
    const gl = this.#gl;
    const corner = slots.corner(slot);
    this.#page(pool, corner.page, slots);
    gl.pixelStorei(gl.UNPACK_ROW_LENGTH, pixels.width);
    gl.pixelStorei(gl.UNPACK_SKIP_PIXELS, x);
    gl.pixelStorei(gl.UNPACK_SKIP_ROWS, y);
    const { RGBA, TEXTURE_2D, UNSIGNED_BYTE } = gl;
    const side = slots.tile;
    gl.texSubImage2D(
      TEXTURE_2D,
      0,
      corner.x,
      corner.y,
      side,
      side,
      RGBA,
      UNSIGNED_BYTE,
      pixels.data,
    );
  }

  draw(frame: Frame, tiles: TileStore, target: CanvasRenderingContext2D): void {
    const gl = this.#gl;
    const { width, height } = target.canvas;
    const { canvas } = this.#shared;
    makeRoom(this.#shared, width, height);
    this.#size = [width, height];
    gl.viewport(-OUTSIDE, -OUTSIDE, width + 2 * OUTSIDE, height + 2 * OUTSIDE);
    gl.scissor(0, 0, width, height);
    gl.enable(gl.SCISSOR_TEST);
    gl.clearColor(0, 0, 0, 0);
    gl.clearDepth(1);
    gl.depthMask(true);
    gl.clear(gl.COLOR_BUFFER_BIT | gl.DEPTH_BUFFER_BIT);
    this.#drawDots(frame);
    this.#drawPictures(frame, tiles);
    target.setTransform(1, 0, 0, 1, 0, 0);
    target.globalCompositeOperation = "copy";
    target.imageSmoothingEnabled = false;
    target.drawImage(canvas, 0, canvas.height - height, width, height, 0, 0, width, height);
    target.globalCompositeOperation = "source-over";
  }

  clear(): void {
    for (const { texture } of this.#textures.values()) this.#gl.deleteTexture(texture);
    this.#textures.clear();
  }

  close(): void {
    this.#stop.abort();
    if (!this.#gone) {
      this.clear();
      for (const buffer of this.#buffers.values()) this.#gl.deleteBuffer(buffer);
      for (const { program } of [this.#dots, ...this.#programs.values()]) {
        this.#gl.deleteProgram(program);
      }
    }
    release(this.#shared);
  }

  #drawDots(frame: Frame): void {
    const gl = this.#gl;
    const { index, moved, from, density } = frame;
    this.#fill("to", [index], () => gathered(index.places, index.rows));
    this.#fill("inks", [index, frame.inks], () => gatheredInks(frame.inks, index.rows));
    if (moved < 1) this.#fill("from", [index, from], () => gathered(from, index.rows));
    const came = moved < 1 ? "from" : "to";
    const { at } = this.#begin(this.#dots, frame);
    gl.disable(gl.DEPTH_TEST);
    gl.enable(gl.BLEND);
    gl.blendFunc(gl.ONE, gl.ONE_MINUS_SRC_ALPHA);
    gl.uniform1f(at("size"), Math.min(OUTSIDE, frame.dot * density));
    gl.uniform1f(at("ring"), 0);
    gl.uniform1i(at("square"), Number(frame.square));
    const reach = frame.dot / frame.view.scale;
    const { stride } = frame;
    const runs =
      moved < 1
        ? ([[0, index.rows.length]] as [number, number][])
        : index.runs(widened(inView(frame.view), reach));
    this.#point(DOT.from, came, 2, gl.UNSIGNED_SHORT, false, 4 * stride, 0);
    this.#point(DOT.to, "to", 2, gl.UNSIGNED_SHORT, false, 4 * stride, 0);
    this.#point(DOT.ink, "inks", 4, gl.UNSIGNED_BYTE, true, 4 * stride, 0);
    for (const [start, end] of runs) {
      const first = Math.ceil(start / stride);
      const count = Math.ceil(end / stride) - first;
      if (count > 0) gl.drawArrays(gl.POINTS, first, count);
    }
    this.#drawSelected(frame);
  }

  /** Selected dots again, larger and with a frame. */
  #drawSelected(frame: Frame): void {
    const { selected, index, from, moved, inks } = frame;
    const gl = this.#gl;
    if (!selected.length || frame.square) return;
    const rows = new Uint32Array(selected.buffer, selected.byteOffset, selected.length);
    this.#fill("selected to", [selected, index], () => gathered(index.places, rows));
    this.#fill("selected inks", [selected, inks], () => gatheredInks(inks, rows));
    if (moved < 1) this.#fill("selected from", [selected, from], () => gathered(from, rows));
    const came = moved < 1 ? "selected from" : "selected to";
    const { at } = this.#dots;
    gl.uniform1f(at("size"), (frame.dot + 4) * frame.density);
    gl.uniform1f(at("ring"), 1.5 * frame.density);
    this.#point(DOT.from, came, 2, gl.UNSIGNED_SHORT, false, 4, 0);
    this.#point(DOT.to, "selected to", 2, gl.UNSIGNED_SHORT, false, 4, 0);
    this.#point(DOT.ink, "selected inks", 4, gl.UNSIGNED_BYTE, true, 4, 0);
    gl.drawArrays(gl.POINTS, 0, selected.length);
  }

  #drawPictures(frame: Frame, tiles: TileStore): void {
    const gl = this.#gl;
    const { pictures, inks, borders, from, index, density } = frame;
    if (!pictures.rows.length) return;
    const pool = tiles.poolFor(frame.side * density);
    const sources = [pictures, inks, borders, from, index, tiles.version, pool];
    this.#fill("pictures", sources, () => this.#instances(frame, tiles, pool));
    const points = frame.side * density <= this.#mostPoint;
    gl.disable(gl.BLEND);
    gl.enable(gl.DEPTH_TEST);
    gl.depthFunc(gl.LEQUAL);
    gl.activeTexture(gl.TEXTURE0);
    for (const [bucket, start, count] of this.#runs) {
      const slots = tiles.pools[Math.floor(bucket / MOST_PAGES)] ?? (tiles.pools[0] as TileSlots);
      const fine = slots.tile <= 1.3 * frame.side * density;
      const { at } = this.#begin(this.#program(points, fine), frame);
      gl.uniform1f(at("side"), frame.side * density);
      gl.uniform1f(at("dot_"), frame.dot * density);
      gl.uniform1f(at("level"), Math.min(255, frame.level));
      gl.uniform1f(at("density"), density);
      gl.uniform1f(at("now"), frame.now);
      gl.uniform1i(at("resting"), Number(frame.resting));
      gl.uniform3fv(at("dark"), shares(frame.ink));
      gl.uniform1i(at("page"), 0);
      const page = this.#page(Math.floor(bucket / MOST_PAGES), bucket % MOST_PAGES, slots);
      gl.uniform1f(at("tile"), slots.tile);
      gl.uniform1f(at("columns"), slots.columns);
      gl.uniform2f(at("pageSides"), PAGE, page.height);
      this.#pointPictures(INSTANCE * start, points ? 0 : 1);
      if (points) gl.drawArrays(gl.POINTS, 0, count);
      else gl.drawArraysInstanced(gl.TRIANGLE_STRIP, 0, 4, count);
    }
    for (const place of Object.values(PICTURE)) gl.vertexAttribDivisor(place, 0);
  }

  #program(points: boolean, fine: boolean): Program {
    const key = `${points} ${fine}`;
    let program = this.#programs.get(key);
    if (!program) {
      program = compiled(this.#gl, ...pictureProgram(points, fine));
      this.#programs.set(key, program);
    }
    return program;
  }

  #pointPictures(offset: number, divisor: number): void {
    const gl = this.#gl;
    const { UNSIGNED_SHORT, UNSIGNED_BYTE, FLOAT } = gl;
    const layout: [number, number, number, boolean, number][] = [
      [PICTURE.from, 2, UNSIGNED_SHORT, false, 0],
      [PICTURE.to, 2, UNSIGNED_SHORT, false, 4],
      [PICTURE.ink, 4, UNSIGNED_BYTE, true, 8],
      [PICTURE.border, 4, UNSIGNED_BYTE, true, 12],
      [PICTURE.slot, 1, UNSIGNED_SHORT, false, 16],
      [PICTURE.levelAndMarks, 2, UNSIGNED_BYTE, false, 18],
      [PICTURE.aspect, 1, FLOAT, false, 20],
      [PICTURE.depth, 1, FLOAT, false, 24],
      [PICTURE.born, 1, FLOAT, false, 28],
    ];
    for (const [place, size, type, normalised, within] of layout) {
      this.#point(place, "pictures", size, type, normalised, INSTANCE, offset + within);
      gl.vertexAttribDivisor(place, divisor);
    }
  }

  /** The instances of all pictures that there are, those of a page together. */
  #instances(frame: Frame, tiles: TileStore, pool: number): ArrayBufferView {
    const { rows, levels, marks } = frame.pictures;
    const buckets = new Uint8Array(rows.length).fill(255);
    const slots = new Int32Array(rows.length);
    const starts = new Uint32Array(BARE + 2);
    for (let i = 0; i < rows.length; i++) {
      const found = tiles.find(rows[i] as number, pool);
      if (!found && !frame.square) continue;
      const perPage = (tiles.pools[found?.pool ?? 0] as TileSlots).perPage;
      const bucket = found ? found.pool * MOST_PAGES + Math.floor(found.slot / perPage) : BARE;
      buckets[i] = bucket;
      slots[i] = found ? found.slot : -1;
      starts[bucket + 1] = (starts[bucket + 1] as number) + 1;
    }
    this.#runs = [];
    for (let bucket = 0; bucket <= BARE; bucket++) {
      const start = starts[bucket] as number;
      const count = starts[bucket + 1] as number;
      starts[bucket + 1] = start + count;
      if (count) this.#runs.push([bucket, start, count]);
    }
    const total = starts[BARE + 1] as number;
    const data = new ArrayBuffer(INSTANCE * total);
    const write = instanceWriter(data, frame);
    for (let i = 0; i < rows.length; i++) {
      const bucket = buckets[i] as number;
      if (bucket === 255) continue;
      const n = starts[bucket] as number;
      starts[bucket] = n + 1;
      const from = tiles.pools[Math.floor(bucket / MOST_PAGES)];
      write(
        n,
        rows[i] as number,
        levels[i] as number,
        marks[i] as number,
        from,
        slots[i] as number,
      );
    }
    return new Uint8Array(data);
  }

  #begin(program: Program, frame: Frame): Program {
    const gl = this.#gl;
    const { view, density } = frame;
    const { at } = program;
    gl.useProgram(program.program);
    gl.uniform1f(at("moved"), frame.moved);
    gl.uniform2f(at("middle"), view.x, view.y);
    gl.uniform2f(at("room"), ...this.#size);
    gl.uniform1f(at("scale"), view.scale * density);
    gl.uniform3fv(at("paper"), shares(frame.paper));
    gl.uniform3fv(at("accent"), shares(frame.accent));
    return program;
  }

  /** Fill a buffer anew where what it is made of changed. */
  #fill(name: string, sources: unknown[], make: () => ArrayBufferView): void {
    const gl = this.#gl;
    const made = this.#made.get(name);
    if (made?.every((source, i) => source === sources[i])) return;
    let buffer = this.#buffers.get(name);
    if (!buffer) {
      buffer = gl.createBuffer();
      this.#buffers.set(name, buffer);
    }
    gl.bindBuffer(gl.ARRAY_BUFFER, buffer);
    gl.bufferData(gl.ARRAY_BUFFER, make(), gl.DYNAMIC_DRAW);
    this.#made.set(name, sources);
  }

  #point(
    place: number,
    buffer: string,
    size: number,
    type: number,
    normalised: boolean,
    stride: number,
    offset: number,
  ): void {
    const gl = this.#gl;
    gl.bindBuffer(gl.ARRAY_BUFFER, this.#buffers.get(buffer) ?? null);
    gl.enableVertexAttribArray(place);
    gl.vertexAttribPointer(place, size, type, normalised, stride, offset);
  }

  /** Bind a page of tiles, made when first needed and no higher than its slots reach. */
  #page(pool: number, number: number, slots: TileSlots): Page {
    const gl = this.#gl;
    const key = pool * MOST_PAGES + number;
    gl.activeTexture(gl.TEXTURE0);
    let page = this.#textures.get(key);
    if (!page) {
      const held = Math.min(slots.perPage, Math.max(1, slots.capacity - number * slots.perPage));
      const height = key === BARE ? 1 : Math.ceil(held / slots.columns) * slots.tile;
      page = { texture: gl.createTexture(), height };
      this.#textures.set(key, page);
      gl.bindTexture(gl.TEXTURE_2D, page.texture);
      gl.texStorage2D(gl.TEXTURE_2D, 1, gl.RGBA8, key === BARE ? 1 : PAGE, height);
      for (const [name, value] of [
        [gl.TEXTURE_MIN_FILTER, gl.LINEAR],
        [gl.TEXTURE_MAG_FILTER, gl.LINEAR],
      ] as const) {
        gl.texParameteri(gl.TEXTURE_2D, name, value);
      }
    }
    gl.bindTexture(gl.TEXTURE_2D, page.texture);
    return page;
  }
}

/** Writes instances as `PICTURE` describes them. */
function instanceWriter(data: ArrayBuffer, frame: Frame) {
  const shorts = new Uint16Array(data);
  const bytes = new Uint8Array(data);
  const words = new Uint32Array(data);
  const floats = new Float32Array(data);
  const { from, index, ranks, inks, borders } = frame;
  const to = index.places;
  const inkWords = wordsOf(inks);
  const borderWords = borders && wordsOf(borders);
  return (
    n: number,
    row: number,
    level: number,
    marks: number,
    slots: TileSlots | undefined,
    slot: number,
  ): void => {
    const short = n * (INSTANCE / 2);
    const word = n * (INSTANCE / 4);
    shorts[short] = from[2 * row] as number;
    shorts[short + 1] = from[2 * row + 1] as number;
    shorts[short + 2] = to[2 * row] as number;
    shorts[short + 3] = to[2 * row + 1] as number;
    words[word + 2] = inkWords[row] as number;
    words[word + 3] = borderWords ? (borderWords[row] as number) : 0;
    shorts[short + 8] = slots && slot >= 0 ? slot % slots.perPage : NO_TILE;
    bytes[n * INSTANCE + 18] = level;
    bytes[n * INSTANCE + 19] = marks;
    floats[word + 5] = slots && slot >= 0 ? (slots.aspect[slot] as number) : 1;
    floats[word + 6] = (ranks[row] as number) / ranks.length;
    floats[word + 7] = slots && slot >= 0 ? Math.max(-1e9, slots.born[slot] as number) : -1e9;
  };
}

/** Places of rows, in their order. */
function gathered(places: Uint16Array, rows: Uint32Array): Uint32Array {
  return gatheredWords(wordsOf(places), rows);
}

function gatheredInks(inks: Uint8Array, rows: Uint32Array): Uint32Array {
  return gatheredWords(wordsOf(inks), rows);
}

function gatheredWords(words: Uint32Array, rows: Uint32Array): Uint32Array {
  const result = new Uint32Array(rows.length);
  for (let i = 0; i < rows.length; i++) result[i] = words[rows[i] as number] as number;
  return result;
}

/** Four bytes of each row as one number; copied only where they are not aligned. */
function wordsOf(array: Uint8Array | Uint16Array): Uint32Array {
  const aligned = array.byteOffset % 4 === 0 ? array : array.slice();
  return new Uint32Array(aligned.buffer, aligned.byteOffset, aligned.byteLength >> 2);
}

function shares([red, green, blue]: Rgb): Rgb {
  return [red / 255, green / 255, blue / 255];
}
