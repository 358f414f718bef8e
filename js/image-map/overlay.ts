/** What lies over the map: seams, lines to neighbours, pictures of one's own, a lasso. */

import { type Rgb, sidesOf } from "./painter.ts";
import type { Point } from "./picking.ts";
import type { Scene } from "./scene.ts";
import { type Projection, toScreen } from "./viewpoint.ts";

export interface OverlayFrame {
  scene: Scene;
  view: Projection;
  /** where a row is now, in units of place */
  placeOf(row: number): Point;
  /** the row under the pointer, -1 for none, and the sides of its picture or dot */
  hovered: number;
  sidesOf(row: number): Point;
  /** CSS pixels of a picture */
  side: number;
  outline: { kind: "lasso" | "box"; points: Point[] } | null;
  paper: Rgb;
  ink: Rgb;
  accent: Rgb;
  warn: Rgb;
}

/** A neighbour that the map took further away than this counts as torn from it: its line is dashed. */
const TORN = 0.5;

export function drawOverlay(context: CanvasRenderingContext2D, frame: OverlayFrame): void {
  context.lineCap = context.lineJoin = "round";
  drawSeams(context, frame);
  drawLinks(context, frame);
  drawOwn(context, frame);
  drawHovered(context, frame);
  drawOutline(context, frame);
}

function drawSeams(context: CanvasRenderingContext2D, frame: OverlayFrame): void {
  const { scene, ink } = frame;
  if (!scene.seams) return;
  const { pairs, strength } = scene.seams;
  // A seam lies between two images: it is drawn across the line that joins them. Three widths,
  // so that thousands are three strokes.
  for (let band = 0; band < 3; band++) {
    context.beginPath();
    for (let i = 0; i < strength.length; i++) {
      if (Math.min(2, ((strength[i] as number) * 3) >> 8) !== band) continue;
      const a = screenOf(frame, pairs[2 * i] as number);
      const b = screenOf(frame, pairs[2 * i + 1] as number);
      const [dx, dy] = [(b.x - a.x) / 2, (b.y - a.y) / 2];
      const [x, y] = [a.x + dx, a.y + dy];
      if (x < -50 || y < -50 || x > frame.view.width + 50 || y > frame.view.height + 50) continue;
      context.moveTo(x - dy, y + dx);
      context.lineTo(x + dy, y - dx);
    }
    context.strokeStyle = css(ink, 0.35 + 0.25 * band);
    context.lineWidth = 0.75 + 0.9 * band;
    context.stroke();
  }
}

function drawLinks(context: CanvasRenderingContext2D, frame: OverlayFrame): void {
  const { links } = frame.scene;
  if (!links) return;
  const from = links.from
    ? toScreen(frame.view, links.from.x, links.from.y)
    : screenOf(frame, links.row);
  // The nearest comes last, above the others.
  for (let i = links.neighbours.length - 1; i >= 0; i--) {
    const torn = links.torn[i] ?? 0;
    const far = torn > TORN;
    const to = screenOf(frame, links.neighbours[i] as number);
    context.beginPath();
    context.moveTo(from.x, from.y);
    context.lineTo(to.x, to.y);
    context.setLineDash(far ? [7, 5] : []);
    const width = far ? 2.5 : 1.5;
    context.strokeStyle = css(frame.paper, 0.85);
    context.lineWidth = width + 2.5;
    context.stroke();
    context.strokeStyle = css(far ? frame.warn : frame.accent);
    context.lineWidth = width;
    context.stroke();
    context.setLineDash([]);
    const [across, down] = frame.sidesOf(links.neighbours[i] as number);
    frameRound(context, frame, to, across + 2, down + 2, far ? frame.warn : frame.accent);
  }
}

function drawOwn(context: CanvasRenderingContext2D, frame: OverlayFrame): void {
  const side = Math.max(40, frame.side * 1.3);
  frame.scene.own.forEach((own, i) => {
    const at = toScreen(frame.view, own.x, own.y);
    const [width, height] = sidesOf(own.aspect, side);
    const [left, top] = [at.x - width / 2, at.y - height / 2];
    context.fillStyle = css(frame.paper);
    context.fillRect(left - 5, top - 5, width + 10, height + 10);
    if (own.picture) context.drawImage(own.picture, left, top, width, height);
    context.strokeStyle = css(frame.ink);
    context.lineWidth = 2;
    context.strokeRect(left - 4, top - 4, width + 8, height + 8);
    // A flag says which it is, for a frame alone could be any mark.
    const text = frame.scene.own.length > 1 ? `own ${i + 1}` : "own";
    context.font = "600 11px system-ui, sans-serif";
    const wide = context.measureText(text).width + 8;
    context.fillStyle = css(frame.ink);
    context.fillRect(left - 5, top - 19, wide, 15);
    context.fillStyle = css(frame.paper);
    context.textAlign = "left";
    context.textBaseline = "middle";
    context.fillText(text, left - 1, top - 11);
  });
}

function drawHovered(context: CanvasRenderingContext2D, frame: OverlayFrame): void {
  if (frame.hovered < 0) return;
  const [across, down] = frame.sidesOf(frame.hovered);
  const at = screenOf(frame, frame.hovered);
  frameRound(context, frame, at, across + 4, down + 4, frame.ink);
}

function frameRound(
  context: CanvasRenderingContext2D,
  frame: OverlayFrame,
  at: { x: number; y: number },
  across: number,
  down: number,
  colour: Rgb,
): void {
  context.strokeStyle = css(frame.paper, 0.9);
  context.lineWidth = 5;
  context.strokeRect(at.x - across / 2, at.y - down / 2, across, down);
  context.strokeStyle = css(colour);
  context.lineWidth = 2;
  context.strokeRect(at.x - across / 2, at.y - down / 2, across, down);
}

function drawOutline(context: CanvasRenderingContext2D, frame: OverlayFrame): void {
  if (!frame.outline) return;
  const { points, kind } = frame.outline;
  const [first, last] = [points[0] as Point, points.at(-1) as Point];
  context.beginPath();
  if (kind === "box") context.rect(...first, last[0] - first[0], last[1] - first[1]);
  else {
    for (const point of points) context.lineTo(...point);
    context.closePath();
  }
  context.fillStyle = css(frame.accent, 0.15);
  context.fill("evenodd");
  context.setLineDash([5, 4]);
  context.strokeStyle = css(frame.accent);
  context.lineWidth = 1.5;
  context.stroke();
  context.setLineDash([]);
}

function screenOf(frame: OverlayFrame, row: number): { x: number; y: number } {
  return toScreen(frame.view, ...frame.placeOf(row));
}

function css([red, green, blue]: Rgb, alpha = 1): string {
  return `rgb(${red} ${green} ${blue} / ${alpha})`;
}
