/** The view of `nbviz.FilterGrid`: the kernels of one layer, to sort, zoom, select and replay. */

import type { AnyModel, Render } from "@anywidget/types";
import { type Colormap, colormapGradient, colormapPixels } from "../shared/colormaps.ts";
import { button, element, rebuild, select } from "../shared/controls.ts";
import { GALLERY_PANELS } from "../shared/tiles.ts";
import { listen, openView, type View } from "../shared/view.ts";
import { type Channel, Requests, sayLink } from "../shared/wire.ts";
import {
  decodeFrame,
  FLAG,
  type Frame,
  layerRange,
  type Normalise,
  type Sort,
  shownRange,
  sortedOutputs,
} from "./frame.ts";
import { GridCanvas } from "./grid.ts";
import { type Focus, Lens } from "./lens.ts";
import { Playback } from "./playback.ts";
import { decodeHistory, Film, type Model, type State } from "./state.ts";
import css from "./style.css";

/** Snapshots that a view keeps while a training runs. */
const FILM_FRAMES = 128;

const SORTS = [
  { value: "index", label: "channel number" },
  { value: "norm", label: "largest norm first" },
  { value: "noise", label: "noisiest first" },
  { value: "similarity", label: "look-alikes together" },
];
const SCALES = [
  { value: "kernel", label: "each kernel" },
  { value: "layer", label: "whole layer" },
  { value: "symmetric", label: "symmetric about 0" },
];
const COLORMAPS = ["diverging", "sequential", "grey"];
const GLYPHS: Record<string, string> = {
  healthy: "✓",
  noisy: "▒",
  untrained: "?",
  broken: "✕",
  mixed: "▒",
};

class FilterGridView {
  private readonly view: View;
  private readonly grid: GridCanvas;
  private readonly lens: Lens;
  private readonly playback: Playback;
  private readonly requests: Requests;
  private readonly film = new Film(FILM_FRAMES);
  private readonly controls: {
    layer: ReturnType<typeof select>;
    sort: ReturnType<typeof select>;
    normalise: ReturnType<typeof select>;
    colormap: ReturnType<typeof select>;
  };
  private readonly healthLine = element("p", { class: "health" });
  private readonly chips = element("div", { class: "chips" });
  private readonly legend = element("div", { class: "legend" });
  private readonly note = element("p", { class: "note" });
  private readonly selection = element("div", { class: "selection" });
  /** newest kernels, and the trait value that they were decoded from */
  private newest: Frame | null = null;
  private decoded: State["kernels"] | null = null;
  private decodedHistory: State["history"] | null = null;
  private focus: Focus | null = null;
  /** output channel that Shift-click extends from */
  private anchor = 0;
  private waitingSince = 0;

  constructor(
    private readonly model: AnyModel<object>,
    host: HTMLElement,
  ) {
    this.view = openView(host, "filter-grid", css, () => this.draw());
    const { signal } = this.view;
    this.requests = new Requests(model as unknown as Channel, signal);
    sayLink(model as never);
    this.controls = {
      layer: select("Layer", (value) => this.set("layer", value)),
      sort: select("Sort", (value) => this.set("sort", value as Sort)),
      normalise: select("Scale", (value) => this.set("normalise", value as Normalise)),
      colormap: select("Colours", (value) => this.set("colormap", value as State["colormap"])),
    };
    this.grid = new GridCanvas(this.view, {
      point: (focus) => this.point(focus),
      select: (output, extend) => this.select(output, extend),
      clear: () => this.set("selected", []),
      zoom: (factor) => this.zoom(factor),
      announce: (focus) => this.announce(focus),
    });
    this.lens = new Lens(
      this.requests,
      signal,
      () => {
        this.focus = this.lens.current;
        this.view.problem("request", "");
        this.view.redraw();
      },
      (message) => this.view.problem("request", message),
      (text) => this.view.announce(text),
    );
    this.playback = new Playback(signal, (step) => this.set("step", step));
    this.assemble();
    const traits = ["layer", "layers", "kernels", "sort", "normalise", "colormap", "zoom"];
    const events = [...traits, "selected", "step", "history", "watching", "problem"];
    listen(
      model as never,
      events.map((name) => `change:${name}`),
      signal,
      () => this.view.redraw(),
    );
    this.view.redraw();
  }

