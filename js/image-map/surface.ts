/** The canvases of the stage: makes a frame of a scene, and has it painted. */

import { sized } from "../shared/canvas.ts";
import { element } from "../shared/controls.ts";
import { themeColour, type View } from "../shared/view.ts";
import type { Requests } from "../shared/wire.ts";
import type { Camera } from "./camera.ts";
import { CanvasPainter } from "./canvas-painter.ts";
import * as detail from "./detail.ts";
import { GlPainter } from "./gl-painter.ts";
import type { MapLayout } from "./map-layout.ts";
import { Names } from "./names.ts";
import { drawOverlay, type OverlayFrame } from "./overlay.ts";
import { Pace } from "./pace.ts";
import {
  BORDER,
  CHOSEN,
  CHOSEN_SCALE,
  changed,
  type Frame,
  type Painter,
  type PictureList,
  type Rgb,
  RISE,
  sidesOf,
} from "./painter.ts";
import { type Shown, showsAt } from "./picking.ts";
import {
  frontList,
  frontMarks,
  NO_PICTURES,
  pictureList,
  selectedMarks,
  uncovered,
} from "./pictures.ts";
import type { Scene } from "./scene.ts";
import { Screen } from "./screen.ts";
import { type Listener, TileStore } from "./tile-store.ts";
import { type Extent, fittingScale, inView, widened } from "./viewpoint.ts";

/** CSS pixels: pictures are never larger; cells of a grid that are smaller are squares of ink. */
const LARGEST = 512;
const LEAST_CELL = 4;
/** Part of a cell's side that its picture takes. */
const FILLED = 0.94;
/** Of more pictures than these, those that lie wholly behind others are left out. */
const MANY = 1200;
/** The most pictures that are drawn while they move from place to place. */
const MOST_MOVING = 2400;
/** Cells of a picture, of `FINE` times `FINE`, that must show for it to be drawn while things move. */
const OPEN_MOVING = 18;
/** Milliseconds from one list of wanted tiles to the next while things move. */
const WANTING = 120;

export interface Theme {
  paper: Rgb;
  ink: Rgb;
  accent: Rgb;
  warn: Rgb;
}

/** What a frame shows. */
export interface Showing {
  scene: Scene;
  layout: MapLayout;
  camera: Camera;
  hovered: number;
  outline: OverlayFrame["outline"];
  /** nothing moves and no hand is on it */
  resting: boolean;
  now: number;
}

/** How large things are at the present zoom. */
interface Scale {
  /** level of detail, infinite where all show */
  level: number;
  side: number;
  dot: number;
}

