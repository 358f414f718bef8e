/**
 * Where every kernel stands: pure arithmetic in device pixels.
 *
 * An output channel is a strip of panels, side by side: one panel where the kernel is drawn in
 * colour or has one input, otherwise one an input channel. Few panels: strips wrap like words
 * (gallery). Many: one strip a line, so that lines are output and columns input channels (matrix).
 */

export interface LayoutInput {
  outputs: number;
  panels: number;
  kernelWidth: number;
  kernelHeight: number;
  /** one strip a line */
  matrix: boolean;
  /** room for the canvas */
  width: number;
  /** device pixels a weight */
  scale: number;
  /** device pixels a CSS pixel */
  density: number;
}

export interface Layout extends LayoutInput {
  scaleX: number;
  scaleY: number;
  panelWidth: number;
  panelHeight: number;
  panelGap: number;
  stripGap: number;
  /** room below a strip for its number and marks; 0 where the strip is too narrow for it */
  caption: number;
  /** room at the left and at the top: for channel numbers in a matrix, else a margin */
  gutterX: number;
  gutterY: number;
  /** part of the gutters that stays when kernels scroll */
  fixedX: number;
  fixedY: number;
  perLine: number;
  lines: number;
  stripWidth: number;
  lineHeight: number;
  /** whole content, gutters included */
  contentWidth: number;
  contentHeight: number;
}

export interface Cell {
  /** place in the sorted order, not the channel */
  position: number;
  panel: number;
  row: number;
  column: number;
}

/** Strips of more panels than this stand one a line. */
export const GALLERY_PANELS = 4;

export function makeLayout(input: LayoutInput): Layout {
  const { density, scale, panels, kernelWidth, kernelHeight, outputs, matrix } = input;
  const px = (css: number) => Math.max(1, Math.round(css * density));
  const strip = kernelHeight === 1 && kernelWidth > 1;
  const scaleX = scale;
  const scaleY = strip ? Math.max(scale, px(14)) : scale;
  const panelWidth = kernelWidth * scaleX;
  const panelHeight = kernelHeight * scaleY;
  const panelGap = matrix ? (panelWidth < px(8) ? 1 : px(1)) : px(2);
  const stripWidth = panels * panelWidth + (panels - 1) * panelGap;
  const tight = matrix ? panelHeight < px(8) : stripWidth < px(22);
  const stripGap = tight ? 1 : matrix ? px(2) : px(6);
  const caption = !matrix && stripWidth >= px(22) ? px(14) : 0;
  // In a gallery just enough that the frame of a selected kernel at the edge is not cut.
  const margin = px(3);
  const gutterX = matrix ? px(38) : margin;
  const gutterY = matrix ? px(18) : margin;
  const room = input.width - 2 * margin;
  const perLine = matrix ? 1 : Math.max(1, Math.floor((room + stripGap) / (stripWidth + stripGap)));
  const lines = Math.ceil(outputs / perLine);
  const lineHeight = panelHeight + caption + stripGap;
  return {
    ...input,
    scaleX,
    scaleY,
    panelWidth,
    panelHeight,
    panelGap,
    stripGap,
    caption,
    gutterX,
    gutterY,
    fixedX: matrix ? gutterX : 0,
    fixedY: matrix ? gutterY : 0,
    perLine,
    lines,
    stripWidth,
    lineHeight,
    contentWidth:
      gutterX + Math.min(perLine, outputs) * (stripWidth + stripGap) - stripGap + margin,
    contentHeight: gutterY + lines * lineHeight,
  };
}

/** Left and top of a strip within the content. */
export function stripOrigin(layout: Layout, position: number): { x: number; y: number } {
  const line = Math.floor(position / layout.perLine);
  return {
    x: layout.gutterX + (position % layout.perLine) * (layout.stripWidth + layout.stripGap),
    y: layout.gutterY + line * layout.lineHeight,
  };
}

