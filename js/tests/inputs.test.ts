import { describe, expect, it, vi } from "vitest";
import { cameraProblem, frameSize, middle, Rate, withoutAlpha } from "../picture-inputs/camera.ts";
import { areaAverage, Drawing, padSize, type Stroke } from "../picture-inputs/drawing.ts";
import { fileIn, PART_BYTES, Upload } from "../picture-inputs/picture-files.ts";
import { Requests, type TypedArray } from "../shared/wire.ts";

const stroke = (colour: string): Stroke => ({ colour, width: 2, points: [0, 0] });
const colours = (drawing: Drawing) => drawing.strokes.map(({ colour }) => colour);

describe("the draw pad", () => {
  it.each([
    [224, 224, { width: 224, height: 224, factor: 2 }],
    [32, 32, { width: 64, height: 64, factor: 8 }],
    [28, 28, { width: 56, height: 56, factor: 8 }],
    [96, 96, { width: 96, height: 96, factor: 4 }],
    [8, 4, { width: 64, height: 32, factor: 8 }],
    [320, 160, { width: 320, height: 160, factor: 2 }],
    [2048, 1024, { width: 512, height: 256, factor: 1 }],
  ])("for an input of %i×%i sends %o", (width, height, expected) => {
    expect(padSize(width, height)).toEqual(expected);
  });

  it.each([1, 3])("sends the mean of each block, %i channels", (channels) => {
    const [width, height, factor] = [6, 4, 2];
    const rgba = Uint8ClampedArray.from({ length: width * height * 4 }, (_, i) => (i * 37) % 256);
    const expected: number[] = [];
    for (let row = 0; row < height / factor; row++) {
      for (let column = 0; column < width / factor; column++) {
        for (let c = 0; c < channels; c++) {
          let sum = 0;
          for (const y of [0, 1]) {
            for (const x of [0, 1]) {
              sum += rgba[((row * 2 + y) * width + column * 2 + x) * 4 + c] as number;
            }
          }
          expected.push(Math.round(sum / 4));
        }
      }
    }
    expect([...areaAverage(rgba, width, height, factor, channels)]).toEqual(expected);
  });

  it("takes back strokes one by one, and what was cleared", () => {
    const drawing = new Drawing();
    for (const colour of ["red", "blue"]) drawing.begin(stroke(colour));
    drawing.clear();
    expect([drawing.empty, drawing.undoable]).toEqual([true, true]);
    drawing.clear();
    drawing.begin(stroke("green"));
    expect(colours(drawing)).toEqual(["green"]);
    drawing.undo();
    drawing.undo();
    expect(colours(drawing)).toEqual(["red", "blue"]);
    drawing.undo();
    drawing.undo();
    expect([drawing.empty, drawing.undoable, colours(drawing)]).toEqual([true, false, []]);
  });
});

describe("the camera", () => {
  it.each([
    [224, 224, 256, 256],
    [299, 299, 342, 342],
    [32, 32, 128, 128],
    [320, 160, 366, 183],
    [1024, 1024, 512, 512],
  ])("for an input of %i×%i sends %i×%i", (width, height, sentWidth, sentHeight) => {
    expect(frameSize(width, height)).toEqual({ width: sentWidth, height: sentHeight });
  });

  it("takes the middle of its picture, as large as it goes", () => {
    expect(middle(640, 480, 256, 256)).toEqual([80, 0, 480, 480]);
    expect(middle(480, 640, 256, 256)).toEqual([0, 80, 480, 480]);
    expect(middle(640, 480, 200, 100)).toEqual([0, 80, 640, 320]);
  });

  it("sends red, green and blue", () => {
    expect([...withoutAlpha([1, 2, 3, 255, 4, 5, 6, 255])]).toEqual([1, 2, 3, 4, 5, 6]);
  });

  it("shows the rate of the last two seconds", () => {
    const rate = new Rate();
    expect(rate.value).toBe(0);
    for (let ms = 0; ms <= 5000; ms += 100) rate.add(ms);
    expect(rate.value).toBeCloseTo(10);
    for (let ms = 5040; ms <= 8000; ms += 40) rate.add(ms);
    expect(rate.value).toBeCloseTo(25);
    rate.reset();
    expect(rate.value).toBe(0);
  });

  it("says for each way it may fail what to do", () => {
    const names = ["NotAllowedError", "NotFoundError", "NotReadableError", "OverconstrainedError"];
    const said = [...names, "ended", "TypeError"].map((name) => cameraProblem(name, true));
    expect(new Set(said).size).toBe(said.length);
    expect(cameraProblem("TypeError", false)).toMatch(/https or on localhost/);
  });
});

