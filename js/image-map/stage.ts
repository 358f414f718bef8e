/** The stage of the map: shows a scene, and turns gestures into what the view acts on. */

import { element } from "../shared/controls.ts";
import type { View } from "../shared/view.ts";
import type { Requests, WireArray } from "../shared/wire.ts";
import { Camera, FLIGHT, motion, STEP } from "./camera.ts";
import { gestures, type Moves } from "./gestures.ts";
import { MapLayout } from "./map-layout.ts";
import { Minimap } from "./minimap.ts";
import type { OverlayFrame } from "./overlay.ts";
import { boxBetween, hit, inReadingOrder, type Point, towards, within } from "./picking.ts";
import type { Scene, StageHands, Viewpoint } from "./scene.ts";
import type { TilesState } from "./state.ts";
import { type Showing, Surface } from "./surface.ts";
import type { PaintTile } from "./tile-store.ts";
import { extentOf, showing, toScreen } from "./viewpoint.ts";

/** Milliseconds without a movement after which all is drawn as well as it can be. */
const REST = 140;
/** Milliseconds that a hint stays. */
const HINT = 1600;
/** CSS pixels of a picture that one flies to. */
const NEAR = 72;

export class Stage {
  /** fills its parent: give that a height */
  readonly node: HTMLElement;
  /** a canvas to be put where the view likes */
  readonly minimap: HTMLElement;
  readonly #surface: Surface;
  readonly #map: Minimap;
  readonly #view: View;
  readonly #hands: StageHands;
  readonly #layout = new MapLayout();
  readonly #camera = new Camera();
  readonly #hint = element("p", { class: "stage-hint", hidden: "" }, "Ctrl + wheel zooms");
  #scene: Scene | null = null;
  #hovered = -1;
  #outline: OverlayFrame["outline"] = null;
  /** what the next frame has to draw anew */
  #stale: "nothing" | "overlay" | "all" = "nothing";
  #scheduled = 0;
  /** a hand or a command moved the view since the last frame */
  #touched = false;
  #said = "";
  #hinting = 0;
  #resting = 0;

