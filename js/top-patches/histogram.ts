/** Where bars, marks and ticks of a histogram stand, as fractions of its sides; without a page. */

export interface Bar {
  left: number;
  right: number;
  /** 0 to 1 on an axis of log(1 + count): one image shows, none does not */
  height: number;
  count: number;
  from: number;
  to: number;
}

export function bars(edges: ArrayLike<number>, counts: ArrayLike<number>): Bar[] {
  const most = highest(counts);
  const n = counts.length;
  return Array.from({ length: n }, (_, i) => {
    const count = counts[i] as number;
    return {
      left: i / n,
      right: (i + 1) / n,
      height: countHeight(count, most),
      count,
      from: edges[i] as number,
      to: edges[i + 1] as number,
    };
  });
}

export function highest(counts: ArrayLike<number>): number {
  let most = 1;
  for (let i = 0; i < counts.length; i++) most = Math.max(most, counts[i] as number);
  return most;
}

export function countHeight(count: number, most: number): number {
  return count > 0 ? Math.log1p(count) / Math.log1p(most) : 0;
}

/** 1, 10, 100, … up to the highest count, thinned to a few. */
export function countTicks(most: number): number[] {
  const powers = Math.floor(Math.log10(most) + 1e-9);
  const step = Math.max(1, Math.ceil((powers + 1) / 4));
  const ticks = [];
  for (let power = 0; power <= powers; power += step) ticks.push(10 ** power);
  return ticks;
}

/**
 * Where a value stands along bins that are drawn equally wide, whatever they span; outside of them
 * at the end, and in the middle of a bin without an end. NaN has no place.
 */
export function placeOf(value: number, edges: ArrayLike<number>): number | null {
  const n = edges.length - 1;
  if (n < 1 || Number.isNaN(value)) return null;
  if (value <= (edges[0] as number)) return 0;
  if (value >= (edges[n] as number)) return 1;
  let [low, high] = [0, n];
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if ((edges[middle] as number) <= value) low = middle;
    else high = middle;
  }
  const [from, to] = [edges[low] as number, edges[low + 1] as number];
  const within = (value - from) / (to - from);
  return (low + (Number.isFinite(to - from) ? within : 0.5)) / n;
}

/** Edges to write a number at: about so many, evenly spaced, the ends among them. */
export function edgeTicks(edges: ArrayLike<number>, about: number): number[] {
  const n = edges.length - 1;
  const step = Math.max(1, Math.ceil(n / Math.max(1, about - 1)));
  const ticks = [];
  for (let i = 0; i <= n; i += step) ticks.push(i);
  return ticks;
}
