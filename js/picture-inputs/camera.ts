/** The camera: one frame in flight, always the newest, let go when it is stopped or the view closes. */

import { button, element, select } from "../shared/controls.ts";
import type { View } from "../shared/view.ts";
import type { TypedArray } from "../shared/wire.ts";
import { PATIENCE_MS } from "./picture-files.ts";

/** Frames counted within so many milliseconds make the rate. */
const RATE_MS = 2000;
const FRAME_AT_LEAST = 128;
const FRAME_AT_MOST = 512;

/**
 * Size of a frame for a network's input. Transforms commonly take 7/8 of the middle (224 of 256,
 * 299 of 342), so a frame is as much larger than the input: such a transform need not resize it.
 */
export function frameSize(width: number, height: number): { width: number; height: number } {
  const side = Math.max(width, height, 1);
  const wanted = Math.min(Math.max((side * 8) / 7, FRAME_AT_LEAST), FRAME_AT_MOST);
  const scaled = (length: number) => Math.max(1, Math.round((length * wanted) / side));
  return { width: scaled(width), height: scaled(height) };
}

/** The largest middle part of a picture that has the sides `width` to `height`. */
export function middle(
  pictureWidth: number,
  pictureHeight: number,
  width: number,
  height: number,
): [left: number, top: number, width: number, height: number] {
  const scale = Math.min(pictureWidth / width, pictureHeight / height);
  const [w, h] = [width * scale, height * scale];
  return [(pictureWidth - w) / 2, (pictureHeight - h) / 2, w, h];
}

/** Red, green and blue of an RGBA picture. */
export function withoutAlpha(rgba: ArrayLike<number>): TypedArray {
  const rgb = new Uint8Array((rgba.length / 4) * 3);
  for (let from = 0, to = 0; from < rgba.length; from += 4, to += 3) {
    rgb[to] = rgba[from] as number;
    rgb[to + 1] = rgba[from + 1] as number;
    rgb[to + 2] = rgba[from + 2] as number;
  }
  return rgb;
}

/** Frames a second over the last two seconds. */
export class Rate {
  private times: number[] = [];

  add(now: number): void {
    this.times.push(now);
    this.times = this.times.filter((time) => now - time <= RATE_MS);
  }

  reset(): void {
    this.times = [];
  }

  get value(): number {
    const [first, last] = [this.times[0], this.times.at(-1)];
    if (first === undefined || last === undefined || last === first) return 0;
    return ((this.times.length - 1) * 1000) / (last - first);
  }
}

const AGAIN = ", then press Camera again.";
const PROBLEMS: Record<string, string> = {
  NotAllowedError: `The browser does not allow this page the camera: allow it at the sign beside the page's address${AGAIN}`,
  NotFoundError: `There is no camera: plug one in${AGAIN}`,
  NotReadableError: `The camera gives no picture: close the other program that uses it${AGAIN}`,
  OverconstrainedError: "That camera is no longer there: press Camera again to take another.",
  ended: `The camera was unplugged or taken away: plug it in${AGAIN}`,
};

/** What to say and do where the camera does not come, by the name of the error. */
export function cameraProblem(name: string, secure: boolean): string {
  if (!secure) {
    return "Browsers give the camera only to pages over https or on localhost: open the notebook that way (through an SSH tunnel, for instance).";
  }
  return PROBLEMS[name] ?? `The camera did not start (${name}): open a file instead.`;
}

export interface CameraActions {
  /**
   * Ask Python about a frame, and say when it has answered: true, or false if it could not. `done`
   * if no other follows at once, so that there is time for all that can be said of it.
   */
  send(pixels: TypedArray, shape: number[], done: boolean, answered: (well: boolean) => void): void;
  problem(text: string): void;
  /** the camera went off by itself */
  stopped(): void;
}

export class Camera {
  readonly node: HTMLElement;
  readonly #actions: CameraActions;
  readonly #video = element("video", { playsinline: "", "aria-label": "What the camera sees" });
  readonly #pause = button("", "Hold this frame, or go on", () => this.#hold(!this.#held));
  readonly #line = element("span", { class: "fps" });
  readonly #mirror = element("input", { type: "checkbox", checked: "" });
  readonly #choice = select("Camera", (id) => void this.start(id));
  readonly #canvas = element("canvas");
  readonly #rate = new Rate();
  #stream: MediaStream | null = null;
  /** rises with each start and stop: what an earlier start still waits for is let go */
  #session = 0;
  #held = false;
  #onScreen = true;
  /** whether there is a frame that was not sent */
  #fresh = false;
  /** number of the frame that Python has, 0 for none */
  #asked = 0;
  #frames = 0;
  /** the frame that was sent last */
  #last: { pixels: TypedArray; shape: number[] } | null = null;
  #patience = 0;
  #input = { width: 1, height: 1 };

