/** Settings of masks and the work on the full map: what needs Python behind the view. */

import type { MapData } from "../occlusion-probe/map-data.ts";
import { isThere, type Region } from "../occlusion-probe/state.ts";
import type { View } from "../shared/view.ts";
import type { Answer, Requests } from "../shared/wire.ts";
import { EvidenceList } from "./evidence.ts";
import { type MapActions, MapWork } from "./map-work.ts";
import { type MaskActions, MaskSettings } from "./mask-settings.ts";
import { Run } from "./run.ts";
import { TargetBox } from "./target.ts";
import { Trail } from "./trail.ts";

export interface ToolActions extends MaskActions, MapActions {
  /** a partial map came */
  partial(answer: Answer): void;
  /** a region of the evidence is pointed at; 0 for none */
  point(rank: number): void;
  /** put a mask on a region */
  cover(region: Region): void;
}

export class Tools {
  /** the target, and settings of masks */
  readonly masks: HTMLElement;
  /** the full map's making, and what is done with one */
  readonly work: HTMLElement;
  readonly after: HTMLElement;
  readonly evidence: HTMLElement;
  readonly trail: Trail;
  readonly #target: TargetBox;
  readonly #list: EvidenceList;
  readonly #actions: ToolActions;
  readonly #settings: MaskSettings;
  readonly #map: MapWork;
  readonly #run: Run;

  constructor(view: View, requests: Requests, actions: ToolActions) {
    const { signal } = view;
    this.#actions = actions;
    this.#run = new Run(requests, signal, {
      partial: (answer) => actions.partial(answer),
      changed: () => view.redraw(),
      failed: (message) => actions.problem(message),
    });
    this.trail = new Trail(view);
    this.#settings = new MaskSettings(signal, actions);
    this.#map = new MapWork(this.#run, requests, signal, actions);
    this.#target = new TargetBox(signal, requests, {
      choose: (target) => actions.set({ target }),
      problem: (text) => actions.problem(text),
    });
    this.#list = new EvidenceList({
      point: (rank) => actions.point(rank),
      cover: (region) => actions.cover(region),
      close: () =>
        requests.ask(
          "drop_evidence",
          {},
          () => actions.problem(""),
          (text) => actions.problem(text),
        ),
    });
    this.masks = this.#settings.node;
    this.#settings.row.prepend(this.#target.node);
    this.evidence = this.#list.node;
    this.work = this.#map.node;
    this.after = this.#map.after;
  }

  /** whether the full map is being worked on from this view */
  get running(): boolean {
    return this.#run.running;
  }

  /** A hand drags, or does no longer: the full map waits. */
  hold(held: boolean): void {
    this.#run.hold(held);
  }

  stop(): void {
    if (this.#run.running) this.#run.stop();
  }

  show(masks: number, map: MapData | null): void {
    this.#settings.show(masks);
    this.#map.show(map);
    const { get } = this.#actions;
    const evidence = get("evidence_shown");
    this.#list.show(isThere(evidence) ? evidence : null);
    const prediction = get("prediction");
    if (isThere(prediction)) this.#target.show(prediction.target, prediction.follows);
  }
}
