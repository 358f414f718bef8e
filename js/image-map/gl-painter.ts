/** Draws the map with WebGL2: one call for each page of tiles that is in view. */

import { acquire, compiled, makeRoom, type Program, release, type SharedGl } from "./gl.ts";
import { BARE, INSTANCE, instancesOf, MOST_PAGES, type Runs, wordsOf } from "./gl-instances.ts";
import {
  DOT,
  DOT_VERTEX,
  type DotShape,
  dotFragment,
  OUTSIDE,
  PICTURE,
  pictureProgram,
} from "./gl-programs.ts";
import { changed, type Frame, type Painter, type PictureList, type Rgb } from "./painter.ts";
import type { Screen } from "./screen.ts";
import { PAGE, type TileSlots } from "./tile-slots.ts";
import type { TileStore } from "./tile-store.ts";
import { inView, widened } from "./viewpoint.ts";

interface Page {
  texture: WebGLTexture;
  height: number;
}

/** Dots that are drawn at rest at a time, so that a hand never has to wait for all of a million. */
const SLICE = 150_000;
/** The stride of an attribute has at most 255 bytes. */
const MOST_SLICES = 63;

/** A frame that is drawn at rest, without what lies above it. */
interface Base {
  /** of its dots, how many slices there are */
  slices: number;
  buffer: WebGLFramebuffer;
  parts: WebGLRenderbuffer[];
  room: [number, number];
  made: unknown[];
  /** and how many were drawn */
  done: number;
}

export class GlPainter implements Painter {
  readonly kind = "webgl2";
  readonly pages = [25, 8, 4] as const;
  readonly most = 102_400;
  readonly #shared: SharedGl;
  readonly #gl: WebGL2RenderingContext;
  /** by what they are for, made when needed: software runs every branch there is */
  readonly #programs = new Map<string, Program>();
  /** device pixels of a picture up to which it is a point */
  readonly #mostPoint: number;
  readonly #buffers = new Map<string, WebGLBuffer>();
  readonly #textures = new Map<number, Page>();
  /** what each buffer was made of */
  readonly #made = new Map<string, unknown[]>();
  /** what it made was lost with the context */
  #gone = false;
  readonly #stop = new AbortController();
  readonly #runs = new Map<string, Runs>();
  #base: Base | null = null;

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