  close(): void {
    this.view.close();
  }

  private get<K extends keyof State>(name: K): State[K] {
    return (this.model as unknown as Model).get(name);
  }

  private set<K extends keyof State>(name: K, value: State[K]): void {
    const model = this.model as unknown as Model;
    model.set(name, value);
    model.save_changes();
    this.view.redraw();
  }

  private assemble(): void {
    const { layer, sort, normalise, colormap } = this.controls;
    const zoom = element(
      "div",
      { class: "zoom control", role: "group", "aria-label": "Zoom" },
      element("span", {}, "Zoom"),
      button("−", "Zoom out", () => this.zoom(-1)),
      button("+", "Zoom in", () => this.zoom(1)),
      button("fit", "As large as lets all kernels stand without scrolling", () =>
        this.set("zoom", 0),
      ),
    );
    this.view.body.append(
      element(
        "div",
        { class: "toolbar" },
        layer.node,
        sort.node,
        normalise.node,
        colormap.node,
        zoom,
      ),
      element("div", { class: "verdict" }, this.healthLine, this.chips),
      this.note,
      element(
        "div",
        { class: "main" },
        element("div", { class: "kernels" }, this.grid.node, this.legend),
        this.lens.node,
      ),
      this.playback.node,
      this.selection,
      element(
        "p",
        { class: "keys", id: "keys" },
        "Point: weights · click or Enter: select, or no longer · Shift: extend · arrow keys: move · " +
          "+ and −, or Ctrl and wheel: zoom · Esc: select none",
      ),
    );
  }

  private draw(): void {
    const state = this.get("kernels");
    this.decode(state);
    this.view.problem("python", this.get("problem"));
    const frame = this.shownFrame();
    this.showControls(frame);
    this.showWaiting(state);
    if (!frame) return;
    const order = sortedOutputs(this.ordered(frame), this.get("sort"));
    const { colourful, map, centred } = this.colouring();
    const panels = colourful ? 1 : frame.inputs;
    this.grid.draw({
      frame,
      order,
      selected: new Set(this.get("selected")),
      duplicates: state.duplicates,
      matrix: panels > GALLERY_PANELS,
      panels,
      zoom: this.get("zoom"),
      focus: this.focus,
      paint: {
        normalise: this.get("normalise"),
        centred,
        map: colourful ? null : colormapPixels(map),
      },
    });
    this.showLens(frame, state);
    this.showHealth(frame, state);
    this.showLegend(frame);
    this.showSelection(frame);
    const now = this.newest?.step ?? -1;
    this.playback.show(this.film.steps, this.get("step"), now, this.get("watching"));
  }

  /** Look-alike order is computed for the newest kernels only; snapshots stand in it too. */
  private ordered(frame: Frame): Frame {
    return frame.similarity ? frame : { ...frame, similarity: this.newest?.similarity ?? null };
  }

  private decode(state: State["kernels"]): void {
    const history = this.get("history");
    if (history !== this.decodedHistory) {
      this.decodedHistory = history;
      const frames = decodeHistory(history);
      if (frames.length > 0 || !this.get("watching").active) this.film.replace(frames);
    }
    if (state === this.decoded || !Array.isArray(state.arrays)) return;
    const before = this.newest;
    this.newest = decodeFrame(state);
    this.decoded = state;
    this.lens.forget();
    if (before && before.layer !== this.newest.layer) this.focus = null;
    // Look-alike order is not computed anew at every step of a training.
    if (!this.newest.similarity && before?.layer === this.newest.layer) {
      this.newest.similarity = before.similarity;
    }
    const watching = this.get("watching");
    if (watching.active) this.film.add(this.newest, watching.limit || Number.POSITIVE_INFINITY);
  }

  private shownFrame(): Frame | null {
    const step = this.get("step");
    if (step < 0 || !this.newest) return this.newest;
    const frame = this.film.at(step);
    return frame?.layer === this.newest.layer ? frame : this.newest;
  }

  /** How weights become colours; `centred` puts zero in the middle of the map. */
  private colouring(): { colourful: boolean; map: Colormap; centred: boolean } {
    const chosen = this.get("colormap");
    const colourful = this.decoded?.colour === true && chosen === "auto";
    const map = chosen === "auto" ? "diverging" : chosen;
    const centred = (map === "diverging" && !colourful) || this.get("normalise") === "symmetric";
    return { colourful, map, centred };
  }

