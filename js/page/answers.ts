/** Answers that were recorded, found by the question. */

import type { AnswerData, Fields, Value } from "./data.ts";

interface Kind {
  /** names of the fields that have to be the same */
  same: string[];
  among: string;
  byKey: Map<string, AnswerData[]>;
}

export class Answers {
  readonly #kinds = new Map<string, Kind>();

  constructor(answers: AnswerData[]) {
    for (const answer of answers) {
      const kind = this.#kinds.get(answer.kind) ?? {
        same: Object.keys(answer.same),
        among: answer.among,
        byKey: new Map(),
      };
      this.#kinds.set(answer.kind, kind);
      for (const key of keysOf(kind, answer.same, answer.listed)) {
        const alike = kind.byKey.get(key) ?? [];
        alike.push(answer);
        kind.byKey.set(key, alike);
      }
    }
  }

  /** The answer to a question; null where none was recorded. */
  find(question: Fields): Fields | null {
    const kind = this.#kinds.get(String(question.kind));
    if (!kind) return null;
    const listed = kind.among ? ((question[kind.among] as Value[] | undefined) ?? []) : [];
    const [key] = keysOf(kind, question, listed);
    const alike = (key === undefined ? undefined : kind.byKey.get(key)) ?? [];
    let best: AnswerData | null = null;
    for (const one of alike) {
      if (!best || apart(one.near, question) < apart(best.near, question)) best = one;
    }
    return best?.answer ?? null;
  }
}

/** A key for each thing that is listed, or one where nothing is. */
function keysOf({ same, among }: Kind, fields: Fields, listed: Value[]): string[] {
  const own = JSON.stringify(same.map((name) => fields[name] ?? null));
  return among ? listed.map((one) => `${own} ${JSON.stringify(one)}`) : [own];
}

function apart(near: Record<string, number>, question: Fields): number {
  let sum = 0;
  for (const [name, value] of Object.entries(near)) {
    sum += Math.abs(value - Number(question[name] ?? value));
  }
  return sum;
}
