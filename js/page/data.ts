/** What a saved page holds: `nbviz/widgets/saved_page.py` writes it. */

export type Json = null | boolean | number | string | Json[] | { [name: string]: Json };
/** A value of a trait: JSON with `DataView`s in it. */
export type Value = null | boolean | number | string | DataView | Value[] | Fields;
export interface Fields {
  [name: string]: Value;
}

/** Choices that Python answered together while the page was recorded. */
export interface AxisData {
  choices: string[];
  /** what is recorded, in the plural; empty for what nobody chooses by name */
  names: string;
  /** choice -> traits that go back to what they were then, once it is made */
  resets: Record<string, string[]>;
  /** traits where nothing was recorded; null if such a choice cannot be made */
  elsewhere: Fields | null;
  /** values of the choices, and what traits are then */
  values: [Value[], Fields][];
}

/** An answer to a question that a view may ask. */
export interface AnswerData {
  kind: string;
  same: Fields;
  near: Record<string, number>;
  among: string;
  listed: Value[];
  answer: Fields;
}

export interface ModelData {
  module: DataView;
  state: Fields;
  axes: AxisData[];
  answers: AnswerData[];
  /** choices that stay as they are */
  fixed: string[];
  /** kinds of questions that a view does without */
  silent: string[];
  /** kind -> answer where nothing was recorded */
  blank: Record<string, Fields>;
}

export interface PageData {
  title: string;
  version: string;
  items: ({ text: string } | { model: string })[];
  models: Record<string, ModelData>;
  links: { models: [string, string]; shared: string[] }[];
  left_out: string[];
}

/** The page's data out of its base64 text of a gzip file. */
export async function readPage(text: string): Promise<PageData> {
  const packed = bytesOf(text.trim());
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  return unpackPage(await new Response(stream).arrayBuffer());
}

function bytesOf(text: string): Uint8Array<ArrayBuffer> {
  const characters = atob(text);
  const bytes = new Uint8Array(characters.length);
  for (let i = 0; i < bytes.length; i++) bytes[i] = characters.charCodeAt(i);
  return bytes;
}

/** Eight bytes of length, JSON of that length, then buffers at the places that it tells. */
export function unpackPage(whole: ArrayBuffer): PageData {
  const length = Number(new DataView(whole).getBigUint64(0, true));
  const json = JSON.parse(new TextDecoder().decode(new Uint8Array(whole, 8, length)));
  const views = (json.buffers as [number, number][]).map(
    ([at, size]) => new DataView(whole, 8 + length + at, size),
  );
  return filled(json, views) as unknown as PageData;
}

function filled(value: Json, views: DataView[]): Value {
  if (Array.isArray(value)) return value.map((each) => filled(each, views));
  if (value === null || typeof value !== "object") return value;
  const number = value.$buffer;
  if (typeof number === "number") return views[number] as DataView;
  return Object.fromEntries(
    Object.entries(value).map(([name, each]) => [name, filled(each, views)]),
  );
}