  private showControls(frame: Frame | null): void {
    const { layer, sort, normalise, colormap } = this.controls;
    layer.show(
      this.get("layers").map((entry) => ({
        value: entry.name,
        label: `${entry.name} · ${entry.shape.join("×")}`,
        disabled: entry.problem !== "",
      })),
      this.get("layer"),
    );
    const judged = frame?.noise.some((n) => !Number.isNaN(n)) ?? false;
    sort.show(
      SORTS.map((choice) => ({
        ...choice,
        disabled: choice.value === "noise" && !judged,
      })),
      this.get("sort"),
    );
    const chosen = this.get("colormap");
    const { colourful, map } = this.colouring();
    const alwaysCentred = map === "diverging" && !colourful;
    normalise.show(
      SCALES.map((choice) =>
        choice.value === "symmetric" && alwaysCentred
          ? { ...choice, label: "symmetric: as whole layer", disabled: true }
          : choice,
      ),
      this.get("normalise"),
    );
    const auto = this.decoded?.colour ? "red, green, blue" : "diverging";
    const maps = COLORMAPS.filter((name) => name !== auto || name === chosen);
    colormap.show(
      [{ value: "auto", label: auto }, ...maps.map((name) => ({ value: name, label: name }))],
      chosen,
    );
  }

  /** Says so while the kernel has not answered to a new layer; asks itself again, since no event will. */
  private showWaiting(state: State["kernels"]): void {
    const wanted = this.get("layer");
    if (wanted === state.layer) {
      this.waitingSince = 0;
      this.view.waiting("");
      return;
    }
    if (this.waitingSince === 0) this.waitingSince = performance.now();
    const waited = performance.now() - this.waitingSince;
    if (waited > 3000) {
      this.view.waiting(
        `Python has not answered yet: it is busy, or was restarted (then run the cell again). Still showing layer ${state.layer}.`,
      );
    } else if (waited > 150) this.view.waiting(`Fetching layer ${wanted} …`);
    if (waited <= 3500) setTimeout(() => this.view.redraw(), 200);
  }

  private showLens(frame: Frame, state: State["kernels"]): void {
    const { paint } = this.grid;
    if (!paint) return;
    if (this.focus && this.focus.output >= frame.outputs) this.focus = null;
    if (this.focus && this.focus.panel >= paint.layout.panels) {
      this.focus = { ...this.focus, panel: paint.layout.panels - 1 };
    }
    this.lens.show(paint, this.focus, state.duplicates, frame === this.newest);
  }

  private showHealth(frame: Frame, state: State["kernels"]): void {
    const { verdict, sentence } = frame.health;
    this.healthLine.dataset.verdict = verdict;
    this.healthLine.replaceChildren(
      element("span", { class: "glyph", "aria-hidden": "true" }, GLYPHS[verdict] ?? "·"),
      element("strong", {}, verdict),
      ` ${sentence}`,
    );
    const counted: [number, string, string][] = [
      [FLAG.noisy, "▒", "noisy"],
      [FLAG.dead, "∅", "dead"],
      [FLAG.duplicate, "=", "duplicate"],
      [FLAG.nonfinite, "✕", "with NaN or infinity"],
    ];
    const chips = counted.flatMap(([flag, glyph, word]) => {
      const outputs = Array.from(frame.flags.keys()).filter(
        (i) => ((frame.flags[i] as number) & flag) !== 0,
      );
      return outputs.length > 0 ? [{ outputs, glyph, word }] : [];
    });
    rebuild(this.chips, JSON.stringify(chips), () =>
      chips.map(({ outputs, glyph, word }) =>
        button(
          `${glyph} ${outputs.length} ${word}`,
          `Select the ${outputs.length} kernels marked ${word}`,
          () => this.set("selected", outputs),
          "button chip",
        ),
      ),
    );
    this.showNotes(frame, state);
  }

