/**
 * How arrays and questions travel between browser and kernel: the one place that unpacks arrays
 * and that asks. `nbviz/widgets/wire.py` and `nbviz/widgets/base.py` are the other half.
 */

const ARRAYS = {
  int8: Int8Array,
  uint8: Uint8Array,
  int16: Int16Array,
  uint16: Uint16Array,
  int32: Int32Array,
  uint32: Uint32Array,
  float32: Float32Array,
  float64: Float64Array,
} as const;

export type DType = keyof typeof ARRAYS;
export type TypedArray = InstanceType<(typeof ARRAYS)[DType]>;

export interface ArrayEntry {
  name: string;
  dtype: DType;
  shape: number[];
}

export interface WireArray {
  data: TypedArray;
  shape: number[];
}

/**
 * Typed arrays by name, from their descriptions and buffers in the same order.
 *
 * A host may hand over a slice of a larger buffer, at an offset that a typed array refuses, so
 * the bytes are copied only where they are not aligned.
 */
export function unpack(entries: ArrayEntry[], buffers: ArrayBufferView[]): Map<string, WireArray> {
  if (entries.length !== buffers.length) {
    throw new Error(`${entries.length} arrays described, ${buffers.length} buffers came`);
  }
  const arrays = new Map<string, WireArray>();
  entries.forEach((entry, i) => {
    const view = buffers[i] as ArrayBufferView;
    const Type = ARRAYS[entry.dtype];
    if (!Type) throw new Error(`array ${entry.name} has unknown dtype ${entry.dtype}`);
    const length = entry.shape.reduce((product, n) => product * n, 1);
    if (length * Type.BYTES_PER_ELEMENT !== view.byteLength) {
      throw new Error(
        `array ${entry.name}: shape ${entry.shape.join("×")} of ${entry.dtype} needs ` +
          `${length * Type.BYTES_PER_ELEMENT} bytes, ${view.byteLength} came`,
      );
    }
    const aligned = view.byteOffset % Type.BYTES_PER_ELEMENT === 0;
    const data = aligned
      ? new Type(view.buffer as ArrayBuffer, view.byteOffset, length)
      : new Type(
          (view.buffer as ArrayBuffer).slice(view.byteOffset, view.byteOffset + view.byteLength),
        );
    arrays.set(entry.name, { data, shape: entry.shape });
  });
  return arrays;
}

/** An array that travels to the kernel with a question. */
export interface OutgoingArray {
  name: string;
  data: TypedArray;
  shape: number[];
}

/**
 * Descriptions and buffers of arrays for the kernel, in the same order.
 *
 * Lab sends the whole buffer behind an array, whatever part of it the array is: an array that is
 * only a part is copied.
 */
export function pack(arrays: OutgoingArray[]): { entries: ArrayEntry[]; buffers: TypedArray[] } {
  return {
    entries: arrays.map(({ name, data, shape }) => ({ name, dtype: dtypeOf(data), shape })),
    buffers: arrays.map(({ data }) =>
      data.byteLength === data.buffer.byteLength ? data : data.slice(),
    ),
  };
}

function dtypeOf(data: TypedArray): DType {
  const found = Object.entries(ARRAYS).find(([, Type]) => data instanceof Type);
  if (!found) throw new Error(`no dtype for a ${data.constructor.name}`);
  return found[0] as DType;
}

/** What a kernel answers: the JSON part and its arrays by name. */
export interface Answer {
  fields: Record<string, unknown>;
  arrays: Map<string, WireArray>;
}

/** The part of an AFM model that asking needs. */
export interface Channel {
  send(content: unknown, callbacks?: unknown, buffers?: ArrayBufferView[]): void;
  on(event: "msg:custom", listener: (content: unknown, buffers: DataView[]) => void): void;
  off(event: "msg:custom", listener: (content: unknown, buffers: DataView[]) => void): void;
}

/** The part of an AFM model that `sayLink` needs. */
interface Link {
  set(name: string, value: number): void;
  save_changes(): void;
}

/**
 * Tell Python how much fills one TCP segment on the way here, so that no answer waits behind a
 * half-full one (`View._handle_msg`): the loopback device takes 64 KiB, other ways about 1500 bytes.
 */
