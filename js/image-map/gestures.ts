/** Hands on the stage: pointer, wheel and keys become moves, hits and outlines. */

import type { Point } from "./picking.ts";
import type { Tool } from "./state.ts";

export interface Moves {
  tool(): Tool;
  /** the pointer is here, or left */
  hover(point: Point | null): void;
  choose(point: Point, add: boolean): void;
  pan(dx: number, dy: number): void;
  /** by a factor at a point; smooth: on the way there, not at once */
  zoom(factor: number, point: Point | null, smooth: boolean): void;
  all(): void;
  /** a lasso or box is being drawn; null: it was given up */
  outline(outline: { kind: "lasso" | "box"; points: Point[] } | null): void;
  select(kind: "lasso" | "box", points: Point[], add: boolean): void;
  /** to the next image: in a direction, or in the order of reading (1, -1) */
  walk(direction: Point | 1 | -1): void;
  /** Enter: what was walked to */
  enter(add: boolean): void;
  escape(): void;
  /** the wheel was turned over a stage that is not in use */
  hint(): void;
}

/** CSS pixels that a hand shakes in a click. */
const STILL = 4;
/** Octaves of zoom a notch of a wheel, some 100 pixels of scrolling. */
const NOTCH = 0.35;

interface Held {
  /** where it went down, and where it is */
  start: Point;
  last: Point;
}

export function gestures(canvas: HTMLCanvasElement, moves: Moves, signal: AbortSignal): void {
  const held = new Map<number, Held>();
  let drawing: { kind: "lasso" | "box"; points: Point[]; add: boolean } | null = null;
  let clicking = false;
  const point = (event: MouseEvent): Point => {
    const box = canvas.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  };
  const on = <K extends keyof HTMLElementEventMap>(
    type: K,
    act: (event: HTMLElementEventMap[K]) => void,
    passive = true,
  ) => canvas.addEventListener(type, act, { signal, passive });

  // A page can be scrolled with a finger on the map until the map is in use.
  canvas.style.touchAction = "pan-y";
  on("focus", () => {
    canvas.style.touchAction = "none";
  });
  on("blur", () => {
    canvas.style.touchAction = "pan-y";
  });

  /** End what is being drawn; false: nothing was. */
  const giveUp = () => {
    const given = drawing !== null;
    if (given) moves.outline(null);
    drawing = null;
    clicking = false;
    return given;
  };

  on("pointerdown", (event) => {
    if (event.button > 1) return;
    canvas.focus({ preventScroll: true });
    canvas.setPointerCapture(event.pointerId);
    const start = point(event);
    held.set(event.pointerId, { start, last: start });
    if (held.size > 1) {
      giveUp();
      return;
    }
    clicking = event.button === 0;
    const tool = moves.tool();
    if (event.button === 0 && (tool !== "pan" || event.shiftKey)) {
      drawing = {
        kind: tool === "box" ? "box" : "lasso",
        points: [start],
        add: event.shiftKey,
      };
    }
  });

  on("pointermove", (event) => {
    const now = point(event);
    const hand = held.get(event.pointerId);
    if (!hand) {
      if (event.pointerType !== "touch") moves.hover(now);
      return;
    }
    const before = hand.last;
    if (clicking && distance(hand.start, now) <= STILL) return;
    if (clicking) moves.hover(null);
    clicking = false;
    hand.last = now;
    if (held.size === 2) pinch(event.pointerId, before, now);
    else if (drawing) {
      if (drawing.kind === "box") drawing.points = [hand.start, now];
      else if (distance(drawing.points.at(-1) as Point, now) > 2) drawing.points.push(now);
      moves.outline(drawing);
    } else moves.pan(now[0] - before[0], now[1] - before[1]);
  });

  const pinch = (id: number, before: Point, now: Point) => {
    const other = [...held].find(([key]) => key !== id)?.[1].last;
    if (!other) return;
    const factor = Math.max(1, distance(now, other)) / Math.max(1, distance(before, other));
    // What lies under the other finger stays under it; the middle of both goes half the way.
    moves.zoom(factor, other, false);
  };

  const let_go = (event: PointerEvent, cancelled: boolean) => {
    if (!held.delete(event.pointerId)) return;
    const click = clicking && !cancelled;
    clicking = false;
    const drawn = drawing;
    drawing = null;
    if (drawn) moves.outline(null);
    if (click) moves.choose(point(event), event.shiftKey);
    else if (drawn && !cancelled) moves.select(drawn.kind, drawn.points, drawn.add);
  };
  on("pointerup", (event) => let_go(event, false));
  on("pointercancel", (event) => let_go(event, true));
  on("pointerleave", () => {
    if (!held.size) moves.hover(null);
  });
  on("dblclick", (event) => moves.zoom(event.shiftKey ? 0.5 : 2, point(event), true));

  on(
    "wheel",
    (event) => {
      const root = canvas.getRootNode() as Document | ShadowRoot;
      if (!event.ctrlKey && !event.metaKey && root.activeElement !== canvas) {
        moves.hint();
        return;
      }
      event.preventDefault();
      const lines = event.deltaMode === 1 ? 33 : event.deltaMode === 2 ? 400 : 1;
      // A pinch on a trackpad comes as a wheel with Ctrl and much smaller steps.
      const strength = event.ctrlKey && Math.abs(event.deltaY) < 50 ? 4 : 1;
      const octaves = (-event.deltaY * lines * strength * NOTCH) / 100;
      const factor = 2 ** Math.min(1, Math.max(-1, octaves));
      moves.zoom(factor, point(event), strength === 1 && Math.abs(event.deltaY * lines) > 50);
    },
    false,
  );
  on(
    "keydown",
    (event) => {
      if (key(event, moves, giveUp)) event.preventDefault();
    },
    false,
  );
}

const ARROWS: Record<string, Point> = {
  ArrowLeft: [-1, 0],
  ArrowRight: [1, 0],
  ArrowUp: [0, -1],
  ArrowDown: [0, 1],
};
/** CSS pixels that an arrow key pans. */
const STEP = 80;

/** Act on a key; false: it is none of the stage's. */
function key(event: KeyboardEvent, moves: Moves, giveUp: () => boolean): boolean {
  if (event.ctrlKey || event.metaKey) return false;
  const arrow = ARROWS[event.key];
  if (arrow && event.altKey) moves.walk(arrow);
  else if (arrow) moves.pan(-arrow[0] * STEP, -arrow[1] * STEP);
  else if (event.altKey) return false;
  else if (event.key === "+" || event.key === "=") moves.zoom(1.5, null, true);
  else if (event.key === "-" || event.key === "_") moves.zoom(1 / 1.5, null, true);
  else if (event.key === "0" || event.key === "Home") moves.all();
  else if (event.key === "n") moves.walk(1);
  else if (event.key === "p") moves.walk(-1);
  else if (event.key === "Enter") moves.enter(event.shiftKey);
  else if (event.key === "Escape") {
    moves.escape();
    // Where nothing was being drawn, it is for the view to end the tool or the selection.
    return giveUp();
  } else return false;
  return true;
}

function distance([x0, y0]: Point, [x1, y1]: Point): number {
  return Math.hypot(x1 - x0, y1 - y0);
}
