/** What the bars are of, and the line that says how the map was made; no page. */

import { maskAtPosition, placeText, type Spot } from "./cells.ts";
import { type MapData, nearestPosition } from "./map-data.ts";
import { centreOf, type MaskState } from "./masks.ts";
import { type Choices, confidenceAt } from "./reading.ts";
import type { ConfidenceState, Guess, PredictionState } from "./state.ts";

export interface Now {
  state: ConfidenceState;
  /** what it is of, in words */
  of: string;
  /** whether there is a change against the unmasked picture to tell */
  masked: boolean;
}

export interface NowGiven {
  /** position of a map that is looked at, with the target there */
  spot: (Spot & { target: number }) | null;
  prediction: PredictionState | null;
  confidence: ConfidenceState | null;
  masks: MaskState[];
  /** Python has kept still about these masks for long */
  unanswered: boolean;
  /** map that may be read instead */
  map: MapData | null;
  target: number;
}

/** A position of the map, else the masks, else the picture without any; null before anything came. */
export function nowShown(given: NowGiven): Now | null {
  const { spot, prediction, confidence, masks, map } = given;
  if (spot) {
    const state = confidenceAt(spot.map, spot.position, spot.target);
    return { state, of: `From the map, mask on ${placeText(spot)}`, masked: true };
  }
  const mask = masks.at(-1);
  if (mask && given.unanswered && map) {
    const near = { map, position: nearestPosition(map, ...centreOf(mask)) };
    const { shape, height, width } = maskAtPosition(near);
    const of =
      "Without Python: read from the map at the nearest position, " +
      `a ${shape} of ${width}×${height} px on ${placeText(near)}`;
    return { state: confidenceAt(map, near.position, given.target), of, masked: true };
  }
  if (mask && confidence) {
    const share = confidence.covered;
    const covered = share > 0 ? `, ${(100 * share).toFixed(1)} % of the picture covered` : "";
    const count = masks.length === 1 ? "a mask" : `${masks.length} masks`;
    const old = given.unanswered ? "Not current. " : "";
    const of = `${old}With ${count}${given.unanswered ? "" : covered}`;
    return { state: confidence, of, masked: true };
  }
  return (
    prediction && { state: unmasked(prediction), of: "The picture without masks", masked: false }
  );
}

function unmasked({ top, target }: PredictionState): ConfidenceState {
  const same = (guess: Guess) => ({
    ...guess,
    before: guess.probability,
    logit_before: guess.logit,
  });
  return { top: top.map(same), target: same(target), covered: 0 };
}

export interface NoteGiven extends Choices {
  /** map of the picture on show */
  map: MapData | null;
  /** whether there is a map at all */
  other: boolean;
  /** what masks are filled with, in pixels */
  fill: string;
  /** what the network gets instead of the picture as it is; "" for nothing */
  input: string;
  /** why the map does not belong to what is set; "" where it does */
  stale: string;
  /** why the map does not show what is chosen; "" where it does */
  lacking: string;
}

export function noteLine(given: NoteGiven): string {
  const { map, stale, settled } = given;
  const fill = given.fill ? `Masks are filled with: ${given.fill}.` : "";
  if (!map) {
    const other = given.other ? "The map is of another picture: press Full map." : "";
    return [other, fill, given.input].filter(Boolean).join(" ");
  }
  const { settings, complete, nonfinite } = map.fields;
  const notes = [
    stale && settled ? `Not current: ${stale}. Press Full map to make it anew.` : "",
    given.lacking,
    `The map: ${settings}.`,
    !complete && !settled ? "Open positions show the nearest computed." : "",
    !complete && settled ? "Stopped: positions still open are hatched." : "",
    nonfinite > 0 ? `${nonfinite} positions gave NaN or infinity: hatched.` : "",
    given.coverage === "grid" || given.show === "most probable"
      ? "Each cell stands at the middle of its mask."
      : "Each pixel is the mean of all masks over it.",
    given.input,
  ];
  return notes.filter(Boolean).join(" ");
}