  constructor(view: View, requests: Requests, hands: StageHands) {
    this.#view = view;
    this.#hands = hands;
    this.#surface = new Surface(view, requests, hands.failed, () => this.#schedule("all"));
    this.node = element("div", { class: "stage" }, ...this.#surface.nodes, this.#hint);
    this.node.style.cssText = "position: relative; width: 100%; height: 100%; overflow: hidden";
    this.#hint.style.cssText =
      "position: absolute; left: 50%; top: 45%; margin: 0; padding: 6px 12px; border-radius: 6px;" +
      "transform: translate(-50%, -50%); pointer-events: none; color: var(--paper); background: var(--ink)";
    this.#map = new Minimap((x, y) => {
      this.#camera.jump({ ...this.#camera.viewpoint, x, y });
      this.#touch();
    }, view.signal);
    this.minimap = this.#map.node;
    gestures(this.#surface.canvas, this.#moves(), view.signal);
    const resized = new ResizeObserver(() => this.#schedule("all"));
    resized.observe(this.node);
    view.signal.addEventListener("abort", () => resized.disconnect());
  }

  /** Show this from now on; what did not change (by identity) costs nothing. */
  show(scene: Scene): void {
    const before = this.#scene;
    this.#scene = scene;
    const now = performance.now();
    const slow = scene.live || !before || !motion() ? 0 : FLIGHT;
    const change = this.#layout.take(scene, now, slow);
    if (change === "anew") {
      this.#surface.reset(scene.count);
      this.#hovered = -1;
    }
    if (change === "anew" || !before) this.#camera.cover(this.#layout.extent, 0);
    else if (change === "moved") {
      this.#surface.leaving = slow ? this.#surface.pictures.rows.slice() : new Uint32Array();
      this.#follow(scene, slow);
      this.#touched = true;
    }
    this.#surface.canvas.style.cursor = scene.tool === "pan" ? "grab" : "crosshair";
    this.#surface.retheme();
    this.#schedule("all");
  }

  /** Move so that these rows are in view; one row: near enough to see it as a picture. */
  flyTo(rows: ArrayLike<number>): void {
    const scene = this.#scene;
    const { places, extent } = this.#layout;
    const known = Array.from(rows).filter((row) => row >= 0 && 2 * row < places.length);
    if (!scene || !known.length) return;
    const box = extentOf(
      Uint16Array.from(
        known.flatMap((r) => [places[2 * r] as number, places[2 * r + 1] as number]),
      ),
    );
    this.#measure();
    const { room, mostZoom, aim } = this.#camera;
    const near = Math.max(aim.zoom, this.#surface.zoomFor(scene, this.#camera, NEAR));
    const to = showing(box, extent, room, Math.min(near, mostZoom));
    this.#camera.go(to, FLIGHT);
    this.#touch();
  }

  /** Look at this; null: at all. */
  look(viewpoint: Viewpoint | null): void {
    this.#measure();
    const length = this.#surface.frames > 1 ? FLIGHT : 0;
    if (viewpoint) this.#camera.go(viewpoint, length);
    else this.#camera.showAll(length);
    this.#touch();
  }

  /** Where one looks from, or will as soon as a flight ends. */
  get viewpoint(): Viewpoint {
    return this.#camera.aim;
  }

  /** Pictures that were saved; kept for when there is no kernel. */
  takeTiles(state: TilesState, arrays: Map<string, WireArray>): void {
    this.#surface.tiles.keep(state, arrays);
  }

  /**
   * Paint a picture of a row, in its own proportions, for a list or a card. False: there is none yet,
   * or only a coarse one, which was painted; it was asked for, and the view is redrawn when it comes.
   */
  thumbnail(row: number, paint: PaintTile): boolean {
    return this.#surface.tiles.thumbnail(row, paint);
  }

  /** Width over height of a row's image, 1 where that is not known yet. */
  aspect(row: number): number {
    return this.#surface.tiles.aspect(row);
  }

  /** Where a row is, in CSS pixels of the stage; null where it is out of view. */
  screen(row: number): { x: number; y: number } | null {
    if (!this.#scene || row < 0 || row >= this.#scene.count) return null;
    const { view } = this.#camera;
    const at = toScreen(view, ...this.#layout.placeOf(row, performance.now()));
    return at.x >= 0 && at.y >= 0 && at.x <= view.width && at.y <= view.height ? at : null;
  }

  /** Figures for tests and measurements. */
  tell() {
    const { painter, frames, pictures, tiles, pace } = this.#surface;
    return {
      painter: painter.kind,
      frames,
      pictures: pictures.rows.length,
      missing: tiles.missing,
      used: tiles.pools.map((pool) => pool.used),
      dots: this.#layout.index.rows.length,
      stride: pace.stride,
      resting: this.#stale === "nothing" && this.#scheduled === 0 && this.#resting === 0,
    };
  }

  close(): void {
    cancelAnimationFrame(this.#scheduled);
    clearTimeout(this.#hinting);
    clearTimeout(this.#resting);
    this.#scheduled = -1;
    this.#surface.close();
  }

  /** After rows went elsewhere: look at what one looked at, or at all. */
  #follow(scene: Scene, slow: number): void {
    const camera = this.#camera;
    const { extent, places } = this.#layout;
    const { zoom } = camera.viewpoint;
    const all = camera.isWhole;
    camera.cover(extent, slow);
    if (all || scene.live) return;
    const row = scene.chosen;
    const x = places[2 * row];
    const y = places[2 * row + 1];
    if (x === undefined || y === undefined) camera.showAll(slow);
    else camera.goAlong({ x, y, zoom });
  }

  /** A hand or a command moved the view. */
  #touch(): void {
    this.#touched = true;
    this.#schedule("all");
  }

  #schedule(what: "overlay" | "all"): void {
    if (this.#stale !== "all") this.#stale = what;
    if (this.#scheduled === 0) this.#scheduled = requestAnimationFrame(this.#tick);
  }

  readonly #tick = (): void => {
    if (this.#view.signal.aborted) return;
    this.#scheduled = 0;
    const scene = this.#scene;
    const what = this.#stale;
    this.#stale = "nothing";
    if (!scene || !this.#measure()) return;
    const now = performance.now();
    try {
      this.#frame(scene, what, now);
      this.#view.problem("drawing", "");
    } catch (error) {
      this.#view.problem("drawing", error instanceof Error ? error.message : String(error));
    }
  };

  #frame(scene: Scene, what: "nothing" | "overlay" | "all", now: number): void {
    const camera = this.#camera;
    const surface = this.#surface;
    const going = camera.advance(now);
    const moving = this.#layout.from !== this.#layout.places;
    if (moving && this.#layout.moved(now) >= 1) {
      this.#layout.arrive();
      surface.leaving = new Uint32Array();
    }
    const busy = going || moving || this.#touched;
    this.#touched = false;
    const shows = this.#showing(scene, now, !busy);
    if (what === "overlay" && !busy && !surface.unfinished(now)) surface.drawOver(shows);
    else surface.draw(shows);
    if (busy)
      surface.pace.beat(now, this.#layout.index.rows.length + 16 * surface.pictures.rows.length);
    if (this.minimap.offsetParent)
      this.#map.draw(this.#layout.index, scene.inks, camera.extent, camera.view, surface.theme.ink);
    this.#tellMoved();
    if (going || moving || surface.unfinished(now)) this.#schedule("all");
    else if (busy) this.#rest();
  }

  /** Draw once more when all has come to rest. */
  #rest(): void {
    clearTimeout(this.#resting);
    this.#resting = setTimeout(() => {
      this.#resting = 0;
      this.#schedule("all");
    }, REST + 10) as unknown as number;
  }

  #tellMoved(): void {
    const { viewpoint, isWhole } = this.#camera;
    const { x, y, zoom } = viewpoint;
    const said = `${x} ${y} ${zoom}`;
    if (said === this.#said) return;
    const first = this.#said === "";
    this.#said = said;
    if (!first) this.#hands.moved(isWhole ? { ...viewpoint, zoom: 1 } : viewpoint);
  }

  #showing(scene: Scene, now: number, resting: boolean): Showing {
    return {
      scene,
      layout: this.#layout,
      camera: this.#camera,
      hovered: this.#hovered,
      outline: this.#outline,
      resting,
      now,
    };
  }

  /** Take over the present size; false while there is none. */
  #measure(): boolean {
    const { clientWidth: width, clientHeight: height } = this.node;
    if (!width || !height) return false;
    this.#camera.room = { width, height };
    if (this.#scene) this.#camera.mostZoom = this.#surface.mostZoom(this.#scene, this.#camera);
    return true;
  }

  #hitAt([x, y]: Point): number {
    if (!this.#scene) return -1;
    const shown = this.#surface.shown(this.#scene, this.#layout, this.#camera);
    return hit(this.#layout.index, this.#camera.view, shown, x, y);
  }

  #hover(row: number, x: number, y: number): void {
    if (row !== this.#hovered) this.#schedule("overlay");
    this.#hovered = row;
    this.#hands.hover(row, x, y);
  }

  #moves(): Moves {
    const camera = this.#camera;
    return {
      tool: () => this.#scene?.tool ?? "pan",
      hover: (point) => {
        if (point) this.#hover(this.#hitAt(point), ...point);
        else if (this.#hovered >= 0) this.#hover(-1, 0, 0);
      },
      choose: (point, add) => this.#hands.choose(this.#hitAt(point), add),
      pan: (dx, dy) => {
        camera.pan(dx, dy);
        this.#touch();
      },
      zoom: (factor, point, smooth) => {
        const { width, height } = camera.room;
        const [x, y] = point ?? [width / 2, height / 2];
        camera.zoom(factor, { x, y }, smooth ? STEP : 0);
        this.#touch();
      },
      all: () => {
        this.look(null);
        this.#hands.announce("All of the map is in view");
      },
      outline: (outline) => {
        this.#outline = outline && { ...outline };
        this.#schedule("overlay");
      },
      select: (kind, points, add) => {
        const [first, last] = [points[0] as Point, points.at(-1) as Point];
        const outline = kind === "box" ? boxBetween(first, last) : points;
        this.#hands.select(within(this.#layout.index, camera.view, outline), add);
      },
      walk: (way) => this.#walk(way),
      enter: (add) => {
        if (this.#hovered >= 0) this.#hands.choose(this.#hovered, add);
      },
      escape: () => this.#hover(-1, 0, 0),
      hint: () => {
        this.#hint.hidden = false;
        clearTimeout(this.#hinting);
        this.#hinting = setTimeout(() => {
          this.#hint.hidden = true;
        }, HINT) as unknown as number;
      },
    };
  }

  /** Go to another image: the nearest in a direction, or the next or previous in the order of reading. */
  #walk(way: Point | 1 | -1): void {
    const scene = this.#scene;
    if (!scene) return;
    const { index } = this.#layout;
    const { view } = this.#camera;
    const shown = this.#surface.shown(scene, this.#layout, this.#camera);
    // Among pictures where there are some in view, else among dots.
    const rows = inReadingOrder(index, view, shown.reach, (row) => shown.picture(row) !== null);
    const takes = rows.length ? (row: number) => shown.picture(row) !== null : () => true;
    const at = this.#hovered >= 0 ? this.#hovered : scene.chosen;
    let row: number;
    if (typeof way === "number") {
      const all = rows.length ? rows : inReadingOrder(index, view, shown.reach, takes);
      const place = all.indexOf(at);
      row = place < 0 ? (all[way > 0 ? 0 : all.length - 1] ?? -1) : (all[place + way] ?? -1);
    } else {
      const from = this.screen(at) ?? { x: view.width / 2, y: view.height / 2 };
      row = towards(index, view, from, way, (other) => other !== at && takes(other));
    }
    if (row < 0) {
      this.#hands.announce("No further image in view");
      return;
    }
    const { x, y } = this.screen(row) ?? { x: 0, y: 0 };
    this.#hover(row, x, y);
  }
}