  /** What is not as chosen, and why. */
  private showNotes(frame: Frame, state: State["kernels"]): void {
    const notes = state.note ? [state.note] : [];
    if (frame.outputs < state.outputs) {
      notes.push(
        `Showing the first ${frame.outputs} of ${state.outputs} output channels; raise max_bytes to see the rest.`,
      );
    }
    const sort = this.get("sort");
    if (sort === "noise" && frame.noise.every(Number.isNaN)) {
      notes.push("Noise cannot be judged here: kernels stand in channel order.");
    }
    if (sort === "similarity" && !this.decoded?.arrays.some(({ name }) => name === "similarity")) {
      notes.push("While Python trains, look-alikes stand as they did before; the end sorts anew.");
    }
    this.note.hidden = notes.length === 0;
    this.note.textContent = notes.join(" ");
  }

  private showLegend(frame: Frame): void {
    const normalise = this.get("normalise");
    const { colourful, map, centred } = this.colouring();
    const bars = colourful ? CHANNEL_BARS : [colormapGradient(map)];
    const bar = element("span", { class: "bars", "aria-hidden": "true" });
    for (const gradient of bars) {
      const part = element("span", { class: "bar" });
      part.style.background = gradient;
      bar.append(part);
    }
    let low = "least weight";
    let high = "largest weight";
    let how = "of each kernel on its own";
    if (normalise !== "kernel") {
      const range = shownRange(layerRange(frame), centred);
      low = range.low.toPrecision(3);
      high = range.high.toPrecision(3);
      how = "one scale for the whole layer";
    } else if (centred) {
      low = "−max";
      high = "+max";
    }
    const zero = centred ? "; zero in the middle" : "";
    const channels = colourful ? "; bright red is a large weight on red, and so on" : "";
    this.legend.replaceChildren(low, bar, high, element("span", {}, `${how}${zero}${channels}`));
  }

  private showSelection(frame: Frame): void {
    const selected = this.get("selected").filter((output) => output < frame.outputs);
    this.selection.hidden = selected.length === 0;
    if (selected.length === 0) return;
    const listed = selected.slice(0, 24).join(", ");
    const more = selected.length > 24 ? `, and ${selected.length - 24} more` : "";
    const text = `${selected.length} selected: ${listed}${more}`;
    rebuild(this.selection, text, () => [
      element("span", {}, text),
      button("none", "Select none", () => this.set("selected", [])),
    ]);
  }

  private point(focus: Focus | null): void {
    if (!focus) return;
    this.focus = focus;
    this.view.redraw();
  }

  private select(output: number, extend: boolean): void {
    const selected = this.get("selected");
    const frame = this.shownFrame();
    if (!frame) return;
    if (extend) {
      const order = Array.from(sortedOutputs(this.ordered(frame), this.get("sort")));
      const to = order.indexOf(output);
      const from = order.includes(this.anchor) ? order.indexOf(this.anchor) : to;
      const run = order.slice(Math.min(from, to), Math.max(from, to) + 1);
      this.set("selected", [...new Set([...selected, ...run])]);
    } else {
      this.anchor = output;
      const rest = selected.filter((other) => other !== output);
      this.set("selected", rest.length < selected.length ? rest : [...selected, output]);
    }
    const count = this.get("selected").length;
    this.view.announce(`${count} ${count === 1 ? "kernel" : "kernels"} selected`);
  }

  private zoom(direction: number): void {
    const now = this.get("zoom") || Math.round(this.grid.scale);
    const step = Math.max(1, Math.round(now * 0.25));
    this.set("zoom", Math.min(40, Math.max(1, now + direction * step)));
  }

  private announce(focus: Focus): void {
    const frame = this.shownFrame();
    if (!frame) return;
    const noise = frame.noise[focus.output] as number;
    const selected = this.get("selected").includes(focus.output) ? ", selected" : "";
    const input = frame.inputs > GALLERY_PANELS ? `, input ${focus.panel}` : "";
    this.view.announce(
      `kernel ${focus.output}${input}, norm ${(frame.norm[focus.output] as number).toPrecision(3)}` +
        `${Number.isNaN(noise) ? "" : `, noise ${noise.toFixed(2)}`}${selected}`,
    );
  }
}

const CHANNEL_BARS = ["red", "lime", "blue"].map(
  (colour) => `linear-gradient(to right, black, ${colour})`,
);

const render: Render = ({ model, el }) => {
  const view = new FilterGridView(model, el);
  return () => view.close();
};

export default { render };
