/** Where pictures come from: the data set, a file, the draw pad, the camera; one of them at a time. */

import { button, element } from "../shared/controls.ts";
import type { View } from "../shared/view.ts";
import type { Requests, TypedArray } from "../shared/wire.ts";
import { Camera } from "./camera.ts";
import { DrawPad } from "./draw-pad.ts";
import { NO_ANSWER, PATIENCE_MS, PictureFiles } from "./picture-files.ts";

export interface InputState {
  /** pictures in the data set */
  images: number;
  /** which of them is on show; -1 for one that is not from the data set */
  image: number;
  /** label of the picture on show, as text */
  labels: string;
  source: "dataset" | "own" | "drawing" | "camera";
  /** of the network's input; anything but 1 counts as colour */
  channels: number;
  width: number;
  height: number;
  /** paper of the draw pad to begin with */
  dark: boolean;
}

export interface InputActions {
  /** Show this picture of the data set. */
  choose(image: number): void;
  /** Say what went wrong; empty takes it away. */
  problem(text: string): void;
}

type Panel = "drawing" | "camera" | "";

const OWN = { dataset: "", own: "your file", drawing: "your drawing", camera: "the camera" };

export class Inputs {
  readonly node: HTMLElement;
  readonly #requests: Requests;
  readonly #actions: InputActions;
  readonly #slider = element("input", { type: "range", min: "0", "aria-label": "Picture" });
  readonly #number = element("output", { class: "number" });
  readonly #label = element("span", { class: "label" });
  readonly #dataset = element(
    "label",
    { class: "dataset" },
    element("span", {}, "Picture"),
    this.#slider,
    this.#number,
  );
  readonly #back = button("", "Show the picture that was given", () => this.#choose(this.#last));
  readonly #status = element("p", { class: "status", role: "status", hidden: "" });
  readonly #toggles = {
    drawing: button("Draw", "Draw a picture", () => this.#toggle("drawing")),
    camera: button("Camera", "Look through the camera", () => this.#toggle("camera")),
  };
  readonly #files: PictureFiles;
  readonly #pad: DrawPad;
  readonly #camera: Camera;
  #state: InputState | null = null;
  #panel: Panel = "";
  /** picture that the slider was moved to and that waits for the next frame; -1 for none */
  #pending = -1;
  #scheduled = 0;
  #patience = 0;
  #since = 0;
  /** the data set's picture before one's own */
  #last = 0;

  constructor(view: View, requests: Requests, actions: InputActions) {
    this.#requests = requests;
    this.#actions = actions;
    const { signal } = view;
    this.#files = new PictureFiles(view, requests, {
      began: () => this.#open(""),
      status: (text) => this.#say(text),
      problem: (text) => actions.problem(text),
    });
    this.#pad = new DrawPad(view, (pixels, shape, done) =>
      this.#ask("drawing", pixels, shape, done, () => undefined),
    );
    this.#camera = new Camera(view, {
      send: (pixels, shape, done, answered) => this.#ask("camera", pixels, shape, done, answered),
      problem: (text) => actions.problem(text),
      stopped: () => this.#open(""),
    });
    this.#slider.addEventListener("input", () => this.#slide(), { signal });
    const { button: open, picker } = this.#files;
    const { drawing, camera } = this.#toggles;
    const sources = element("div", { class: "row" }, this.#back, open, picker, drawing, camera);
    this.node = element(
      "section",
      { class: "inputs", "aria-label": "Input picture" },
      element("div", { class: "sources" }, this.#dataset, this.#label, sources),
      this.#status,
      this.#pad.node,
      this.#camera.node,
    );
    signal.addEventListener("abort", () => {
      cancelAnimationFrame(this.#scheduled);
      clearTimeout(this.#patience);
    });
  }

  /** since when an answer to a drawing or a frame is waited for; 0 while none is */
  get waitingSince(): number {
    return this.#since;
  }

  toggleCamera(): void {
    this.#toggle("camera");
  }

  /** Hold the camera's frame, or go on. */
  freezeCamera(): void {
    this.#camera.freeze();
  }

  show(state: InputState): void {
    const before = this.#state;
    this.#state = state;
    if (state.image >= 0) this.#last = state.image;
    // Another view, or Python, took another source: this one's camera and pad rest.
    const live = this.#panel !== "" && before?.source === this.#panel;
    if (live && state.source !== this.#panel) this.#open("");
    this.#pad.show({ ...state, channels: state.channels === 1 ? 1 : 3 });
    this.#camera.show(state);
    this.#showDataset(state);
    this.#showPanel();
  }

  #showDataset({ image, images, labels, source }: InputState): void {
    const moved = this.#pending >= 0;
    const own = image < 0 && !moved;
    const at = moved ? this.#pending : this.#last;
    this.#dataset.hidden = images < 2;
    this.#dataset.classList.toggle("aside", own);
    this.#back.hidden = images < 1;
    this.#back.textContent = images > 1 ? "Data set" : "Given picture";
    this.#back.disabled = !own && this.#panel === "";
    this.#slider.max = String(Math.max(0, images - 1));
    this.#slider.value = String(at);
    const number = `${at + 1} of ${images}`;
    const label = moved ? "…" : labels || OWN[source];
    this.#number.textContent = number;
    this.#label.textContent = label;
    this.#label.title = label;
    this.#slider.setAttribute("aria-valuetext", `${number}, ${label}`);
  }

  #showPanel(): void {
    this.#pad.node.hidden = this.#panel !== "drawing";
    this.#camera.node.hidden = this.#panel !== "camera";
    for (const [name, node] of Object.entries(this.#toggles)) {
      node.setAttribute("aria-expanded", String(this.#panel === name));
    }
    if (this.#state) this.#showDataset(this.#state);
  }

  /** At most one choice a frame, however fast the slider is dragged. */
  #slide(): void {
    this.#pending = Number(this.#slider.value);
    if (this.#state) this.#showDataset(this.#state);
    this.#scheduled ||= requestAnimationFrame(() => {
      const chosen = this.#pending;
      this.#scheduled = 0;
      this.#pending = -1;
      this.#choose(chosen);
    });
  }

  #choose(image: number): void {
    this.#open("");
    this.#files.abandon();
    this.#actions.problem("");
    this.#actions.choose(image);
  }

  #toggle(panel: Panel): void {
    this.#open(this.#panel === panel ? "" : panel);
  }

  /** Open the pad or the camera, or neither; the other one is closed, and a file under way dropped. */
  #open(panel: Panel): void {
    const before = this.#panel;
    if (panel === before) return;
    this.#panel = panel;
    this.#showPanel();
    if (before === "camera") this.#camera.stop();
    if (before === "drawing") this.#pad.closed();
    if (panel === "") return;
    this.#files.abandon();
    this.#actions.problem("");
    if (panel === "camera") void this.#camera.start();
    else this.#pad.opened();
  }

  #ask(
    source: "drawing" | "camera",
    pixels: TypedArray,
    shape: number[],
    done: boolean,
    answered: (well: boolean) => void,
  ): void {
    const [height, width] = shape;
    clearTimeout(this.#patience);
    this.#patience = window.setTimeout(() => this.#say(NO_ANSWER), PATIENCE_MS);
    this.#since ||= performance.now();
    const end = (problem: string) => {
      clearTimeout(this.#patience);
      this.#since = 0;
      this.#say("");
      if (this.#panel === source) this.#actions.problem(problem);
      answered(problem === "");
    };
    this.#requests.ask(
      "pixels",
      { source, width, height, done },
      () => end(""),
      (message) => end(message),
      [{ name: "pixels", data: pixels, shape }],
    );
  }

  #say(text: string): void {
    this.#status.textContent = text;
    this.#status.hidden = text === "";
  }
}
