/** What keys do to the chosen mask. */

export type MaskKey =
  | { does: "move"; down: number; across: number }
  | { does: "grow"; rows: number; columns: number }
  | { does: "add" }
  | { does: "remove" }
  | { does: "deselect" };

const ARROWS: Record<string, [number, number]> = {
  ArrowUp: [-1, 0],
  ArrowDown: [1, 0],
  ArrowLeft: [0, -1],
  ArrowRight: [0, 1],
};
const GROWTH: Record<string, [number, number]> = {
  "+": [1, 1],
  "=": [1, 1],
  "-": [-1, -1],
  _: [-1, -1],
  h: [-1, 0],
  H: [1, 0],
  w: [0, -1],
  W: [0, 1],
};

interface Pressed {
  key: string;
  shiftKey: boolean;
  ctrlKey: boolean;
  metaKey: boolean;
  altKey: boolean;
}

/** What a pressed key asks for; null where it is no key of the masks. */
export function maskKey(pressed: Pressed, stride: number): MaskKey | null {
  const { key, shiftKey } = pressed;
  if (pressed.ctrlKey || pressed.metaKey || pressed.altKey) return null;
  const arrow = ARROWS[key];
  const by = shiftKey ? stride : 1;
  if (arrow) return { does: "move", down: arrow[0] * by, across: arrow[1] * by };
  const growth = GROWTH[key];
  if (growth) return { does: "grow", rows: growth[0], columns: growth[1] };
  if (key === "Enter" || key === "Insert") return { does: "add" };
  if (key === "Delete" || key === "Backspace") return { does: "remove" };
  return key === "Escape" ? { does: "deselect" } : null;
}

/** For the view's table of keys. */
export const MASK_KEYS: [string, string][] = [
  ["← → ↑ ↓", "move the mask by a pixel; with Shift by a stride"],
  ["+ −", "larger, smaller; h H lower, higher; w W narrower, wider"],
  ["Tab", "next mask"],
  ["Enter", "another mask"],
  ["Delete", "take the mask away"],
  ["Escape", "let go of the mask"],
];
