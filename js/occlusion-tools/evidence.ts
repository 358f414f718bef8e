/** Which regions the network relies on, ranked by the confidence lost there. */

import { numeric } from "../occlusion-probe/map-data.ts";
import { amount } from "../occlusion-probe/reading.ts";
import type { EvidenceState, Region } from "../occlusion-probe/state.ts";
import { button, element, rebuild } from "../shared/controls.ts";

export interface EvidenceActions {
  /** a region is pointed at; 0 for none */
  point(rank: number): void;
  /** put a mask on a region */
  cover(region: Region): void;
  close(): void;
}

export class EvidenceList {
  readonly node = element("section", { class: "evidence", "aria-label": "Evidence", hidden: "" });
  readonly #actions: EvidenceActions;

  constructor(actions: EvidenceActions) {
    this.#actions = actions;
  }

  show(state: EvidenceState | null): void {
    this.node.hidden = !state;
    if (!state) return;
    rebuild(this.node, JSON.stringify(state), () => [
      element(
        "p",
        { class: "headline" },
        element("strong", {}, "Evidence"),
        ` for ${state.target.name} `,
        button("✕", "Hide the evidence", () => this.#actions.close(), "button small"),
      ),
      ...this.#known(state),
      element(
        "ol",
        { "aria-label": "Regions, most confidence lost first" },
        ...state.regions.map((region) => this.#region(region)),
      ),
      ...(state.regions.length > 0
        ? [element("p", { class: "soft" }, "Press a region to put a mask on it.")]
        : []),
    ]);
  }

  /** The verdict says it in words: how much of the loss falls into known boxes, against their area. */
  #known({ boxes, inside, area }: EvidenceState): HTMLElement[] {
    if (boxes.length === 0 || inside === null) return [];
    const share = (value: number) => `${Math.max(0, Math.min(100, 100 * value)) || 0}%`;
    const fill = element("span", { class: "fill" });
    fill.style.width = share(numeric(inside));
    const mark = element("span", { class: "mark" });
    mark.style.left = share(numeric(area));
    const label = `loss in the known ${boxes.length === 1 ? "box" : "boxes"} (dashed) ${amount(numeric(inside), "%")}; line: by chance, ${amount(numeric(area), "%")}`;
    return [
      element("div", { class: "track wide", "aria-hidden": "true" }, fill, mark),
      element("p", { class: "soft" }, label),
    ];
  }

  #region(region: Region): HTMLElement {
    const [top, left, bottom, right] = region.box;
    const place = `rows ${top}–${bottom}, columns ${left}–${right}`;
    const text = `▼ ${amount(-numeric(region.drop), "%p", true)} at most; ${amount(numeric(region.share), "%")} of all loss`;
    const node = button(
      "",
      `Region ${region.rank}, ${place}: put a mask on it`,
      () => this.#actions.cover(region),
      "button region",
    );
    node.append(
      element("span", { class: "rank" }, String(region.rank)),
      element("span", {}, text),
      element("span", { class: "soft" }, place),
    );
    for (const [type, rank] of [
      ["pointerenter", region.rank],
      ["focus", region.rank],
      ["pointerleave", 0],
      ["blur", 0],
    ] as const) {
      node.addEventListener(type, () => this.#actions.point(rank));
    }
    return element("li", {}, node);
  }
}
