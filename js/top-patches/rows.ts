/** Which rows of a long list are in view, and whose patches to ask for next; without a page. */

export interface Metrics {
  /** CSS pixels of a row, of the gap between patches, and of what stands below a patch */
  height: number;
  /** patches side by side that there is room for */
  across: number;
}

export const GAP = 6;
export const CAPTION = 18;
/** room at the left of the patches for what is said of the channel, unless the list is narrow */
export const FACTS = 132;
export const NARROW = 520;
const PADDING = 10;
const INDENT = 8;
/** smallest and largest patch where the list chooses */
const [SMALL, LARGE] = [48, 80];
const FACTS_HEIGHT = 56;
const FACTS_LINE = 20;

export function metrics(width: number, size: number, patches: number): Metrics {
  const narrow = width < NARROW;
  const across = fitting(roomOf(width), size, patches);
  const strip = size + CAPTION;
  const inner = narrow ? strip + FACTS_LINE : Math.max(strip, FACTS_HEIGHT);
  return { height: inner + PADDING, across };
}

/** Side of a patch with which as many as are wanted fill a row; never so small that nothing is seen. */
export function fitted(width: number, patches: number): number {
  const room = roomOf(width);
  const side = Math.floor((room + GAP) / fitting(room, SMALL, patches)) - GAP;
  return Math.max(SMALL, Math.min(LARGE, side));
}

function roomOf(width: number): number {
  return width - 4 - (width < NARROW ? INDENT : FACTS);
}

function fitting(room: number, size: number, patches: number): number {
  return Math.max(1, Math.min(patches, Math.floor((room + GAP) / (size + GAP))));
}

/** First and past-last row that show, with some above and below so that scrolling meets no gap. */
export function rowWindow(
  scrolled: number,
  viewport: number,
  height: number,
  rows: number,
  spare = 0,
): [number, number] {
  const first = Math.max(0, Math.floor(scrolled / height) - spare);
  const end = Math.min(rows, Math.ceil((scrolled + viewport) / height) + spare);
  return [Math.min(first, end), end];
}

/** Most channels in one question: an answer is under way while the next is asked for. */
export const ASKED = 8;

/**
 * Channels to ask for: those in view from the top, then a page below and a page above, without
 * those that are there or on their way.
 */
export function channelsToAsk(
  order: ArrayLike<number>,
  [first, end]: [number, number],
  there: (channel: number) => boolean,
): number[] {
  const page = Math.max(1, end - first);
  const found: number[] = [];
  const take = (from: number, to: number, step: number) => {
    for (let row = from; row !== to && found.length < ASKED; row += step) {
      const channel = order[row];
      if (channel !== undefined && !there(channel)) found.push(channel);
    }
  };
  take(first, end, 1);
  // What is in view goes alone: nothing waits for what may be scrolled past.
  if (found.length > 0) return found;
  take(end, Math.min(order.length, end + page), 1);
  take(first - 1, Math.max(-1, first - 1 - page), -1);
  return found;
}

/** Where a key takes the cursor: a row and a patch of it. */
export function moved(
  [row, patch]: [number, number],
  key: string,
  rows: number,
  page: number,
  patchesOf: (row: number) => number,
): [number, number] {
  const steps: Record<string, number> = {
    ArrowUp: -1,
    ArrowDown: 1,
    PageUp: -page,
    PageDown: page,
    Home: -rows,
    End: rows,
  };
  const to = Math.max(0, Math.min(rows - 1, row + (steps[key] ?? 0)));
  const aside = key === "ArrowLeft" ? -1 : key === "ArrowRight" ? 1 : 0;
  return [to, Math.max(0, Math.min(patchesOf(to) - 1, patch + aside))];
}

/** Scroll position that shows a row whole, as near to the present one as can be. */
export function scrolledTo(
  scrolled: number,
  viewport: number,
  height: number,
  row: number,
): number {
  const top = row * height;
  if (top < scrolled) return top;
  return top + height > scrolled + viewport ? top + height - viewport : scrolled;
}
