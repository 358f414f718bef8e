/** Boxes on an image, in whole pixels of the network's input; without a page. */

import type { Box } from "./state.ts";

/** Height and width of the image. */
export type Sides = [number, number];

/** A point of the image, in its pixels, by row and column; between pixels too. */
export type Point = [number, number];

/** Every pixel that a drag between two points touches, within the image. */
export function dragged(from: Point, to: Point, sides: Sides): Box {
  const span = (axis: 0 | 1): [number, number] => {
    const most = sides[axis];
    const low = Math.floor(Math.min(from[axis], to[axis]));
    const high = Math.ceil(Math.max(from[axis], to[axis]));
    const first = Math.max(0, Math.min(most - 1, low));
    return [first, Math.max(first + 1, Math.min(most, high))];
  };
  const [top, bottom] = span(0);
  const [left, right] = span(1);
  return [top, left, bottom, right];
}

/** A press that hardly moves is a click, not a box. */
export function isDrag(from: [number, number], to: [number, number]): boolean {
  return Math.hypot(to[0] - from[0], to[1] - from[1]) >= 4;
}

export function isBox(box: number[], [height, width]: Sides): box is Box {
  const [top, left, bottom, right] = box as Box;
  if (box.length !== 4 || !box.every(Number.isInteger)) return false;
  return (
    0 <= top && top < bottom && bottom <= height && 0 <= left && left < right && right <= width
  );
}

/** Numbers as they were typed, made a box: an end that passed the other pushes it. */
export function withSide(box: Box, side: 0 | 1 | 2 | 3, value: number, sides: Sides): Box {
  const axis = side % 2;
  const most = sides[axis] as number;
  const next = [...box] as Box;
  if (!Number.isFinite(value)) return next;
  const whole = Math.round(value);
  if (side < 2) {
    next[side] = Math.max(0, Math.min(most - 1, whole));
    next[side + 2] = Math.max(next[side + 2] as number, next[side] + 1);
  } else {
    next[side] = Math.max(1, Math.min(most, whole));
    next[side - 2] = Math.min(next[side - 2] as number, next[side] - 1);
  }
  return next;
}

/** The box after a key: arrows move it, with `grow` they move its bottom and right side. */
export function keyed(box: Box, key: string, step: number, grow: boolean, sides: Sides): Box {
  const down = key === "ArrowDown" ? step : key === "ArrowUp" ? -step : 0;
  const across = key === "ArrowRight" ? step : key === "ArrowLeft" ? -step : 0;
  const [top, left, bottom, right] = box;
  const [height, width] = sides;
  if (grow) {
    return [
      top,
      left,
      Math.max(top + 1, Math.min(height, bottom + down)),
      Math.max(left + 1, Math.min(width, right + across)),
    ];
  }
  const y = Math.max(-top, Math.min(height - bottom, down));
  const x = Math.max(-left, Math.min(width - right, across));
  return [top + y, left + x, bottom + y, right + x];
}

/** A box to start from with the keyboard: the middle of the image. */
export function middleBox([height, width]: Sides): Box {
  const [y, x] = [Math.floor(height / 4), Math.floor(width / 4)];
  return [y, x, Math.max(y + 1, height - y), Math.max(x + 1, width - x)];
}