export class Surface {
  readonly canvas = element("canvas", {
    class: "map",
    tabindex: "0",
    role: "application",
    "aria-label":
      "The map. Arrow keys pan, plus and minus zoom, 0 shows all; n and p, or Alt with arrow keys, " +
      "go from image to image, Enter chooses.",
  });
  /** lines and frames; away while there are none, which saves a layer */
  readonly over = element("canvas", { class: "over-map", "aria-hidden": "true" });
  readonly tiles: TileStore;
  readonly #note = element("p", { class: "stage-note", hidden: "" });
  readonly #names = new Names();
  readonly nodes = [this.canvas, this.#names.node, this.over, this.#note];
  readonly pace = new Pace();
  painter: Painter;
  frames = 0;
  pictures = NO_PICTURES;
  /** rows that showed as pictures before all moved */
  leaving = new Uint32Array();
  readonly #screen = new Screen(this.canvas);
  readonly #view: View;
  readonly #failed: (message: string) => void;
  /** a painter whose context was lost; it hears when that comes back */
  #lost: Painter | null = null;
  #rows = 0;
  #theme: Theme | null = null;
  /** when tiles last came that lie not only in front */
  #tiles = { version: 0, latest: Number.NEGATIVE_INFINITY };
  /** marks of what is selected, and of what lies above all; by row */
  #marks = new Map<number, number>();
  #front = new Map<number, number>();
  #foremost = NO_PICTURES;
  /** the row whose neighbours show: it lies above all, and is hit first */
  #lead = -1;
  #marked: unknown[] = [];
  /** what was drawn last */
  #drawn: unknown[] = [];
  #partial = false;
  #overlaid: unknown[] = [];
  #listed: { key: unknown[]; box: Extent; list: PictureList } | null = null;
  #uncovered: unknown[] = [];
  #wanted: unknown[] = [];
  #wantedAt = Number.NEGATIVE_INFINITY;

  constructor(view: View, requests: Requests, failed: (message: string) => void, came: () => void) {
    this.#view = view;
    this.#failed = failed;
    for (const canvas of [this.canvas, this.over]) {
      canvas.style.cssText = "position: absolute; left: 0; top: 0; display: block";
    }
    this.over.style.pointerEvents = "none";
    this.#note.style.cssText =
      "position: absolute; left: 8px; bottom: 4px; margin: 0; pointer-events: none";
    const take = (rows: ArrayLike<number>) => {
      if (Array.from(rows).some((row) => this.pictures.rows.includes(row))) {
        this.#tiles = { version: this.tiles.version, latest: this.tiles.latest };
      }
      came();
    };
    const hands: Listener = { came: take, listed: () => view.redraw(), failed };
    this.tiles = new TileStore(requests, hands);
    this.painter = this.#open(came);
  }

  /** Other images from now on. */
  reset(rows: number): void {
    this.#rows = rows;
    this.pace.begin(rows);
    this.pictures = NO_PICTURES;
    this.#listed = null;
    this.tiles.reset(this.painter, rows);
  }

  /** Colours of the page may have changed. */
  retheme(): void {
    this.#theme = null;
  }

  draw(showing: Showing): void {
    const { scene, layout, camera, now, resting } = showing;
    const { width, height } = camera.room;
    const density = window.devicePixelRatio || 1;
    const room = this.#screen.fit(width, height);
    const scale = this.scale(scene, camera);
    this.#mark(showing);
    this.#list(showing, scale);
    this.#uncover(showing, scale);
    this.#want(showing, scale);
    const moved = layout.moved(now);
    const { index, ranks, from } = layout;
    const { view } = camera;
    const { inks, borders, selected } = scene;
    const { pictures, tiles, theme } = this;
    const stride = resting ? 1 : this.pace.stride;
    const stands = resting && moved >= 1 && !rising(this.#tiles.latest, now);
    const made: unknown[] = [
      index,
      inks,
      borders,
      selected,
      pictures,
      this.#tiles.version,
      ...room,
      density,
    ];
    made.push(...Object.values(view), ...Object.values(scale), String(Object.values(theme)));
    const frame: Frame = {
      view,
      density,
      room,
      from,
      moved,
      resting,
      still: stands ? made : null,
      index,
      ranks,
      inks,
      borders,
      selected,
      pictures,
      front: this.#foremost,
      // In a grid there is no more room than what lies between two pictures.
      border:
        scene.cell > 0 ? Math.min(BORDER, ((1 - FILLED) / 2) * scene.cell * view.scale) : BORDER,
      square: scene.cell > 0 && moved >= 1,
      stride,
      now,
      ...scale,
      ...theme,
    };
    const drawn = [this.painter, this.#foremost, ...made];
    if (this.#partial || rising(tiles.latest, now) || changed(this.#drawn, drawn)) {
      this.#partial = !this.painter.draw(frame, tiles, this.#screen);
    }
    this.#drawn = stands && !rising(tiles.latest, now) ? drawn : [];
    this.frames += 1;
    this.#names.show(scene.names, view);
    this.drawOver(showing);
  }

  /** What lies over the map. */
  drawOver(showing: Showing): void {
    const { width, height } = showing.camera.room;
    const { scene, layout, camera, hovered, outline, now } = showing;
    const { seams, links, own } = scene;
    const moved = layout.moved(now);
    const view = Object.values(camera.view);
    const colours = String(Object.values(this.theme));
    const shown = [seams, links, own, hovered, outline, layout.places, this.tiles.version];
    const key = [...shown, ...view, window.devicePixelRatio, colours, moved < 1 ? now : 1];
    if (!changed(this.#overlaid, key)) return;
    this.#overlaid = key;
    const empty = hovered < 0 && !outline && !links && !seams && !own.length;
    this.over.style.display = empty ? "none" : "block";
    if (!empty) drawOverlay(sized(this.over, width, height), this.#overlay(showing));
  }

  #overlay({ scene, layout, camera, hovered, outline, now }: Showing): OverlayFrame {
    const shown = this.shown(scene, layout, camera);
    const { side, dot } = this.scale(scene, camera);
    return {
      scene,
      view: camera.view,
      placeOf: (row) => layout.placeOf(row, now),
      hovered,
      sidesOf: (row) => shown.picture(row) ?? [dot, dot],
      side,
      outline,
      ...this.theme,
    };
  }

  /** Whether there is more to draw of what stands: a picture on its way up, or some of very many dots. */
  unfinished(now: number): boolean {
    return this.#partial || rising(this.tiles.latest, now);
  }

  /** What of each row can be hit. */
  shown(scene: Scene, layout: MapLayout, camera: Camera): Shown {
    const { level, side } = this.scale(scene, camera);
    const pool = this.tiles.poolFor(side);
    const none = !this.#showsPictures(scene, side);
    return {
      reach: side * CHOSEN_SCALE,
      depth: (row) => (layout.ranks[row] as number) / layout.ranks.length - this.#ahead(row),
      picture: (row) => {
        const marks = this.#marksOf(row);
        const first = marks ? 0 : (layout.index.first[row] as number);
        if (none || !showsAt(first, level)) return null;
        const found = this.tiles.find(row, pool);
        if (!found) return scene.cell > 0 ? [side, side] : null;
        const aspect = this.tiles.pools[found.pool]?.aspect[found.slot] ?? 1;
        return sidesOf(aspect, side * (marks & CHOSEN ? CHOSEN_SCALE : 1));
      },
    };
  }

  /** Sizes at the present zoom. */
  scale(scene: Scene, camera: Camera): Scale {
    const { view, viewpoint } = camera;
    if (scene.cell > 0) {
      const side = Math.max(1, scene.cell * view.scale * FILLED);
      return { level: Number.POSITIVE_INFINITY, side, dot: side };
    }
    const crowd = this.crowd(scene, camera);
    const side = Math.min(LARGEST, detail.sideAt(crowd, viewpoint.zoom));
    const level =
      scene.pictures === "all" ? Number.POSITIVE_INFINITY : detail.levelAt(view.scale, side);
    return { level, side, dot: detail.dotAt(crowd, viewpoint.zoom) };
  }

  crowd(scene: Scene, { extent, room }: Camera): detail.Crowd {
    const fit = fittingScale(extent, room);
    const across = Math.max(1, extent.right - extent.left) * fit;
    const down = Math.max(1, extent.bottom - extent.top) * fit;
    const { count, size } = scene;
    return { count, size, spacing: Math.sqrt((across * down) / Math.max(1, count)) };
  }

  /** The zoom at which a picture is this wide. */
  zoomFor(scene: Scene, camera: Camera, side: number): number {
    if (scene.cell > 0) {
      return Math.max(1, side / (scene.cell * fittingScale(camera.extent, camera.room)));
    }
    return detail.zoomForSide(this.crowd(scene, camera), side);
  }

  /** The nearest that makes sense. */
  mostZoom(scene: Scene, camera: Camera): number {
    const { width, height } = camera.room;
    return Math.max(
      2,
      this.zoomFor(scene, camera, Math.min(LARGEST, 0.8 * Math.min(width, height))),
    );
  }

  get theme(): Theme {
    this.#theme ??= {
      paper: themeColour(this.#view, "--paper"),
      ink: themeColour(this.#view, "--ink"),
      accent: themeColour(this.#view, "--accent"),
      warn: themeColour(this.#view, "--warn"),
    };
    return this.#theme;
  }

  close(): void {
    this.tiles.close();
    this.painter.close();
    this.#lost?.close();
  }

  #marksOf(row: number): number {
    return (this.#marks.get(row) ?? 0) | (this.#front.get(row) ?? 0);
  }

  /** How far a row lies before those that are not marked. */
  #ahead(row: number): number {
    const marks = this.#marksOf(row);
    return row === this.#lead ? 3 : marks & CHOSEN ? 2 : marks ? 1 : 0;
  }

  #showsPictures(scene: Scene, side: number): boolean {
    return scene.pictures !== "dots" && (scene.cell === 0 || side >= LEAST_CELL);
  }

  /** What is marked in this scene. */
  #mark({ scene, layout }: Showing): void {
    const { selected, chosen, links } = scene;
    const key = [selected, chosen, links, layout.index];
    if (!changed(this.#marked, key)) return;
    if (selected !== this.#marked[0]) this.#marks = selectedMarks(scene);
    this.#marked = key;
    this.#front = frontMarks(scene);
    this.#lead = links?.row ?? -1;
    this.#foremost = frontList(this.#front, this.#marks, layout.index.first);
  }

  /** The rows that may show as pictures, made anew where the last list does not serve. */
  #list({ scene, layout, camera }: Showing, { level, side }: Scale): void {
    if (!this.#showsPictures(scene, side)) {
      this.#listed = null;
      return;
    }
    const view = widened(inView(camera.view), side / camera.view.scale);
    const step = Math.floor(level + detail.GROWING);
    const key = [layout.index, this.#marks, step, this.leaving, this.painter];
    if (this.#listed && !changed(this.#listed.key, key) && serves(this.#listed.box, view)) return;
    const spare = 0.3 * Math.max(view.right - view.left, view.bottom - view.top);
    const box = widened(view, spare);
    const { index, ranks, order } = layout;
    const list = pictureList({
      index,
      box,
      level,
      marks: this.#marks,
      also: this.leaving,
      most: this.painter.most,
      ranks,
      order,
    });
    this.#listed = { key, box, list };
  }

  /** Of the list, what shows and is drawn. */
  #uncover({ scene, layout, camera, now, resting }: Showing, { level, side }: Scale): void {
    const { list, box } = this.#listed ?? { list: NO_PICTURES, box: layout.extent };
    const { scale } = camera.view;
    const moving = layout.moved(now) < 1;
    const overlaps = level === Number.POSITIVE_INFINITY && scene.cell === 0 && !moving;
    if (list.rows.length <= MANY) {
      this.pictures = list;
      return;
    }
    // While things move, what is hidden changes little over a tenth of an octave.
    const size = resting ? side / scale : 2 ** (Math.round(Math.log2(side / scale) * 10) / 10);
    const { stride } = this.pace;
    const slow = !resting && (stride > 1 || moving);
    const most = slow ? Math.max(600, MOST_MOVING / stride) : Number.POSITIVE_INFINITY;
    const open = resting ? 1 : OPEN_MOVING;
    const key = [list, overlaps && size, overlaps && this.#tiles.version, most, open];
    if (!changed(this.#uncovered, key)) return;
    this.#uncovered = key;
    const aspectOf = (row: number) => this.tiles.aspect(row);
    const shows = overlaps ? uncovered(list, layout.places, box, size, open, aspectOf) : list;
    this.pictures = shows.rows.length > most ? firstOf(shows, most) : shows;
  }

  /** Ask for tiles of what is in view. */
  #want({ scene, layout, camera, now, resting }: Showing, { level, side }: Scale): void {
    const { view } = camera;
    const density = window.devicePixelRatio || 1;
    const pool = this.tiles.poolFor(side * density);
    const { rows: front } = this.#foremost;
    const bare = front.some((row) => !this.tiles.find(row, pool));
    const key = [this.pictures, ...Object.values(view), pool, bare && front];
    if (!changed(this.#wanted, key)) return;
    if (!resting && now - this.#wantedAt < WANTING) return;
    this.#wanted = key;
    this.#wantedAt = now;
    const box = widened(inView(view), side / 2 / view.scale);
    const rows = this.pictures.rows.filter((row, i) => {
      const x = scene.places[2 * row] as number;
      const y = scene.places[2 * row + 1] as number;
      if (x < box.left || x > box.right || y < box.top || y > box.bottom) return false;
      return detail.grown(this.pictures.levels[i] as number, level) > 0 || layout.moved(now) < 1;
    });
    this.tiles.want([...front, ...rows], pool);
  }

  #open(came: () => void): Painter {
    let painter: Painter | null = null;
    try {
      painter = GlPainter.open(
        () => {
          this.#lost = this.painter;
          this.#use(new CanvasPainter(), came);
        },
        () => {
          const back = this.#open(came);
          this.#lost?.close();
          this.#lost = null;
          this.#use(back, came);
        },
      );
    } catch (error) {
      this.#failed(error instanceof Error ? error.message : String(error));
    }
    painter ??= new CanvasPainter();
    this.#say(painter);
    return painter;
  }

  #use(painter: Painter, came: () => void): void {
    if (this.painter !== this.#lost) this.painter.close();
    this.painter = painter;
    this.#say(painter);
    this.reset(this.#rows);
    came();
  }

  #say(painter: Painter): void {
    this.canvas.dataset.painter = painter.kind;
    this.#note.hidden = painter.kind === "webgl2";
    this.#note.textContent =
      painter.kind === "webgl2"
        ? ""
        : `This browser gives no WebGL2: at most ${painter.most.toLocaleString("en")} images show ` +
          "as pictures, the others as dots.";
  }
}

function rising(latest: number, now: number): boolean {
  return now - latest < RISE + 30;
}

/** The first pictures of a list, and what is marked. */
function firstOf(list: PictureList, most: number): PictureList {
  const keep = <T extends Uint8Array | Uint32Array>(array: T): T =>
    array.filter((_, i) => i < most || list.marks[i] !== 0) as T;
  return { rows: keep(list.rows), levels: keep(list.levels), marks: keep(list.marks) };
}

/** Whether a list of this box is right for this view: all of it, and not far more. */
function serves(box: Extent, view: Extent): boolean {
  return (
    view.left >= box.left &&
    view.right <= box.right &&
    view.top >= box.top &&
    view.bottom <= box.bottom &&
    (box.right - box.left) * (box.bottom - box.top) <=
      8 * (view.right - view.left) * (view.bottom - view.top)
  );
}
