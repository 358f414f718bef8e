/**
 * Parts of a view that only work with Python behind them, fetched from there when they are needed:
 * a bundle is saved with every widget, and these need not be.
 */

import type { Requests } from "./wire.ts";

/** Fetch `nbviz/static/<name>.part.js` and hand over what it exports. */
export function fetchPart<Part>(
  requests: Requests,
  name: string,
  take: (part: Part) => void,
  fail: (message: string) => void,
): void {
  requests.ask(
    "part",
    { name },
    ({ fields }) => {
      const text = new Blob([String(fields.module)], { type: "text/javascript" });
      const address = URL.createObjectURL(text);
      import(address)
        .then(take)
        .catch((error) => fail(`This page does not let the part ${name} run: ${error}`))
        .finally(() => URL.revokeObjectURL(address));
    },
    fail,
  );
}