/** What stands at a point of the content; null between kernels. */
export function cellAt(layout: Layout, x: number, y: number): Cell | null {
  const fromLeft = x - layout.gutterX;
  const fromTop = y - layout.gutterY;
  if (fromLeft < 0 || fromTop < 0) return null;
  const place = Math.floor(fromLeft / (layout.stripWidth + layout.stripGap));
  const line = Math.floor(fromTop / layout.lineHeight);
  const position = line * layout.perLine + place;
  if (place >= layout.perLine || position >= layout.outputs) return null;
  const inStrip = fromLeft - place * (layout.stripWidth + layout.stripGap);
  const inLine = fromTop - line * layout.lineHeight;
  const panel = Math.floor(inStrip / (layout.panelWidth + layout.panelGap));
  const inPanel = inStrip - panel * (layout.panelWidth + layout.panelGap);
  if (panel >= layout.panels || inPanel >= layout.panelWidth || inLine >= layout.panelHeight) {
    return null;
  }
  return {
    position,
    panel,
    row: Math.floor(inLine / layout.scaleY),
    column: Math.floor(inPanel / layout.scaleX),
  };
}

/** A place on a kernel that can be found again after the scale has changed. */
export interface Spot {
  position: number;
  /** panels from the strip's left edge, and lines from its top, with fractions */
  across: number;
  down: number;
}

/** The spot at a point of the content, or the nearest where there is no kernel. */
export function spotAt(layout: Layout, x: number, y: number): Spot {
  const clamp = (n: number, most: number) => Math.min(most, Math.max(0, n));
  const line = clamp(Math.floor((y - layout.gutterY) / layout.lineHeight), layout.lines - 1);
  const pitch = layout.stripWidth + layout.stripGap;
  const place = clamp(Math.floor((x - layout.gutterX) / pitch), layout.perLine - 1);
  const position = Math.min(layout.outputs - 1, line * layout.perLine + place);
  const origin = stripOrigin(layout, position);
  return {
    position,
    across: (x - origin.x) / (layout.panelWidth + layout.panelGap),
    down: (y - origin.y) / layout.lineHeight,
  };
}

/** Where a spot stands in the content. */
export function pointOf(layout: Layout, spot: Spot): { x: number; y: number } {
  const origin = stripOrigin(layout, spot.position);
  return {
    x: origin.x + spot.across * (layout.panelWidth + layout.panelGap),
    y: origin.y + spot.down * layout.lineHeight,
  };
}

/**
 * Device pixels a weight when nobody has zoomed: as large as lets all kernels stand in the room
 * without scrolling, but no smaller than can be read and no larger than a poster.
 */
export function fittingScale(input: Omit<LayoutInput, "scale">, height: number): number {
  const side = Math.max(input.kernelWidth, input.kernelHeight);
  const scaleFor = (css: number, most: number) =>
    Math.max(1, Math.round(Math.min(most, Math.round(css / side) || 1) * input.density));
  const least = input.matrix ? scaleFor(16, 14) : scaleFor(60, 16);
  const most = input.matrix ? scaleFor(26, 20) : scaleFor(112, 24);
  for (let scale = most; scale > least; scale--) {
    const layout = makeLayout({ ...input, scale });
    if (layout.contentHeight <= height && layout.contentWidth <= input.width) return scale;
  }
  return least;
}

/** Scroll offset along one axis that shows [start, start + size) in a window, moving least. */
export function reveal(scroll: number, room: number, start: number, size: number): number {
  if (start < scroll) return start;
  if (start + size > scroll + room) return Math.min(start, start + size - room);
  return scroll;
}

/** Where an arrow key leads from a cell; stays inside. */
export function neighbour(
  layout: Layout,
  position: number,
  panel: number,
  key: string,
): { position: number; panel: number } {
  const last = layout.outputs - 1;
  const clamp = (n: number) => Math.min(last, Math.max(0, n));
  if (layout.matrix) {
    const across = Math.min(layout.panels - 1, Math.max(0, panel + STEP_X(key)));
    const page = key === "PageDown" ? 10 : key === "PageUp" ? -10 : 0;
    if (key === "Home") return { position: 0, panel: 0 };
    if (key === "End") return { position: last, panel };
    return { position: clamp(position + STEP_Y(key) + page), panel: across };
  }
  if (key === "Home") return { position: 0, panel };
  if (key === "End") return { position: last, panel };
  const page = key === "PageDown" ? 3 : key === "PageUp" ? -3 : 0;
  const next = position + STEP_X(key) + (STEP_Y(key) + page) * layout.perLine;
  return { position: next < 0 || next > last ? (page ? clamp(next) : position) : next, panel };
}

const STEP_X = (key: string) => (key === "ArrowRight" ? 1 : key === "ArrowLeft" ? -1 : 0);
const STEP_Y = (key: string) => (key === "ArrowDown" ? 1 : key === "ArrowUp" ? -1 : 0);
