/** A model as a view knows it (AFM), with what was recorded in the place of Python. */

import { Answers } from "./answers.ts";
import type { AxisData, Fields, ModelData, Value } from "./data.ts";

type Listener = (...given: never[]) => void;

export const NO_PYTHON = "This page has no Python behind it";

interface Axis {
  data: AxisData;
  byKey: Map<string, Fields>;
  /** values of its choices as they were last answered */
  settled: Value[];
}

export class PageModel {
  /** told of each choice of a view that was accepted */
  chosen: (names: string[]) => void = () => {};
  readonly #state: Fields;
  readonly #axes: Axis[];
  readonly #answers: Answers;
  readonly #data: ModelData;
  readonly #listeners = new Map<string, Set<Listener>>();
  #unsaved = new Set<string>();

  constructor(data: ModelData) {
    this.#data = data;
    this.#state = { ...data.state };
    this.#answers = new Answers(data.answers);
    this.#axes = data.axes.map((axis) => ({
      data: axis,
      byKey: new Map(axis.values.map(([values, shown]) => [JSON.stringify(values), shown])),
      settled: axis.choices.map((name) => data.state[name] as Value),
    }));
  }

  get(name: string): Value | undefined {
    return this.#state[name];
  }

  set(name: string, value: Value): void {
    this.#unsaved.add(name);
    this.#put({ [name]: value });
  }

  /** What Jupyter sends to Python: here the recorded answer is looked up. */
  save_changes(): void {
    const names = [...this.#unsaved].filter((name) => !name.startsWith("_"));
    this.#unsaved = new Set();
    if (names.length === 0) return;
    const refusals = [...this.#refuseFixed(names), ...this.#answerAxes(names)];
    this.#put({ problem: refusals.join("\n") });
    if (refusals.length === 0) this.chosen(names);
  }

  /** Take over a choice of a linked view, if it can be shown. */
  follow(name: string, value: Value): void {
    if (!(name in this.#state) || same(this.#state[name], value)) return;
    const before = this.#state[name] as Value;
    this.#put({ [name]: value });
    const refusals = [...this.#refuseFixed([name]), ...this.#answerAxes([name])];
    if (refusals.length > 0) this.#put({ [name]: before });
    // That a view has no such layer is no news: it stays with what it shows.
    this.#put({ problem: name === "image" ? refusals.join("\n") : "" });
  }

  send(content: unknown): void {
    const question = content as Fields;
    const kind = String(question.kind);
    if (question.rid === undefined) return;
    const answer = this.#answers.find(question) ?? this.#data.blank[kind];
    if (!answer && this.#data.silent.includes(kind)) throw new Error(NO_PYTHON);
    const { buffers = [], ...fields } = answer ?? {
      kind: "error",
      message: `${NO_PYTHON}, and what this would show was not saved in it.`,
    };
    // As from a kernel: never before the view has done what it was at.
    setTimeout(() => {
      this.#tell("msg:custom", { kind, ...fields, rid: question.rid }, buffers);
    });
  }

  on(event: string, listener: Listener): void {
    const known = this.#listeners.get(event) ?? new Set();
    known.add(listener);
    this.#listeners.set(event, known);
  }

  off(event?: string | null, listener?: Listener | null): void {
    for (const [name, known] of this.#listeners) {
      if (event && name !== event) continue;
      if (listener) known.delete(listener);
      else known.clear();
    }
  }

  #tell(event: string, ...given: unknown[]): void {
    for (const listener of [...(this.#listeners.get(event) ?? [])]) {
      (listener as (...given: unknown[]) => void)(...given);
    }
  }

  /** Set traits and tell of those that became another. */
  #put(values: Fields): void {
    const changed = Object.keys(values).filter((name) => !same(this.#state[name], values[name]));
    Object.assign(this.#state, values);
    for (const name of changed) this.#tell(`change:${name}`, this, values[name]);
    if (changed.length > 0) this.#tell("change", this);
  }

  /** What stays as it was saved goes back to that; why, in words. */
  #refuseFixed(names: string[]): string[] {
    const { fixed, state } = this.#data;
    const refused = names.filter(
      (name) => fixed.includes(name) && !same(this.#state[name], state[name]),
    );
    this.#put(Object.fromEntries(refused.map((name) => [name, state[name] as Value])));
    return refused.map((name) => `${NO_PYTHON}: ${spoken(name)} stays as it was saved.`);
  }

  #answerAxes(names: string[]): string[] {
    const changed = new Set(names);
    const refusals: string[] = [];
    for (const axis of this.#axes) {
      const { choices, elsewhere } = axis.data;
      const now = choices.map((name) => this.#state[name] as Value);
      const made = choices.filter((name, i) => changed.has(name) && !same(now[i], axis.settled[i]));
      const shown = axis.byKey.get(JSON.stringify(now)) ?? elsewhere;
      if (!shown) {
        const before = choices.map((name, i) => [name, axis.settled[i] as Value]);
        this.#put(Object.fromEntries(before));
        if (made.length > 0) refusals.push(refusal(axis.data, made, now));
        continue;
      }
      if (made.length === 0) continue;
      const { resets } = axis.data;
      const again = new Set(made.flatMap((name) => resets[name] ?? []));
      const all = new Set(Object.values(resets).flat());
      const put = Object.entries(shown).filter(([name]) => !all.has(name) || again.has(name));
      for (const [name] of put) changed.add(name);
      axis.settled = now;
      this.#put(Object.fromEntries(put));
    }
    return refusals;
  }
}

function refusal({ choices, names }: AxisData, made: string[], now: Value[]): string {
  const wanted = made.map((name) => `${spoken(name)} ${now[choices.indexOf(name)]}`).join(", ");
  return `${NO_PYTHON}: ${wanted} is not among the ${names} that were saved in it.`;
}

function spoken(name: string): string {
  return name.replaceAll("_", " ");
}

function same(a: Value | undefined, b: Value | undefined): boolean {
  if (a === b) return true;
  if (a instanceof DataView || b instanceof DataView) return false;
  if (typeof a !== "object" || typeof b !== "object" || !a || !b) return false;
  const [names, others] = [Object.keys(a), Object.keys(b)];
  return (
    names.length === others.length &&
    names.every((name) => same((a as Fields)[name], (b as Fields)[name]))
  );
}
