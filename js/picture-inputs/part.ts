/** Data set, files, draw pad and camera, as a part that a view fetches; see `js/shared/parts.ts`. */

import { element } from "../shared/controls.ts";
import dropTarget from "../shared/drop-target.css";
import type { View } from "../shared/view.ts";
import type { Requests } from "../shared/wire.ts";
import css from "./inputs.css";
import { type InputActions, Inputs } from "./inputs.ts";

export interface InputsPart {
  openInputs(view: View, requests: Requests, actions: InputActions): Inputs;
}

export function openInputs(view: View, requests: Requests, actions: InputActions): Inputs {
  const inputs = new Inputs(view, requests, actions);
  view.root.prepend(element("style", {}, dropTarget + css));
  return inputs;
}
