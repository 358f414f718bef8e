/** The full map: made, stopped, gone on with, kept for comparison, saved. */

import type { MapData } from "../occlusion-probe/map-data.ts";
import { type Hands, isThere, type Progress } from "../occlusion-probe/state.ts";
import { button, download, element, select } from "../shared/controls.ts";
import type { Requests } from "../shared/wire.ts";
import { progressText, type Run } from "./run.ts";

const TOLERANCES: [number, string][] = [
  [0, "every position"],
  [0.01, "approximate, to 1 %"],
  [0.03, "approximate, to 3 %"],
  [0.1, "approximate, to 10 %"],
];

export interface MapActions extends Hands {
  /** Say what went wrong; empty takes it away. */
  problem(text: string): void;
}

export class MapWork {
  readonly node: HTMLElement;
  /** what can be done with a map that is there */
  readonly after: HTMLElement;
  readonly #start: HTMLButtonElement;
  readonly #goOn: HTMLButtonElement;
  readonly #stop: HTMLButtonElement;
  readonly #bar = element("progress", { "aria-label": "Progress of the full map", max: "1" });
  readonly #told = element("span", { class: "number" });
  readonly #exact;
  readonly #layer;
  readonly #channel = element("input", {
    type: "number",
    min: "-1",
    class: "text",
    "aria-label": "Channel of the feature map, -1 for all",
  });
  readonly #of = element("label", { class: "control" }, "channel", this.#channel);
  readonly #keep: HTMLButtonElement;
  readonly #drop: HTMLButtonElement;
  readonly #run: Run;
  readonly #requests: Requests;
  readonly #actions: MapActions;

  constructor(run: Run, requests: Requests, signal: AbortSignal, actions: MapActions) {
    this.#run = run;
    this.#requests = requests;
    this.#actions = actions;
    const start = (restart: boolean) => {
      actions.problem("");
      run.start(restart);
    };
    this.#start = button(
      "Full map",
      "Put the mask on every position in turn",
      () => start(true),
      "button strong",
    );
    this.#goOn = button("Go on", "Go on with the map where it was stopped", () => start(false));
    this.#stop = button("Stop", "Stop; what was computed stays", () => run.stop());
    this.#exact = select("Compute", (value) => actions.set({ tolerance: Number(value) }));
    this.#layer = select("of layer", (value) => actions.set({ layer: value, channel: -1 }));
    this.#channel.addEventListener(
      "change",
      () => actions.set({ channel: Math.round(Number(this.#channel.value)) }),
      { signal },
    );
    this.#keep = button("Keep as A", "Keep this map as A, to compare the next with it", () =>
      // A comparison that begins is to be seen, all of it.
      this.#ask("keep_map", () => actions.set({ side: "both" })),
    );
    this.#drop = button("No A", "Stop comparing", () => this.#ask("drop_map"));
    this.after = element(
      "div",
      { class: "control after", role: "group", "aria-label": "What to do with the map" },
      this.#keep,
      this.#drop,
      button("Evidence", "Rank the regions by the confidence that is lost there", () =>
        this.#ask("evidence"),
      ),
      button("PNG", "Save the map as a picture", () => this.#save("png")),
      button("SVG", "Save the map as a drawing", () => this.#save("svg")),
    );
    this.node = element(
      "div",
      { class: "toolbar", role: "toolbar", "aria-label": "Full map" },
      this.#start,
      this.#goOn,
      this.#stop,
      this.#exact.node,
      this.#layer.node,
      this.#of,
      this.#bar,
      this.#told,
    );
  }

  #ask(kind: "keep_map" | "drop_map" | "evidence", then: () => void = () => undefined): void {
    const { problem } = this.#actions;
    this.#requests.ask(
      kind,
      {},
      () => {
        problem("");
        then();
      },
      problem,
    );
  }

  #save(format: "png" | "svg"): void {
    const { problem } = this.#actions;
    this.#requests.ask(
      "export",
      { format },
      ({ fields, arrays }) => {
        problem("");
        const bytes = arrays.get("data")?.data as Uint8Array<ArrayBuffer>;
        download(String(fields.name), String(fields.type), bytes);
      },
      problem,
    );
  }

  show(map: MapData | null): void {
    this.#showWork(map);
    this.#showFeature();
    const { get } = this.#actions;
    const kept = isThere(get("kept"));
    const focused = (this.node.getRootNode() as ShadowRoot).activeElement;
    this.#keep.hidden = kept;
    this.#drop.hidden = !kept;
    // A button that goes away hands the keyboard to the one in its place.
    if (focused === this.#keep && kept) this.#drop.focus();
    if (focused === this.#drop && !kept) this.#keep.focus();
  }

  #showFeature(): void {
    const { get } = this.#actions;
    const shown = get("show") === "feature map";
    const layers = get("layers");
    this.#layer.node.hidden = !shown;
    this.#of.hidden = !shown || get("layer") === "";
    this.#layer.show(
      [
        { value: "", label: "choose one" },
        ...layers.map(({ name, channels }) => ({ value: name, label: `${name} · ${channels}` })),
      ],
      get("layer"),
    );
    const active = (this.node.getRootNode() as ShadowRoot).activeElement;
    if (active !== this.#channel) this.#channel.value = String(get("channel"));
    const channels = layers.find(({ name }) => name === get("layer"))?.channels ?? 0;
    this.#channel.max = String(channels - 1);
  }

  #showWork(map: MapData | null): void {
    const { get } = this.#actions;
    const run = this.#run;
    const told = get("progress");
    const python = isThere(told) && told.running ? told : null;
    const progress: Progress | null = python ?? run.progress;
    const working = run.running || python !== null;
    const active = (this.node.getRootNode() as ShadowRoot).activeElement;
    const begun = run.running && (active === this.#start || active === this.#goOn);
    const ended = !run.running && active === this.#stop;
    const open = map !== null && !map.fields.complete && get("stale") === "";
    this.#start.hidden = run.running;
    this.#goOn.hidden = run.running || !open;
    this.#start.disabled = this.#goOn.disabled = python !== null;
    this.#start.textContent = map ? "Full map anew" : "Full map";
    this.#stop.hidden = !run.running;
    if (begun) this.#stop.focus();
    if (ended) this.#start.focus();
    this.#exact.show(
      tolerances(get("tolerance")).map(([value, label]) => ({ value: String(value), label })),
      String(get("tolerance")),
    );
    this.#bar.hidden = !working;
    if (progress && progress.total > 0) this.#bar.value = progress.done / progress.total;
    else this.#bar.removeAttribute("value");
    const text = progress ? progressText(progress) : "starting …";
    const held = run.running && run.held ? ", waiting for your hand" : "";
    const silent = run.silent ? ", Python is busy" : "";
    const { height, width } = get("inputs");
    const along = (length: number) => positionsAlong(length, get("size"), get("stride"));
    // Only of the map on show: Python may have made another since.
    const done = map ? map.fields.computed + map.fields.interpolated : 0;
    const last = [run.progress, told].find(
      (one) => one && isThere(one) && one.done === done && one.total === map?.fields.total,
    ) as Progress | undefined;
    const spent = last ? progressText(last) : "";
    const ahead = map ? spent : `every place in turn: ${along(height) * along(width)} positions`;
    this.#told.textContent = working ? text + held + silent : ahead;
  }
}

/** Python may have set a tolerance that is none of the usual ones. */
function tolerances(now: number): [number, string][] {
  if (TOLERANCES.some(([value]) => value === now)) return TOLERANCES;
  return [...TOLERANCES, [now, `approximate, to ${Number((100 * now).toPrecision(3))} %`]];
}

/** Starts from 0 by the stride, and one more flush with the border where the last is not. */
export function positionsAlong(length: number, size: number, stride: number): number {
  if (size > length || stride < 1) return 0;
  return Math.ceil((length - size) / stride) + 1;
}
