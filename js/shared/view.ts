/**
 * What every view needs: its own shadow root with styles, one signal that ends it, redraws
 * gathered into one a frame, the theme, and a place where errors and waiting show.
 */

import { element } from "./controls.ts";
import styles from "./view.css";

export interface View {
  root: ShadowRoot;
  /** where a view puts its nodes */
  body: HTMLElement;
  /** aborts when the view closes; hand it to every listener */
  signal: AbortSignal;
  /** Draw before the next frame; calls in between are one. */
  redraw(): void;
  /**
   * Say why something did not work; empty takes it away. Each source has a place of its own, so
   * that what went well in one does not hide what went wrong in another.
   */
  problem(source: "python" | "request" | "drawing", text: string): void;
  /** A line that says what is being waited for; empty takes it away. */
  waiting(text: string): void;
  /** Spoken by a screen reader, not shown. */
  announce(text: string): void;
  close(): void;
}

/** Any model of the host; only listening is needed here. */
export interface Listening {
  on(event: string, listener: () => void): void;
  off(event: string, listener: () => void): void;
}

export function openView(host: HTMLElement, name: string, css: string, draw: () => void): View {
  const controller = new AbortController();
  const { signal } = controller;
  host.dataset.nbvizView = name;
  // Keys pressed in a view are the view's: Lab's shortcuts (Delete removes a cell) stay away.
  host.dataset.lmSuppressShortcuts = "true";
  const root = host.shadowRoot ?? host.attachShadow({ mode: "open" });
  const problemLine = element("p", { class: "problem", role: "alert", hidden: "" });
  const waitingLine = element("p", { class: "waiting", role: "status", hidden: "" });
  const live = element("p", { class: "spoken", "aria-live": "polite" });
  const body = element("div", { class: "body" });
  root.replaceChildren(
    element("style", {}, styles + css),
    element("div", { class: "view" }, problemLine, waitingLine, body, live),
  );

  const show = (line: HTMLElement, text: string) => {
    if (line.textContent !== text) line.textContent = text;
    line.hidden = text === "";
  };

  const problems = new Map<string, string>();
  let scheduled = 0;
  let drawn = 0;
  const view: View = {
    root,
    body,
    signal,
    redraw() {
      if (scheduled || signal.aborted) return;
      scheduled = requestAnimationFrame(() => {
        scheduled = 0;
        try {
          draw();
          view.problem("drawing", "");
          drawn += 1;
          host.dataset.nbvizDrawn = String(drawn);
        } catch (error) {
          // The last good picture stays; the reason stands beside it.
          view.problem("drawing", error instanceof Error ? error.message : String(error));
        }
      });
    },
    problem(source, text) {
      problems.set(source, text);
      show(problemLine, [...problems.values()].filter((line) => line !== "").join("\n"));
    },
    waiting: (text) => show(waitingLine, text),
    announce: (text) => {
      live.textContent = text;
    },
    close() {
      cancelAnimationFrame(scheduled);
      controller.abort();
    },
  };

  const resized = new ResizeObserver(() => view.redraw());
  resized.observe(body);
  // A window moved to a denser screen is drawn anew, although nothing in it changed its size.
  const watchDensity = () => {
    if (signal.aborted) return;
    const media = matchMedia(`(resolution: ${window.devicePixelRatio}dppx)`);
    media.addEventListener(
      "change",
      () => {
        view.redraw();
        watchDensity();
      },
      { once: true, signal },
    );
  };
  watchDensity();
  const themed = new MutationObserver(() => view.redraw());
  themed.observe(document.body, { attributes: true });
  signal.addEventListener("abort", () => {
    resized.disconnect();
    themed.disconnect();
  });
  for (const type of ["keydown", "keyup", "wheel"]) {
    root.addEventListener(type, (event) => event.stopPropagation(), { signal, passive: true });
  }
  return view;
}

/** Listen to a model for as long as the view lives. */
export function listen(
  model: Listening,
  events: string[],
  signal: AbortSignal,
  act: () => void,
): void {
  for (const event of events) model.on(event, act);
  signal.addEventListener("abort", () => {
    for (const event of events) model.off(event, act);
  });
}

/** A colour of the page as the browser resolved it, for drawing on a canvas. */
export function themeColour(view: View, property: string): [number, number, number] {
  const probe = element("span", { style: `color: var(${property}); display: none` });
  view.root.append(probe);
  const parts =
    getComputedStyle(probe)
      .color.match(/[\d.]+/g)
      ?.map(Number) ?? [];
  probe.remove();
  return [parts[0] ?? 128, parts[1] ?? 128, parts[2] ?? 128];
}