export function sayLink(model: Link): void {
  const local = /^(localhost|127\.|\[?::1)/.test(globalThis.location?.hostname ?? "");
  model.set("_segment", local ? 65536 : 1500);
  model.save_changes();
}

interface Question {
  kind: string;
  rid: string;
  fields: Record<string, unknown>;
  arrays: OutgoingArray[];
  settle: (answer: Answer) => void;
  fail: (message: string) => void;
}

let views = 0;

/**
 * Milliseconds after which a question without an answer is followed by an empty message. The
 * kernels of ipykernel 7.0 to 7.3 may leave a message unread until the next one comes (ipykernel,
 * issue 1554); more than these few would pile up behind a long cell.
 */
const NUDGES = [2000, 4000, 8000];

/**
 * Questions to the kernel, newest wins: of each kind at most one is under way and one waits, and a
 * newer one takes the place of the waiting one. Each ends in exactly one of four ways: answered,
 * failed (`fail` gets the kernel's message), superseded or aborted (nothing is called). With no
 * kernel behind the page nothing is called either, and the next question is tried again. Since only
 * one is under way, answers come in the order of their questions: during a drag each may be shown.
 */
export class Requests {
  /** kind -> the question that the kernel is working on */
  readonly #underWay = new Map<string, Question>();
  /** kind -> the newest question not sent yet */
  readonly #waiting = new Map<string, Question>();
  /** so that an answer meant for another view of the same model is left alone */
  readonly #prefix: string;
  #count = 0;

  readonly #channel: Channel;

  constructor(channel: Channel, signal: AbortSignal) {
    this.#channel = channel;
    views += 1;
    this.#prefix = `${views}-${Math.random().toString(36).slice(2, 8)}`;
    channel.on("msg:custom", this.#receive);
    signal.addEventListener("abort", () => {
      channel.off("msg:custom", this.#receive);
      this.#underWay.clear();
      this.#waiting.clear();
    });
  }

  /** Ask; whether there is anybody to answer. */
  ask(
    kind: string,
    fields: Record<string, unknown>,
    settle: (answer: Answer) => void,
    fail: (message: string) => void,
    arrays: OutgoingArray[] = [],
  ): boolean {
    this.#count += 1;
    const question = { kind, rid: `${this.#prefix}-${this.#count}`, fields, arrays, settle, fail };
    if (!this.#underWay.has(kind)) return this.#dispatch(question);
    this.#waiting.set(kind, question);
    return true;
  }

  #nudge(question: Question, times = 0): void {
    const wait = NUDGES[times];
    if (wait === undefined) return;
    setTimeout(() => {
      if (this.#underWay.get(question.kind) !== question) return;
      try {
        this.#channel.send({ kind: "nudge" });
      } catch {
        // The kernel was restarted, or is gone: nobody will answer.
        this.#underWay.delete(question.kind);
        this.#waiting.delete(question.kind);
        return;
      }
      this.#nudge(question, times + 1);
    }, wait);
  }

  #dispatch(question: Question): boolean {
    const { kind, rid, fields, arrays } = question;
    const { entries, buffers } = pack(arrays);
    const message = { ...fields, kind, rid };
    this.#underWay.set(kind, question);
    try {
      if (entries.length === 0) this.#channel.send(message);
      else this.#channel.send({ ...message, arrays: entries }, undefined, buffers);
      this.#nudge(question);
    } catch {
      // Lab throws where no kernel is behind the page: the question stays without an answer.
      this.#underWay.delete(kind);
    }
    return this.#underWay.has(kind);
  }

  readonly #receive = (content: unknown, buffers: DataView[]): void => {
    const fields = content as Record<string, unknown>;
    const question = [...this.#underWay.values()].find((q) => q.rid === fields.rid);
    if (!question) return;
    this.#underWay.delete(question.kind);
    const next = this.#waiting.get(question.kind);
    if (next) {
      this.#waiting.delete(question.kind);
      this.#dispatch(next);
    }
    if (fields.kind === "error") {
      if (!next) question.fail(String(fields.message));
      return;
    }
    let answer: Answer;
    try {
      answer = { fields, arrays: unpack((fields.arrays ?? []) as ArrayEntry[], buffers) };
    } catch (error) {
      question.fail(String(error));
      return;
    }
    question.settle(answer);
  };
}
