/** Pictures from files: the picker, drop and paste, and the way of a file to Python in parts. */

import { button, element } from "../shared/controls.ts";
import type { View } from "../shared/view.ts";
import type { Requests, TypedArray } from "../shared/wire.ts";

/** As `nbviz/picture_files.py` has them: the browser sends at most 10 MB a message. */
export const MAX_BYTES = 64_000_000;
export const PART_BYTES = 4_194_304;

/** After this a person is told that Python has not answered. */
export const PATIENCE_MS = 4000;
export const NO_ANSWER =
  "Python has not answered yet: it is busy, or was restarted (then run the cell again).";

interface Part {
  upload: string;
  name: string;
  part: number;
  parts: number;
  size: number;
}

export interface FileActions {
  /** a file begins to be sent */
  began(): void;
  /** what is under way; empty takes it away */
  status(text: string): void;
  /** what went wrong; empty takes it away */
  problem(text: string): void;
}

/** What a transfer (a drop, the clipboard) holds: a file, or why there is none. */
export function fileIn(transfer: DataTransfer | null): File | string {
  const files = [...(transfer?.files ?? [])];
  const file = files.find(({ type }) => type.startsWith("image/")) ?? files[0];
  if (file) return file;
  const what = transfer?.types.includes("text/uri-list") ? "a link" : "text or nothing";
  return `That is ${what}, not a picture: copy a picture or a picture file.`;
}

/** One file at a time on its way to Python, in parts one after the other; a newer one replaces it. */
export class Upload {
  readonly #requests: Requests;
  readonly #actions: FileActions;
  /** rises with each file: the parts of an older one are sent no further */
  #newest = 0;
  #patience: ReturnType<typeof setTimeout> | undefined;

  constructor(requests: Requests, actions: FileActions) {
    this.#requests = requests;
    this.#actions = actions;
  }

  /** Send no more of the file that is under way. */
  abandon(): void {
    this.#newest += 1;
    this.#settle("");
  }

  send(file: File): void {
    this.abandon();
    const { size } = file;
    const name = file.name || "the pasted picture";
    if (size > MAX_BYTES) {
      this.#actions.problem(
        `“${name}” has ${Math.round(size / 1e6)} MB, and at most ${MAX_BYTES / 1e6} MB can be sent: save a smaller copy.`,
      );
      return;
    }
    this.#actions.began();
    const parts = Math.max(1, Math.ceil(size / PART_BYTES));
    const upload = `${this.#newest}-${Math.random().toString(36).slice(2, 8)}`;
    void this.#sendPart(file, { upload, name, parts, size, part: 0 }, this.#newest);
  }

  async #sendPart(file: File, fields: Part, mine: number): Promise<void> {
    const { name, part, parts } = fields;
    const end = (problem: string) => {
      if (mine !== this.#newest) return;
      this.#settle("");
      this.#actions.problem(problem);
    };
    let data: TypedArray;
    try {
      const bytes = file.slice(part * PART_BYTES, (part + 1) * PART_BYTES);
      data = new Uint8Array(await bytes.arrayBuffer());
    } catch {
      end(`“${name}” could not be read: it is a folder, or was moved or is protected.`);
      return;
    }
    if (mine !== this.#newest) return;
    this.#settle(`Sending “${name}” … ${Math.round((100 * part) / parts)} %`);
    this.#patience = setTimeout(() => this.#actions.status(NO_ANSWER), PATIENCE_MS);
    const next = () => {
      if (part + 1 === parts) end("");
      else if (mine === this.#newest) {
        void this.#sendPart(file, { ...fields, part: part + 1 }, mine);
      }
    };
    const arrays = [{ name: "data", data, shape: [data.length] }];
    this.#requests.ask("picture_file", { ...fields }, next, end, arrays);
  }

  #settle(status: string): void {
    clearTimeout(this.#patience);
    this.#actions.status(status);
  }
}

export class PictureFiles {
  readonly button = button("Open file…", "Open a picture file; or drop or paste one", () =>
    this.picker.click(),
  );
  readonly picker = element("input", {
    type: "file",
    accept: "image/*,.heic,.heif,.tif,.tiff",
    hidden: "",
    "aria-label": "Picture file",
  });
  readonly #upload: Upload;
  readonly #actions: FileActions;
  readonly #target = element(
    "div",
    { class: "drop-target", hidden: "" },
    element("span", {}, "Drop a picture here"),
  );

  constructor(view: View, requests: Requests, actions: FileActions) {
    this.#upload = new Upload(requests, actions);
    this.#actions = actions;
    const { signal } = view;
    this.picker.addEventListener(
      "change",
      () => {
        const file = this.picker.files?.[0];
        if (file) this.#upload.send(file);
        // So that the same file can be chosen again.
        this.picker.value = "";
      },
      { signal },
    );
    view.body.parentElement?.append(this.#target);
    this.#listenToDrops(view.root.host as HTMLElement, signal);
    this.#listenToPaste(view);
    signal.addEventListener("abort", () => this.abandon());
  }

  /** Send no more of the file that is under way. */
  abandon(): void {
    this.#upload.abandon();
  }

  #take(transfer: DataTransfer | null): void {
    const found = fileIn(transfer);
    if (typeof found === "string") this.#actions.problem(found);
    else this.#upload.send(found);
  }

  #listenToDrops(host: HTMLElement, signal: AbortSignal): void {
    let leaving = 0;
    const show = (shown: boolean) => {
      clearTimeout(leaving);
      this.#target.hidden = !shown;
    };
    const handle = (event: DragEvent) => {
      const { dataTransfer, type } = event;
      const types = dataTransfer?.types ?? [];
      if (!types.includes("Files") && !types.includes("text/uri-list")) return;
      event.preventDefault();
      event.stopPropagation();
      show(type === "dragover");
      // Not every browser says when a drag has left; while it is here, `dragover` keeps coming.
      leaving = window.setTimeout(() => show(false), 700);
      if (type === "drop") this.#take(dataTransfer);
    };
    for (const type of ["dragover", "dragleave", "drop"] as const) {
      host.addEventListener(type, handle, { signal });
    }
    signal.addEventListener("abort", () => clearTimeout(leaving));
  }

  #listenToPaste({ root, signal }: View): void {
    // A paste is meant for this view if the page's last click or focus was in it.
    let attended = false;
    const attend = (event: Event) => {
      attended = event.composedPath().includes(root);
    };
    const paste = (event: ClipboardEvent) => {
      const [written] = event.composedPath() as HTMLElement[];
      const typing = written?.matches?.("textarea, [contenteditable], input:not([type=range])");
      const files = event.clipboardData?.files.length;
      if (!attended || (typing && !files)) return;
      event.preventDefault();
      event.stopPropagation();
      this.#take(event.clipboardData);
    };
    const options = { signal, capture: true };
    document.addEventListener("pointerdown", attend, options);
    document.addEventListener("focusin", attend, options);
    // On the document: where nothing can be edited, browsers paste into the page, not the view.
    document.addEventListener("paste", paste, options);
  }
}
