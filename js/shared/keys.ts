/** Keys of the Deep Visualization Toolbox that make sense here, and what they do. */

import { element } from "./controls.ts";

export interface Key {
  keys: string;
  does: string;
  /** as `KeyboardEvent.key` gives it; empty where a part of the view takes it itself */
  names: string[];
  act(key: string): void;
}

/** Take keys that are pressed anywhere in a view but in a field that is typed into. */
export function listenToKeys(root: ShadowRoot, signal: AbortSignal, keys: Key[]): void {
  root.addEventListener(
    "keydown",
    (event) => {
      const { key, ctrlKey, metaKey, altKey, target } = event as KeyboardEvent;
      if (ctrlKey || metaKey || altKey || event.defaultPrevented) return;
      if ((target as Element).closest("input:not([type=checkbox], [type=range]), select, textarea"))
        return;
      const found = keys.find(({ names }) => names.includes(key));
      if (!found) return;
      event.preventDefault();
      found.act(key);
    },
    { signal },
  );
}

export function keysTable(keys: Key[]): HTMLElement {
  return element(
    "dl",
    { class: "keys", "aria-label": "Keys" },
    ...keys.flatMap(({ keys: names, does }) => [element("dt", {}, names), element("dd", {}, does)]),
  );
}