describe("what is dropped or pasted", () => {
  const transfer = (files: { name: string; type: string }[], types: string[] = []) =>
    ({ files, types }) as unknown as DataTransfer;

  it("is a picture before any other file", () => {
    const files = [
      { name: "notes.txt", type: "text/plain" },
      { name: "cat.png", type: "image/png" },
    ];
    expect(fileIn(transfer(files))).toBe(files[1]);
  });

  it("is sent whatever it is, so that Python can say what is wrong with it", () => {
    const files = [{ name: "notes.txt", type: "text/plain" }];
    expect(fileIn(transfer(files))).toBe(files[0]);
  });

  it("is named where it is no file", () => {
    expect(fileIn(transfer([], ["text/uri-list"]))).toMatch(/a link, not a picture/);
    expect(fileIn(transfer([], ["text/plain"]))).toMatch(/text or nothing, not a picture/);
    expect(fileIn(null)).toMatch(/not a picture/);
  });
});

describe("a file on its way", () => {
  type Message = { rid: string; name: string; upload: string; part: number; parts: number };
  const [two, one] = [PART_BYTES + 3, 5].map(
    (size) => new File([new Uint8Array(size).fill(size)], `${size}.png`),
  ) as [File, File];

  function start() {
    const sent: { message: Message; bytes: TypedArray }[] = [];
    let hear: (content: unknown, buffers: DataView[]) => void = () => undefined;
    const channel = {
      send: (message: unknown, _: unknown, buffers?: ArrayBufferView[]) =>
        sent.push({ message: message as Message, bytes: buffers?.[0] as TypedArray }),
      on: (_: string, listener: typeof hear) => {
        hear = listener;
      },
      off: () => undefined,
    };
    const log: string[] = [];
    const upload = new Upload(new Requests(channel, new AbortController().signal), {
      began: () => log.push("began"),
      status: (text) => text && log.push(text),
      problem: (text) => log.push(text || "done"),
    });
    const answer = (fields: object = { kind: "picture_file" }) =>
      hear({ arrays: [], rid: sent.at(-1)?.message.rid, ...fields }, []);
    const until = (count: number) => vi.waitUntil(() => sent.length === count);
    return { sent, log, upload, answer, until };
  }

  it("goes in parts, each after the answer to the last", async () => {
    const { sent, log, upload, answer, until } = start();
    upload.send(two);
    await until(1);
    answer();
    await until(2);
    answer();
    expect(sent.map(({ message, bytes }) => [message.part, message.parts, bytes.length])).toEqual([
      [0, 2, PART_BYTES],
      [1, 2, 3],
    ]);
    expect(new Set(sent.map(({ message }) => message.upload)).size).toBe(1);
    expect(log.at(-1)).toBe("done");
  });

  it("gives way to a newer one", async () => {
    const { sent, log, upload, answer, until } = start();
    upload.send(two);
    await until(1);
    upload.send(one);
    await vi.waitUntil(() => log.some((line) => line.includes("5.png")));
    answer();
    await until(2);
    answer();
    await new Promise((later) => setTimeout(later, 20));
    expect(sent.map(({ message }) => message.name)).toEqual([two.name, one.name]);
    expect(log.filter((line) => line === "done")).toHaveLength(1);
  });

  it("ends with what Python says of it", async () => {
    const { sent, log, upload, answer, until } = start();
    upload.send(two);
    await until(1);
    answer({ kind: "error", message: "the file is no picture" });
    await new Promise((later) => setTimeout(later, 20));
    expect(log.at(-1)).toBe("the file is no picture");
    expect(sent).toHaveLength(1);
  });

  it("is not begun if it is too large, or cannot be read", async () => {
    const { sent, log, upload } = start();
    upload.send({ name: "huge.tif", size: 65e6 } as File);
    expect(log).toEqual([
      "“huge.tif” has 65 MB, and at most 64 MB can be sent: save a smaller copy.",
    ]);
    const folder = {
      name: "folder",
      size: 4096,
      slice: () => ({ arrayBuffer: () => Promise.reject(new Error()) }),
    };
    upload.send(folder as unknown as File);
    await vi.waitUntil(() => log.at(-1)?.includes("folder"));
    expect(log.at(-1)).toMatch(/could not be read: it is a folder/);
    expect(sent).toEqual([]);
  });
});
