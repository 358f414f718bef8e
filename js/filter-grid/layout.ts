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
  /** room at the left and at the top for channel numbers, matrix only; does not scroll */
  gutterX: number;
  gutterY: number;
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
  const stripGap = matrix ? (panelHeight < px(8) ? 1 : px(2)) : px(6);
  const stripWidth = panels * panelWidth + (panels - 1) * panelGap;
  const caption = !matrix && stripWidth >= px(22) ? px(14) : 0;
  const gutterX = matrix ? px(38) : 0;
  const gutterY = matrix ? px(18) : 0;
  const perLine = matrix
    ? 1
    : Math.max(1, Math.floor((input.width + stripGap) / (stripWidth + stripGap)));
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
    perLine,
    lines,
    stripWidth,
    lineHeight,
    contentWidth: gutterX + Math.min(perLine, outputs) * (stripWidth + stripGap) - stripGap,
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

/** Device pixels a weight when nobody has zoomed: a kernel about as large as a fingertip. */
export function fittingScale(
  kernelWidth: number,
  kernelHeight: number,
  matrix: boolean,
  density: number,
): number {
  const target = matrix ? 16 : 60;
  const side = Math.max(kernelWidth, kernelHeight);
  const css = Math.max(1, Math.min(matrix ? 14 : 16, Math.round(target / side)));
  return Math.max(1, Math.round(css * density));
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
