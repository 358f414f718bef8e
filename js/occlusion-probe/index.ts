/** The view of `nbviz.OcclusionProbe`: cover a part of the picture and see the confidence fall. */

import type { AnyModel, Render } from "@anywidget/types";
import type { ToolsPart } from "../occlusion-tools/part.ts";
import type { Tools } from "../occlusion-tools/tools.ts";
import type { Inputs } from "../picture-inputs/inputs.ts";
import type { InputsPart } from "../picture-inputs/part.ts";
import { element } from "../shared/controls.ts";
import { fetchPart } from "../shared/parts.ts";
import { listen, openView, type View } from "../shared/view.ts";
import { type Channel, Requests, sayLink } from "../shared/wire.ts";
import { Bars, spoken } from "./bars.ts";
import { type Now, noteLine, nowShown } from "./captions.ts";
import { Cells, maskAtPosition, placeText } from "./cells.ts";
import { ComparePanes } from "./compare.ts";
import { Legend } from "./legend.ts";
import { numeric } from "./map-data.ts";
import { MapPanel } from "./map-panel.ts";
import maskCss from "./masks.css";
import { centreOf, type MaskState, maskOf, type Point } from "./masks.ts";
import { PicturePane } from "./picture.ts";
import { lengthened, Probing } from "./probing.ts";
import { type Choices, confidenceAt } from "./reading.ts";
import { type Face, ShownMaps } from "./shown-maps.ts";
import {
  type ConfidenceState,
  type Hands,
  isThere,
  type Model,
  type Region,
  type State,
  type TrailPoint,
} from "./state.ts";
import css from "./style.css";

/** Milliseconds between two sentences that a screen reader hears during a drag. */
const SPOKEN_MS = 1500;
const EMPTY = "Drag over the picture to cover a part of it.";