  constructor(view: View, actions: CameraActions) {
    this.#actions = actions;
    const { signal } = view;
    this.#video.muted = true;
    this.#mirror.addEventListener("change", () => this.#report(), { signal });
    this.node = element(
      "div",
      { class: "panel camera", role: "group", "aria-label": "Camera" },
      this.#video,
      element(
        "div",
        { class: "tools" },
        this.#pause,
        this.#choice.node,
        element("label", { class: "control" }, this.#mirror, element("span", {}, "Mirror here")),
        this.#line,
      ),
    );
    const seen = () => {
      this.#report();
      this.#grab();
    };
    const observer = new IntersectionObserver((entries) => {
      this.#onScreen = entries.at(-1)?.isIntersecting ?? true;
      seen();
    });
    observer.observe(view.root.host);
    document.addEventListener("visibilitychange", seen, { signal });
    signal.addEventListener("abort", () => {
      observer.disconnect();
      this.stop();
    });
  }

  show(input: { width: number; height: number }): void {
    this.#input = input;
    this.#video.style.aspectRatio = `${input.width} / ${input.height}`;
  }

  /** Switch the camera on, or to another one. */
  async start(id = ""): Promise<void> {
    this.stop();
    const mine = this.#session;
    this.#report("starting");
    const wanted = id ? { deviceId: { exact: id } } : {};
    const [width, height, frameRate] = [{ ideal: 640 }, { ideal: 480 }, { ideal: 60 }];
    try {
      const stream = await navigator.mediaDevices.getUserMedia({
        video: { ...wanted, width, height, frameRate },
      });
      if (mine === this.#session) await this.#use(stream, mine);
      else letGo(stream);
    } catch (error) {
      if (mine === this.#session) this.#fail((error as Error).name);
    }
  }

  /** Switch the camera off. */
  stop(): void {
    this.#session += 1;
    if (this.#stream) letGo(this.#stream);
    this.#stream = null;
    this.#video.srcObject = null;
    this.#held = false;
    this.#last = null;
    this.#asked = 0;
    this.#rate.reset();
    clearTimeout(this.#patience);
    this.#report();
  }

  #fail(name: string): void {
    this.stop();
    this.#actions.stopped();
    this.#actions.problem(cameraProblem(name, window.isSecureContext));
  }

  async #use(stream: MediaStream, mine: number): Promise<void> {
    this.#stream = stream;
    const track = stream.getVideoTracks()[0];
    track?.addEventListener("ended", () => {
      if (mine === this.#session) this.#fail("ended");
    });
    const video = this.#video;
    video.srcObject = stream;
    const frame = () => {
      if (mine !== this.#session) return;
      this.#fresh = true;
      this.#grab();
      video.requestVideoFrameCallback(frame);
    };
    video.requestVideoFrameCallback(frame);
    await video.play();
    this.#report();
    const devices = await navigator.mediaDevices.enumerateDevices();
    const cameras = devices.filter(({ kind }) => kind === "videoinput");
    if (mine !== this.#session) return;
    this.#choice.node.hidden = cameras.length < 2;
    this.#choice.show(
      cameras.map(({ deviceId, label }, i) => ({ value: deviceId, label: label || `${i + 1}` })),
      track?.getSettings().deviceId ?? "",
    );
  }

  #hold(held: boolean): void {
    this.#held = held;
    if (held) this.#video.pause();
    else void this.#video.play().catch(() => undefined);
    this.#rate.reset();
    this.#report();
    const last = this.#last;
    if (held && last) this.#actions.send(last.pixels, last.shape, true, () => undefined);
    this.#grab();
  }

  /** Hold the frame, or go on. */
  freeze(): void {
    if (this.#stream) this.#hold(!this.#held);
  }

  get #state(): string {
    if (!this.#stream) return "off";
    if (this.#held) return "paused";
    return document.hidden || !this.#onScreen ? "hidden" : "live";
  }

  /** Send the newest frame, if there is one and the last was answered. */
  #grab(): void {
    const [video, canvas, session] = [this.#video, this.#canvas, this.#session];
    if (this.#state !== "live" || this.#asked || !this.#fresh) return;
    const { width, height } = frameSize(this.#input.width, this.#input.height);
    const part = middle(video.videoWidth, video.videoHeight, width, height);
    const context = canvas.getContext("2d", { willReadFrequently: true });
    if (!context || !part[2]) return;
    canvas.width = width;
    canvas.height = height;
    context.imageSmoothingQuality = "medium";
    context.drawImage(video, ...part, 0, 0, width, height);
    const pixels = withoutAlpha(context.getImageData(0, 0, width, height).data);
    this.#last = { pixels, shape: [height, width, 3] };
    this.#fresh = false;
    this.#frames += 1;
    const frame = this.#frames;
    this.#asked = frame;
    clearTimeout(this.#patience);
    // Where no kernel is behind the page no answer ever comes: try again.
    this.#patience = window.setTimeout(() => {
      this.#asked = 0;
      this.#rate.reset();
      this.#report();
    }, PATIENCE_MS);
    this.#actions.send(pixels, this.#last.shape, false, (well) => {
      if (session !== this.#session || frame !== this.#asked) return;
      clearTimeout(this.#patience);
      this.#asked = 0;
      if (!well) {
        this.#last = null;
        this.#hold(true);
        return;
      }
      this.#rate.add(performance.now());
      this.node.dataset.frames = String(Number(this.node.dataset.frames ?? 0) + 1);
      this.#report();
      this.#grab();
    });
  }

  #report(state = this.#state): void {
    const { value } = this.#rate;
    const { dataset } = this.node;
    dataset.camera = state;
    dataset.fps = value.toFixed(2);
    let text = { hidden: "waits until it is on screen", starting: "starting …" }[state] ?? state;
    if (state === "live") text = value ? `${value.toFixed(1)} frames/s` : "first frame …";
    this.#line.textContent = text;
    this.#pause.textContent = this.#held ? "Resume" : "Pause";
    this.#video.classList.toggle("mirrored", this.#mirror.checked);
  }
}

function letGo(stream: MediaStream): void {
  for (const track of stream.getTracks()) track.stop();
}
