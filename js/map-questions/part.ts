/** What people ask of Python about an image map, as a part that the view fetches; see `js/shared/parts.ts`. */

import type { About } from "../image-map/about.ts";
import type { Thumbs } from "../image-map/thumbs.ts";
import { type FileActions, PictureFiles } from "../picture-inputs/picture-files.ts";
import type { View } from "../shared/view.ts";
import type { Requests } from "../shared/wire.ts";
import { type QuestionActions, Questions } from "./questions.ts";

export interface QuestionsPart {
  openQuestions(
    requests: Requests,
    about: About,
    thumbs: Thumbs,
    actions: QuestionActions,
  ): Questions;
  /** Pictures of one's own, to be placed on the map. */
  openFiles(view: View, requests: Requests, actions: FileActions): PictureFiles;
}

export const openQuestions: QuestionsPart["openQuestions"] = (...parts) => new Questions(...parts);
export const openFiles: QuestionsPart["openFiles"] = (...parts) => new PictureFiles(...parts);
