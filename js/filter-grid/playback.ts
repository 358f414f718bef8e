/** The scrubber over the snapshots of a training. */

import { button, element } from "../shared/controls.ts";
import type { Watching } from "./state.ts";

/** Milliseconds that one snapshot stands while they play. */
const FRAME_MS = 120;

export class Playback {
  readonly node: HTMLElement;
  private readonly slider = element("input", {
    type: "range",
    min: "0",
    "aria-label": "Step of training",
  });
  private readonly text = element("output", { class: "step" });
  private readonly play: HTMLButtonElement;
  private readonly newest: HTMLButtonElement;
  private steps: number[] = [];
  private timer = 0;

  /** `go` gets the step to show, -1 for the newest. */
  constructor(
    signal: AbortSignal,
    private readonly go: (step: number) => void,
  ) {
    this.play = button("▶", "Play the training", () => this.toggle());
    this.newest = button("newest", "Show the newest kernels", () => {
      this.stop();
      this.go(-1);
    });
    this.slider.addEventListener(
      "input",
      () => {
        this.stop();
        this.goTo(Number(this.slider.value));
      },
      { signal },
    );
    signal.addEventListener("abort", () => this.stop());
    this.node = element(
      "div",
      { class: "playback", role: "group", "aria-label": "Replay of the training" },
      this.play,
      this.slider,
      this.newest,
      this.text,
    );
  }

  /** `step`: snapshot on show, -1 for the newest; `now`: the newest's step, -1 after a refresh. */
  show(steps: number[], step: number, now: number, watching: Watching): void {
    this.steps = steps;
    this.node.hidden = steps.length < 2;
    if (this.node.hidden) return;
    const last = steps.length - 1;
    const index =
      step < 0
        ? last
        : Math.max(
            0,
            steps.findLastIndex((s) => s <= step),
          );
    this.slider.max = String(last);
    this.slider.value = String(index);
    this.newest.disabled = step < 0;
    const memory = `${watching.frames} snapshots, ${formatBytes(watching.bytes)} of at most ${formatBytes(watching.limit)}`;
    const state = watching.active ? "training" : "training ended";
    const shown =
      step < 0 && now < 0 ? "now, read again" : `step ${steps[index]} of ${steps[last]}`;
    this.text.textContent = `${shown} · ${state} · ${memory}`;
    this.slider.setAttribute("aria-valuetext", `step ${steps[index]}`);
  }

  private goTo(index: number): void {
    this.go(index >= this.steps.length - 1 ? -1 : (this.steps[index] as number));
  }

  private toggle(): void {
    if (this.timer) {
      this.stop();
      return;
    }
    const last = this.steps.length - 1;
    let index = Number(this.slider.value) >= last ? 0 : Number(this.slider.value);
    this.play.textContent = "❚❚";
    this.play.setAttribute("aria-label", "Pause");
    this.play.title = "Pause";
    this.goTo(index);
    this.timer = window.setInterval(() => {
      index += 1;
      this.goTo(index);
      if (index >= this.steps.length - 1) this.stop();
    }, FRAME_MS);
  }

  private stop(): void {
    window.clearInterval(this.timer);
    this.timer = 0;
    this.play.textContent = "▶";
    this.play.setAttribute("aria-label", "Play the training");
    this.play.title = "Play the training";
  }
}

export function formatBytes(bytes: number): string {
  if (bytes < 1e6) return `${Math.max(1, Math.round(bytes / 1e3))} kB`;
  return `${(bytes / 1e6).toFixed(1)} MB`;
}