  draw(frame: Frame, tiles: TileStore, screen: Screen): boolean {
    const gl = this.#gl;
    const { room, still } = frame;
    makeRoom(this.#shared, room);
    const [width, height] = room;
    gl.viewport(-OUTSIDE, -OUTSIDE, width + 2 * OUTSIDE, height + 2 * OUTSIDE);
    let all = true;
    if (still) {
      const base = this.#baseOf(room);
      all = this.#drawBase(base, frame, tiles, still);
      gl.bindFramebuffer(gl.READ_FRAMEBUFFER, base.buffer);
      gl.bindFramebuffer(gl.DRAW_FRAMEBUFFER, null);
      // What was shown is wiped by the first clear after it: not by one that comes after the copy.
      gl.clear(gl.DEPTH_BUFFER_BIT);
      const box = [0, 0, ...room] as const;
      gl.blitFramebuffer(...box, ...box, gl.COLOR_BUFFER_BIT, gl.NEAREST);
    } else {
      gl.bindFramebuffer(gl.FRAMEBUFFER, null);
      this.#clear(frame);
      this.#drawDots(frame, frame.stride, 0);
    }
    gl.clear(gl.DEPTH_BUFFER_BIT);
    if (!still || !all) this.#drawPictures("pictures", frame.pictures, frame, tiles);
    if (frame.front.rows.length) {
      gl.clear(gl.DEPTH_BUFFER_BIT);
      this.#drawPictures("front", frame.front, frame, tiles);
    }
    screen.show(this.#shared.canvas);
    return all;
  }

  clear(): void {
    for (const { texture } of this.#textures.values()) this.#gl.deleteTexture(texture);
    this.#textures.clear();
  }

  close(): void {
    this.#stop.abort();
    if (!this.#gone) {
      this.clear();
      this.#forgetBase();
      for (const buffer of this.#buffers.values()) this.#gl.deleteBuffer(buffer);
      for (const { program } of this.#programs.values()) {
        this.#gl.deleteProgram(program);
      }
    }
    release(this.#shared);
  }

  /** Draw a slice more of the dots, after the last of them the pictures; true: that is all. */
  #drawBase(base: Base, frame: Frame, tiles: TileStore, made: unknown[]): boolean {
    const gl = this.#gl;
    gl.bindFramebuffer(gl.FRAMEBUFFER, base.buffer);
    if (changed(base.made, made)) {
      base.made = made;
      base.done = 0;
      base.slices = Math.min(MOST_SLICES, Math.ceil(frame.index.rows.length / SLICE) || 1);
      this.#clear(frame);
    }
    if (base.done < base.slices) {
      this.#drawDots(frame, base.slices, base.done);
      base.done += 1;
      if (base.done === base.slices) {
        this.#drawPictures("pictures", frame.pictures, frame, tiles);
      }
    }
    return base.done === base.slices;
  }

  #clear({ paper }: Frame): void {
    const gl = this.#gl;
    gl.clearColor(...shares(paper), 1);
    gl.clear(gl.COLOR_BUFFER_BIT | gl.DEPTH_BUFFER_BIT);
  }

  /** What frames at rest of this size are kept in. */
  #baseOf(room: [number, number]): Base {
    const gl = this.#gl;
    if (this.#base && !changed(this.#base.room, room)) return this.#base;
    this.#forgetBase();
    const buffer = gl.createFramebuffer();
    gl.bindFramebuffer(gl.FRAMEBUFFER, buffer);
    const parts = (
      [
        [gl.RGBA8, gl.COLOR_ATTACHMENT0],
        [gl.DEPTH_COMPONENT24, gl.DEPTH_ATTACHMENT],
      ] as const
    ).map(([format, place]) => {
      const part = gl.createRenderbuffer();
      gl.bindRenderbuffer(gl.RENDERBUFFER, part);
      gl.renderbufferStorage(gl.RENDERBUFFER, format, ...room);
      gl.framebufferRenderbuffer(gl.FRAMEBUFFER, place, gl.RENDERBUFFER, part);
      return part;
    });
    this.#base = { buffer, parts, room, made: [], slices: 1, done: 0 };
    return this.#base;
  }

  #forgetBase(): void {
    if (!this.#base) return;
    this.#gl.deleteFramebuffer(this.#base.buffer);
    for (const part of this.#base.parts) this.#gl.deleteRenderbuffer(part);
    this.#base = null;
  }

  /** Every `stride`-th dot, and those selected again, larger and with a frame. */
  #drawDots(frame: Frame, stride: number, offset: number): void {
    const gl = this.#gl;
    const { index, view, dot, density, selected, square } = frame;
    gl.disable(gl.DEPTH_TEST);
    gl.enable(gl.BLEND);
    gl.blendFunc(gl.ONE, gl.ONE_MINUS_SRC_ALPHA);
    const size = Math.min(OUTSIDE, dot * density);
    // Of a dot of two pixels nobody sees its shape.
    this.#setDots(frame, square || size < 3 ? "square" : "round", size, index.rows, stride, offset);
    const all: [number, number][] = [[0, index.rows.length]];
    const seen = widened(inView(view), dot / view.scale);
    for (const [start, end] of frame.moved < 1 ? all : index.runs(seen)) {
      const first = Math.ceil((start - offset) / stride);
      const count = Math.ceil((end - offset) / stride) - first;
      if (count > 0) gl.drawArrays(gl.POINTS, first, count);
    }
    if (!selected.length || square) return;
    this.#setDots(frame, "ringed", (dot + 4) * density, selected, 1, 0);
    gl.drawArrays(gl.POINTS, 0, selected.length);
  }

  /** Make ready to draw these rows as dots. */
  #setDots(
    frame: Frame,
    shape: DotShape,
    size: number,
    rows: Uint32Array | Int32Array,
    stride: number,
    offset: number,
  ): void {
    const gl = this.#gl;
    const { index, inks, from, density } = frame;
    const name = shape === "ringed" ? "selected" : "all";
    const { at } = this.#begin(
      this.#program(shape, () => [DOT_VERTEX, dotFragment(shape)]),
      frame,
    );
    gl.uniform1f(at("size"), size);
    gl.uniform1f(at("ring"), 1.5 * density);
    // What does not move comes from where it is.
    const origin = frame.moved < 1 ? from : index.places;
    for (const [place, source, count, type] of [
      [DOT.from, origin, 2, gl.UNSIGNED_SHORT],
      [DOT.to, index.places, 2, gl.UNSIGNED_SHORT],
      [DOT.ink, inks, 4, gl.UNSIGNED_BYTE],
    ] as const) {
      const buffer = `${name} ${source === index.places ? DOT.to : place}`;
      this.#fill(buffer, [rows, source], () => gathered(source, rows));
      this.#point(place, buffer, count, type, place === DOT.ink, 4 * stride, 4 * offset);
    }
  }

  #drawPictures(name: string, list: PictureList, frame: Frame, tiles: TileStore): void {
    const gl = this.#gl;
    const { inks, borders, from, index, density } = frame;
    if (!list.rows.length) return;
    const pool = tiles.poolFor(frame.side * density);
    const sources = [list, inks, borders, from, index, tiles.version, pool];
    this.#fill(name, sources, () => {
      const [runs, instances] = instancesOf(list, frame, tiles, pool);
      this.#runs.set(name, runs);
      return instances;
    });
    const points = frame.side * density <= this.#mostPoint;
    gl.disable(gl.BLEND);
    gl.enable(gl.DEPTH_TEST);
    gl.depthFunc(gl.LEQUAL);
    gl.activeTexture(gl.TEXTURE0);
    for (const [bucket, start, count] of this.#runs.get(name) ?? []) {
      const slots = tiles.pools[Math.floor(bucket / MOST_PAGES)] ?? (tiles.pools[0] as TileSlots);
      const linear = slots.tile <= 1.3 * frame.side * density ? "linear" : "four";
      const sampling = frame.resting || !points ? linear : "nearest";
      const program = this.#program(`${points} ${sampling}`, () =>
        pictureProgram(points, sampling),
      );
      const { at } = this.#begin(program, frame);
      gl.uniform1f(at("side"), frame.side * density);
      gl.uniform1f(at("dot_"), frame.dot * density);
      gl.uniform1f(at("level"), Math.min(255, frame.level));
      gl.uniform1f(at("density"), density);
      gl.uniform1f(at("rimWidth"), frame.border);
      gl.uniform1f(at("now"), frame.now);
      gl.uniform1i(at("resting"), Number(frame.resting));
      gl.uniform3fv(at("dark"), shares(frame.ink));
      gl.uniform1i(at("page"), 0);
      const page = this.#page(Math.floor(bucket / MOST_PAGES), bucket % MOST_PAGES, slots);
      gl.uniform1f(at("tile"), slots.tile);
      gl.uniform1f(at("columns"), slots.columns);
      gl.uniform2f(at("pageSides"), PAGE, page.height);
      this.#pointPictures(name, INSTANCE * start, points ? 0 : 1);
      if (points) gl.drawArrays(gl.POINTS, 0, count);
      else gl.drawArraysInstanced(gl.TRIANGLE_STRIP, 0, 4, count);
    }
    for (const place of Object.values(PICTURE)) gl.vertexAttribDivisor(place, 0);
  }

  #program(key: string, sources: () => [string, string]): Program {
    let program = this.#programs.get(key);
    if (!program) {
      program = compiled(this.#gl, ...sources());
      this.#programs.set(key, program);
    }
    return program;
  }

  #pointPictures(name: string, offset: number, divisor: number): void {
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
      this.#point(place, name, size, type, normalised, INSTANCE, offset + within);
      gl.vertexAttribDivisor(place, divisor);
    }
  }

  #begin(program: Program, frame: Frame): Program {
    const gl = this.#gl;
    const { view, density } = frame;
    const { at } = program;
    gl.useProgram(program.program);
    gl.uniform1f(at("moved"), frame.moved);
    gl.uniform2f(at("middle"), view.x, view.y);
    gl.uniform2f(at("room"), ...frame.room);
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

/** The four bytes of each of these rows, in their order. */
function gathered(array: Uint8Array | Uint16Array, rows: Uint32Array | Int32Array): Uint32Array {
  const words = wordsOf(array);
  const result = new Uint32Array(rows.length);
  for (let i = 0; i < rows.length; i++) result[i] = words[rows[i] as number] as number;
  return result;
}

function shares([red, green, blue]: Rgb): Rgb {
  return [red / 255, green / 255, blue / 255];
}
