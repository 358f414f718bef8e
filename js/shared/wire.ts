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

/** What a kernel answers: the JSON part and its arrays by name. */
export interface Answer {
  fields: Record<string, unknown>;
  arrays: Map<string, WireArray>;
}

/** The part of an AFM model that asking needs. */
export interface Channel {
  send(content: unknown): void;
  on(event: "msg:custom", listener: (content: unknown, buffers: DataView[]) => void): void;
  off(event: "msg:custom", listener: (content: unknown, buffers: DataView[]) => void): void;
}

interface Question {
  kind: string;
  rid: string;
  fields: Record<string, unknown>;
  settle: (answer: Answer) => void;
  fail: (message: string) => void;
}

let views = 0;

/**
 * Questions to the kernel, newest wins: of each kind at most one is under way and one waits, and a
 * newer one takes the place of the waiting one. Each ends in exactly one of four ways: answered,
 * failed (`fail` gets the kernel's message), superseded or aborted (nothing is called). With no
 * kernel behind the page nothing is called either, and the next question is tried again. Since only
 * one is under way, answers come in the order of their questions: during a drag each may be shown.
 */
export class Requests {
  /** kind -> the question that the kernel is working on */
  private readonly underWay = new Map<string, Question>();
  /** kind -> the newest question not sent yet */
  private readonly waiting = new Map<string, Question>();
  /** so that an answer meant for another view of the same model is left alone */
  private readonly prefix: string;
  private count = 0;

  constructor(
    private readonly channel: Channel,
    signal: AbortSignal,
  ) {
    views += 1;
    this.prefix = `${views}-${Math.random().toString(36).slice(2, 8)}`;
    channel.on("msg:custom", this.receive);
    signal.addEventListener("abort", () => {
      channel.off("msg:custom", this.receive);
      this.underWay.clear();
      this.waiting.clear();
    });
  }

  ask(
    kind: string,
    fields: Record<string, unknown>,
    settle: (answer: Answer) => void,
    fail: (message: string) => void,
  ): void {
    this.count += 1;
    const question = { kind, rid: `${this.prefix}-${this.count}`, fields, settle, fail };
    if (this.underWay.has(kind)) this.waiting.set(kind, question);
    else this.dispatch(question);
  }

  private dispatch(question: Question): void {
    this.underWay.set(question.kind, question);
    try {
      this.channel.send({ ...question.fields, kind: question.kind, rid: question.rid });
    } catch {
      // Lab throws where no kernel is behind the page: the question stays without an answer.
      this.underWay.delete(question.kind);
    }
  }

  private readonly receive = (content: unknown, buffers: DataView[]): void => {
    const fields = content as Record<string, unknown>;
    const question = [...this.underWay.values()].find((q) => q.rid === fields.rid);
    if (!question) return;
    this.underWay.delete(question.kind);
    const next = this.waiting.get(question.kind);
    if (next) {
      this.waiting.delete(question.kind);
      this.dispatch(next);
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
