/** What is known of one image: in words, and which images are its neighbours in feature space. */

import type { Requests } from "../shared/wire.ts";
import { NONE } from "./facts.ts";
import type { Hands } from "./hands.ts";
import type { MapData } from "./map-data.ts";
import type { CardState } from "./state.ts";

/** Neighbours of an image, nearest in feature space first. */
export interface Links {
  /** -1 for a picture of one's own */
  row: number;
  /** where that is */
  from?: Place;
  neighbours: Int32Array;
  /** how many images lie nearer on the layout that is shown; 0 for the nearest */
  ranks: Int32Array;
  /** 0 to 1 for how far the map took each away */
  torn: Float32Array;
}

export interface Said {
  title: string;
  lines: string[];
}

/** From here on a neighbour is said to be torn away. */
export const TORN = 0.5;
/** Images that are remembered; the oldest go first. */
const REMEMBERED = 2000;

interface Place {
  x: number;
  y: number;
}

/** For each neighbour, how many images but `row` lie nearer to a place on a layout. */
export function ranksOnMap(
  places: Uint16Array,
  { x, y }: Place,
  neighbours: Int32Array,
  row: number,
): Int32Array {
  const away = (other: number) =>
    ((places[2 * other] as number) - x) ** 2 + ((places[2 * other + 1] as number) - y) ** 2;
  const order = [...neighbours.keys()].sort(
    (a, b) => away(neighbours[a] as number) - away(neighbours[b] as number),
  );
  const bounds = Float64Array.from(order, (i) => away(neighbours[i] as number));
  const farthest = bounds.at(-1) ?? 0;
  // counts[i]: of images that are nearer than neighbour i of the order, but not than the one before
  const counts = new Int32Array(order.length);
  const count = places.length / 2;
  for (let other = 0; other < count; other++) {
    const distance = away(other);
    if (distance >= farthest || other === row) continue;
    let [low, high] = [0, order.length - 1];
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((bounds[middle] as number) > distance) high = middle;
      else low = middle + 1;
    }
    counts[low] = (counts[low] as number) + 1;
  }
  const ranks = new Int32Array(neighbours.length);
  let nearer = 0;
  order.forEach((i, at) => {
    nearer += counts[at] as number;
    ranks[i] = nearer;
  });
  return ranks;
}

/** How far a map took a neighbour away: 0 among the nearest, 1 beyond a quarter of all images. */
export function tornOf(rank: number, neighbours: number, count: number): number {
  const near = Math.max(10, neighbours);
  const far = Math.max(4 * near, count / 4);
  if (rank < near) return 0;
  return Math.min(1, Math.log(rank / near) / Math.log(far / near));
}

/** Neighbours of a row, or of a picture of one's own at a place. */
export function linksOn(
  places: Uint16Array,
  neighbours: Int32Array,
  row: number,
  from?: Place,
): Links {
  const at = from ?? { x: places[2 * row] as number, y: places[2 * row + 1] as number };
  const ranks = ranksOnMap(places, at, neighbours, row);
  const count = places.length / 2;
  const torn = Float32Array.from(ranks, (rank) => tornOf(rank, ranks.length, count));
  return { row, neighbours, ranks, torn, ...(from && { from }) };
}

export class About {
  readonly #cards = new Map<number, Said>();
  readonly #neighbours = new Map<number, Int32Array>();
  /** rows that a question went wrong for: not asked again until the map is another */
  readonly #failed = new Set<string>();
  readonly #asked = new Map<string, number>();
  #links: { places: Uint16Array; links: Links } | null = null;

  readonly #data: MapData;
  readonly #requests: Requests;
  readonly #hands: Pick<Hands, "redraw" | "failed">;

  constructor(data: MapData, requests: Requests, hands: Pick<Hands, "redraw" | "failed">) {
    this.#data = data;
    this.#requests = requests;
    this.#hands = hands;
  }

  said(row: number): Said {
    return (
      this.#cards.get(row) ?? { title: this.title(row), lines: saidFromState(this.#data, row) }
    );
  }

  title(row: number): string {
    return this.#cards.get(row)?.title ?? `image ${this.#data.numberOf(row)}`;
  }

  /** Neighbours on a layout; null as long as they are not known. */
  links(row: number, places: Uint16Array): Links | null {
    const neighbours = this.#neighboursOf(row);
    if (!neighbours) return null;
    const last = this.#links;
    if (last?.links.row === row && last.places === places) return last.links;
    const links = linksOn(places, neighbours, row);
    this.#links = { places, links };
    return links;
  }

  /** Ask Python for what is not known of a row. */
  want(row: number): void {
    if (!this.#cards.has(row)) {
      this.#ask("card", row, ({ fields }) => {
        const { title, lines } = fields as unknown as CardState;
        remember(this.#cards, row, { title, lines });
      });
    }
    if (!this.#neighboursOf(row)) {
      this.#ask("neighbours", row, ({ arrays }) => {
        remember(this.#neighbours, row, arrays.get("rows")?.data as Int32Array);
      });
    }
  }

  /** The map is another: what failed may work now, what was known may be wrong. */
  forget(): void {
    this.#failed.clear();
    this.#cards.clear();
    this.#neighbours.clear();
    this.#links = null;
  }

  #neighboursOf(row: number): Int32Array | null {
    const { neighbours, near } = this.#data.facts;
    if (neighbours) return neighbours.subarray(row * near, (row + 1) * near);
    return this.#neighbours.get(row) ?? null;
  }

  #ask(kind: "card" | "neighbours", row: number, take: Parameters<Requests["ask"]>[2]): void {
    if (this.#asked.get(kind) === row || this.#failed.has(`${kind} ${row}`)) return;
    this.#asked.set(kind, row);
    const settle = () => {
      if (this.#asked.get(kind) === row) this.#asked.delete(kind);
      this.#hands.redraw();
    };
    this.#requests.ask(
      kind,
      { row },
      (answer) => {
        take(answer);
        settle();
      },
      (message) => {
        this.#failed.add(`${kind} ${row}`);
        this.#hands.failed(message);
        settle();
      },
    );
  }
}

function remember<T>(known: Map<number, T>, row: number, value: T): void {
  known.set(row, value);
  if (known.size > REMEMBERED) known.delete(known.keys().next().value as number);
}

/** What the saved state alone says of an image. */
export function saidFromState({ facts }: MapData, row: number): string[] {
  const name = (names: string[], number: number) => names[number] ?? `class ${number}`;
  const label = facts.label?.[row] ?? NONE;
  const predicted = facts.predicted?.[row] ?? NONE;
  const sure = facts.confidence?.[row] ?? 255;
  const lines: string[] = [];
  if (label !== NONE) lines.push(`Class: ${name(facts.classes, label)}`);
  if (predicted !== NONE) {
    const confidence = sure < 255 ? `, ${Math.round((100 * sure) / 254)} %` : "";
    lines.push(`Taken for: ${name(facts.outputs, predicted)}${confidence}`);
  }
  return lines;
}
