/** Mask settings and the full map's making, as a part that a view fetches; see `js/shared/parts.ts`. */

import { element } from "../shared/controls.ts";
import type { View } from "../shared/view.ts";
import type { Requests } from "../shared/wire.ts";
import css from "./tools.css";
import { type ToolActions, Tools } from "./tools.ts";

export interface ToolsPart {
  openTools(view: View, requests: Requests, actions: ToolActions): Tools;
}

export function openTools(view: View, requests: Requests, actions: ToolActions): Tools {
  const tools = new Tools(view, requests, actions);
  view.root.prepend(element("style", {}, css));
  return tools;
}