class OcclusionProbeView {
  readonly #view: View;
  readonly #model: AnyModel<object>;
  readonly #requests: Requests;
  readonly #probing: Probing;
  readonly #maps = new ShownMaps();
  readonly #cells = new Cells();
  readonly #pane: PicturePane;
  readonly #bars: Bars;
  readonly #panel: MapPanel;
  readonly #compare: ComparePanes;
  readonly #hint = element("p", { class: "hint" });
  readonly #legend: Legend;
  readonly #note = element("p", { class: "note" });
  readonly #verdict = element("p", { class: "verdict", hidden: "" });
  /** where settings of masks and the full map's making stand once they have come */
  readonly #tools = element("div");
  readonly #work = element("div");
  readonly #sources = element(
    "p",
    { class: "soft" },
    "Other pictures, masks and the full map need Python.",
  );
  /** null until they have come from Python */
  #inputs: Inputs | null = null;
  #made: Tools | null = null;
  /** newest of what the network said to masks, by an answer or by the trait */
  #confidence: ConfidenceState | null = null;
  #confidenceTrait: unknown = null;
  #masksTrait: unknown = null;
  #trailTrait: unknown = null;
  #shape = "";
  /** since when a choice has no answer; 0 for none */
  #chosenAt = 0;
  /** way of the drag under way; null where the trait tells */
  #way: TrailPoint[] | null = null;
  #dragging = false;
  #spokenAt = 0;
  #region = 0;

  constructor(model: AnyModel<object>, host: HTMLElement) {
    this.#model = model;
    this.#view = openView(host, "occlusion-probe", css + maskCss, () => this.#draw());
    const { signal } = this.#view;
    this.#requests = new Requests(model as unknown as Channel, signal);
    sayLink(model as never);
    const redraw = () => this.#view.redraw();
    const failed = (message: string) => this.#failed(message);
    this.#probing = new Probing(this.#requests, signal, {
      answered: (state, point, done) => this.#answered(state, point, done),
      failed: (message) => {
        // What stands there is of other masks.
        this.#confidence = null;
        failed(message);
      },
      changed: redraw,
    });
    this.#pane = new PicturePane(signal, {
      stride: () => this.#get("stride"),
      newShape: () => this.#get("mask_shape"),
      size: () => this.#get("size"),
      changed: (masks, what) => this.#masksChanged(masks, what.point, what.done),
      hover: (point) => this.#hover("B", point),
      cell: (event) => this.#cellKey(event),
      focused: (within) => this.#focusCells(within),
    });
    this.#bars = new Bars((target) => this.#set({ target }));
    const hands = {
      get: <K extends keyof State>(name: K) => this.#get(name),
      set: (values: Partial<State>) => this.#set(values),
    };
    this.#panel = new MapPanel(signal, hands);
    this.#legend = new Legend((stretch) => this.#set({ stretch }));
    this.#compare = new ComparePanes(signal, (face, point) => this.#hover(face, point));
    this.#assemble();
    this.#fetchParts(hands);
    listen(model as never, ["change"], signal, redraw);
    redraw();
  }

  close(): void {
    this.#made?.stop();
    this.#view.close();
  }

  #get<K extends keyof State>(name: K): State[K] {
    return (this.#model as unknown as Model).get(name);
  }

  #set(values: Partial<State>): void {
    const model = this.#model as unknown as Model;
    for (const [name, value] of Object.entries(values)) model.set(name as "layer", value as string);
    model.save_changes();
    this.#view.redraw();
  }

  #failed(message: string): void {
    this.#view.problem("request", message);
    this.#view.redraw();
  }

  #assemble(): void {
    this.#view.body.append(
      this.#sources,
      this.#tools,
      element(
        "div",
        { class: "main" },
        element("div", { class: "left" }, this.#pane.node, this.#hint, this.#legend.node),
        element(
          "div",
          { class: "right" },
          this.#bars.node,
          element(
            "section",
            { class: "map", "aria-label": "Full map" },
            this.#work,
            this.#panel.node,
            this.#verdict,
          ),
        ),
      ),
      this.#compare.node,
      this.#note,
    );
  }

  #fetchParts(hands: Hands): void {
    const failed = (message: string) => this.#failed(message);
    const problem = (text: string) => this.#view.problem("request", text);
    fetchPart<InputsPart>(
      this.#requests,
      "picture-inputs",
      ({ openInputs }) => {
        this.#inputs = openInputs(this.#view, this.#requests, {
          choose: (image) => this.#set({ image }),
          problem,
        });
        this.#sources.replaceChildren(this.#inputs.node);
        this.#view.redraw();
      },
      failed,
    );
    fetchPart<ToolsPart>(
      this.#requests,
      "occlusion-tools",
      ({ openTools }) => {
        const tools = openTools(this.#view, this.#requests, {
          ...hands,
          problem,
          add: () => this.#pane.layer?.add(),
          remove: () => this.#pane.layer?.remove(),
          clear: () => this.#pane.layer?.clear(),
          resize: (size, done) => this.#resize(size, done),
          partial: (answer) => this.#maps.takePartial(answer),
          cover: (region) => this.#cover(region),
          point: (rank) => {
            this.#region = rank;
            this.#view.redraw();
          },
        });
        this.#made = tools;
        this.#tools.append(tools.masks);
        this.#work.append(tools.work);
        this.#panel.node.append(tools.after);
        this.#verdict.after(tools.evidence);
        this.#bars.node.after(tools.trail.node);
        this.#view.redraw();
      },
      failed,
    );
  }

  // Masks

  #masksChanged(masks: MaskState[], point: Point, done: boolean): void {
    this.#dragging = !done;
    this.#cells.hovered = null;
    if (!done) this.#made?.hold(true);
    else setTimeout(() => this.#made?.hold(this.#dragging), 150);
    this.#probing.ask(masks, point, done);
    this.#view.redraw();
  }

  #answered(state: ConfidenceState, [row, col]: [number, number], done: boolean): void {
    this.#view.problem("request", "");
    this.#confidence = state;
    const { probability, logit } = state.target;
    if (!done) this.#way = lengthened(this.#way ?? [], { row, col, probability, logit });
    const now = performance.now();
    if (done || now - this.#spokenAt > SPOKEN_MS) {
      this.#spokenAt = now;
      this.#view.announce(spoken(state, this.#masks.length > 0));
    }
    this.#view.redraw();
  }

  get #masks(): MaskState[] {
    return this.#pane.layer?.masks ?? [];
  }

  #put(masks: MaskState[], point: Point, done = true): void {
    this.#pane.layer?.set(masks);
    this.#masksChanged(masks, point, done);
  }

  /** The size is of new masks, of the full map's, and of the one mask that is there. */
  #resize(size: number, done: boolean): void {
    const [mask, more] = this.#masks;
    if (done) this.#set({ size });
    if (!mask || more || mask.shape === "brush" || mask.height !== mask.width) return;
    const { height, width } = this.#get("inputs");
    const centre = centreOf(mask);
    this.#put([maskOf(mask.shape, centre, size, { height, width })], centre, done);
  }

  #cover({ box: [top, left, bottom, right] }: Region): void {
    const mask: MaskState = {
      shape: "rectangle",
      top,
      left,
      height: bottom - top,
      width: right - left,
    };
    this.#put([mask], centreOf(mask));
  }

  // The map

  /** Whether the map is of the picture on show. */
  get #fits(): boolean {
    const picture = this.#get("picture");
    return isThere(picture) && this.#maps.map?.fields.picture === picture.number;
  }

  /** Map that a face's cells are of; of a difference B's. */
  #mapOf(face: Face): ShownMaps["map"] {
    if (face === "A") return this.#maps.kept;
    return this.#fits ? this.#maps.map : null;
  }

  /** The face that lies over the large picture. */
  get #face(): Face {
    const faces = this.#maps.faces(this.#get("side"));
    return faces.length === 1 ? (faces[0] as Face) : "B";
  }

  #hover(face: Face, point: [number, number] | null): void {
    const over = face === "B" ? this.#face : face;
    const visible = face !== "B" || this.#get("opacity") > 0;
    this.#cells.hover(visible ? this.#mapOf(over) : null, point);
    this.#view.redraw();
  }

  #focusCells(within: boolean): void {
    if (within) this.#cells.enter(this.#mapOf(this.#face));
    else this.#cells.cursor = null;
    this.#view.redraw();
  }

  #cellKey(event: KeyboardEvent): void {
    const { cursor } = this.#cells;
    if (event.ctrlKey || event.metaKey || event.altKey || !cursor) return;
    if (event.key === "Enter") {
      const mask = maskAtPosition(cursor);
      this.#put([mask], centreOf(mask));
    } else if (this.#cells.move(event.key)) {
      const spot = this.#cells.cursor ?? cursor;
      const state = confidenceAt(spot.map, spot.position, this.#targetOf(spot.map));
      this.#view.announce(`${placeText(spot)}: ${spoken(state, true)}`);
    } else return;
    event.preventDefault();
    event.stopPropagation();
    this.#view.redraw();
  }

  #targetOf(map: ShownMaps["map"]): number {
    return map && map === this.#maps.kept ? map.fields.target.number : this.#get("target");
  }

  // Drawing

  #draw(): void {
    this.#take();
    this.#view.problem("python", this.#get("problem"));
    this.#inputs?.show({ ...this.#get("inputs"), image: this.#get("image") });
    this.#maps.work(this.#get("target"), this.#choices, this.#fits);
    this.#cells.keepTo([this.#maps.map, this.#maps.kept]);
    const now = this.#now;
    const map = this.#fits ? this.#maps.map : null;
    this.#made?.show(this.#masks.length, map);
    this.#showPicture();
    if (now) this.#bars.show(now.state, now.of, now.masked);
    this.#showTrail();
    this.#panel.show(map !== null, this.#maps.kept !== null);
    this.#compare.show(this.#maps, this.#get("side"), this.#choices, {
      picture: this.#pane.source,
      opacity: this.#get("opacity"),
      spot: this.#cells.spot,
    });
    const [replacement, picture] = [this.#get("replacement"), this.#get("picture")];
    this.#note.textContent = noteLine({
      map,
      other: this.#maps.map !== null,
      fill: isThere(replacement) ? replacement.note : "",
      input: isThere(picture) ? picture.note : "",
      stale: this.#get("stale"),
      lacking: this.#maps.lacking,
      ...this.#choices,
    });
    const evidence = this.#get("evidence_shown");
    this.#verdict.hidden = !isThere(evidence);
    this.#verdict.textContent = isThere(evidence) ? `Evidence: ${evidence.verdict}` : "";
    this.#pane.mark(isThere(evidence) ? evidence : null, this.#region);
    this.#showWaiting();
  }

  /** Take over what came from Python since the last drawing. */
  #take(): void {
    this.#pane.take(this.#get("picture"), this.#get("replacement"));
    this.#maps.take(this.#get("map"), this.#get("kept"));
    const confidence = this.#get("confidence");
    if (confidence !== this.#confidenceTrait) {
      this.#confidenceTrait = confidence;
      if (isThere(confidence)) this.#confidence = confidence;
    }
    const masks = this.#get("masks");
    // What Python has said to an earlier question must not take back what the hand did since.
    if (masks !== this.#masksTrait && this.#pane.layer && !this.#probing.open) {
      this.#masksTrait = masks;
      this.#pane.layer.set(masks);
    }
    const shape = this.#get("mask_shape");
    if (shape !== this.#shape && this.#pane.layer) {
      this.#shape = shape;
      // Cursor and touch follow the shape of new masks only with a new set.
      this.#pane.layer.set(this.#masks);
    }
    const trail = this.#get("trail");
    if (trail !== this.#trailTrait) {
      this.#trailTrait = trail;
      this.#way = null;
    }
  }

  get #choices(): Choices {
    const told = this.#get("progress");
    return {
      scale: this.#get("scale"),
      show: this.#get("show"),
      coverage: this.#get("coverage"),
      stretch: this.#get("stretch"),
      settled: !this.#made?.running && !(isThere(told) && told.running),
    };
  }

  get #now(): Now | null {
    const { spot } = this.#cells;
    const { open, silent } = this.#probing;
    const prediction = this.#get("prediction");
    const target = this.#get("target");
    return nowShown({
      spot: spot && { ...spot, target: this.#targetOf(spot.map) },
      prediction: isThere(prediction) ? prediction : null,
      confidence: this.#confidence,
      masks: this.#masks,
      unanswered: open !== null && silent,
      map: this.#mapOf("B"),
      target,
    });
  }

  #showPicture(): void {
    const inputs = this.#get("inputs");
    const face = this.#face;
    const layer = this.#maps.layerOf(face);
    const spot = this.#cells.spot;
    const opacity = this.#get("opacity");
    const own = layer?.reading?.map === spot?.map ? (spot?.position ?? -1) : -1;
    const room = Math.max(160, Math.min(this.#pane.node.clientWidth || 420, 420));
    this.#pane.show(
      `the picture as the network sees it, ${inputs.width}×${inputs.height}. ${inputs.labels}`,
      layer && { ...layer, opacity, cell: own },
      "Map over the picture. Arrow keys go from position to position, Enter puts the mask there.",
      room,
    );
    this.#pane.node.classList.toggle("old", this.#get("stale") !== "" && face === "B");
    this.#pane.layer?.ghost(spot ? maskAtPosition(spot) : null);
    this.#hint.hidden = this.#masks.length > 0 || spot !== null;
    this.#hint.textContent =
      this.#get("mask_shape") === "brush" ? EMPTY.replace("Drag", "Paint") : EMPTY;
    const { views } = this.#maps;
    const target = layer?.reading?.target ?? this.#get("target");
    this.#legend.show(opacity > 0 ? layer : null, views, this.#choices, this.#nameOf(target));
  }

  #nameOf(target: number): string {
    const map = this.#maps.map;
    return map?.fields.classes.find(([number]) => number === target)?.[1] ?? `class ${target}`;
  }

  #showTrail(): void {
    const points = this.#way ?? this.#get("trail");
    const prediction = this.#get("prediction");
    if (!isThere(prediction)) return;
    const { name, probability } = prediction.target;
    this.#made?.trail.show(points, name, numeric(probability));
  }

  /** What Python has not answered to yet, of what was chosen; "" for nothing. */
  get #unanswered(): string {
    const [picture, replacement, prediction] = [
      this.#get("picture"),
      this.#get("replacement"),
      this.#get("prediction"),
    ];
    if (!isThere(picture) || !isThere(replacement) || !isThere(prediction)) return "";
    if (picture.image !== this.#get("image")) return "the new picture";
    if (replacement.fill !== this.#get("fill")) return "the new fill";
    const target = this.#get("target");
    return target >= 0 && prediction.target.number !== target ? "the new target" : "";
  }

  /** Says so while Python has not answered; asks itself again, since no event will. */
  #showWaiting(): void {
    const what = this.#unanswered;
    if (what === "") this.#chosenAt = 0;
    else this.#chosenAt ||= performance.now();
    // While the map is read instead, the line beside the numbers says that Python is silent.
    const mask = this.#probing.silent && this.#fits ? 0 : this.#probing.waitingSince;
    const since = this.#chosenAt || mask || this.#inputs?.waitingSince || 0;
    const waited = since > 0 ? performance.now() - since : 0;
    this.#view.waiting(
      waited > 3000
        ? "Python has not answered yet: it is busy or not there (then run the cell)."
        : waited > 700
          ? `Working on ${what || "the mask"} …`
          : "",
    );
    if (since > 0 && waited <= 3500) setTimeout(() => this.#view.redraw(), 250);
  }
}

const render: Render = ({ model, el }) => {
  const view = new OcclusionProbeView(model, el);
  return () => view.close();
};

export default { render };
