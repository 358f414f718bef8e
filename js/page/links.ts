/** Views that share their choices, as `nbviz.link` has it. */

import type { PageData, Value } from "./data.ts";
import type { PageModel } from "./model.ts";

const OF_LAYER = ["channel", "unit"];

export function linkModels(models: Map<string, PageModel>, links: PageData["links"]): void {
  for (const [id, model] of models) {
    const partners = links.flatMap(({ models: pair, shared }) => {
      const other = pair[0] === id ? pair[1] : pair[1] === id ? pair[0] : null;
      const target = other === null ? undefined : models.get(other);
      return target ? [{ target, shared }] : [];
    });
    model.chosen = (names) => {
      for (const { target, shared } of partners) {
        for (const name of shared) if (names.includes(name)) handOn(model, target, shared, name);
      }
    };
  }
}

function handOn(source: PageModel, target: PageModel, shared: string[], changed: string): void {
  const names = changed === "layer" ? shared.slice(shared.indexOf("layer")) : [changed];
  for (const name of names) {
    const apart = shared.includes("layer") && source.get("layer") !== target.get("layer");
    if (OF_LAYER.includes(name) && apart) return;
    const value = source.get(name) as Value;
    // A picture of one's own has no number that would mean anything elsewhere.
    if (name === "image" && Number(value) < 0) return;
    target.follow(name, value);
  }
}
