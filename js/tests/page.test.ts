import { describe, expect, it, vi } from "vitest";
import { Answers } from "../page/answers.ts";
import { type AnswerData, type Fields, type ModelData, unpackPage } from "../page/data.ts";
import { linkModels } from "../page/links.ts";
import { PageModel } from "../page/model.ts";

function answer(kind: string, given: Partial<AnswerData>, name: string): AnswerData {
  return { kind, same: {}, near: {}, among: "", listed: [], answer: { name }, ...given };
}

function model(given: Partial<ModelData> = {}): PageModel {
  return new PageModel({
    module: new DataView(new ArrayBuffer(0)),
    state: { layer: "conv1", channel: 2, image: 0, zoom: 1, maps: "of conv1", problem: "" },
    axes: [
      {
        choices: ["layer"],
        names: "layers",
        resets: { layer: ["channel"] },
        elsewhere: null,
        values: [
          [["conv1"], { maps: "of conv1", channel: 2 }],
          [["conv2"], { maps: "of conv2", channel: -1 }],
        ],
      },
    ],
    answers: [],
    fixed: ["size"],
    silent: ["exact"],
    blank: {},
    ...given,
  });
}

function choose(made: PageModel, values: Fields): void {
  for (const [name, value] of Object.entries(values)) made.set(name, value as string);
  made.save_changes();
}

describe("recorded answers", () => {
  const answers = new Answers([
    answer("card", { same: { row: 1 } }, "one"),
    answer("card", { same: { row: 2 } }, "two"),
    answer("rows", { same: { layer: "a" }, near: { tile: 64 }, among: "c", listed: [3, 4] }, "64"),
    answer("rows", { same: { layer: "a" }, near: { tile: 96 }, among: "c", listed: [3, 5] }, "96"),
  ]);
  it.each([
    [{ kind: "card", row: 2, rid: "x" }, "two"],
    [{ kind: "card", row: 3 }, undefined],
    [{ kind: "rows", layer: "a", tile: 128, c: [3, 9] }, "96"],
    [{ kind: "rows", layer: "a", tile: 32, c: [3] }, "64"],
    [{ kind: "rows", layer: "a", tile: 32, c: [5, 3] }, "96"],
    [{ kind: "rows", layer: "b", tile: 64, c: [3] }, undefined],
    [{ kind: "rows", layer: "a", tile: 64, c: [] }, undefined],
    [{ kind: "other" }, undefined],
  ])("%j", (question, name) => {
    expect(answers.find(question as Fields)?.name).toBe(name);
  });
});

describe("choices on a page without Python", () => {
  it("that were recorded show what Python showed", () => {
    const made = model();
    const heard: unknown[] = [];
    made.on("change:maps", () => heard.push(made.get("maps")));
    choose(made, { layer: "conv2" });
    expect([made.get("maps"), made.get("channel"), made.get("problem")]).toEqual([
      "of conv2",
      -1,
      "",
    ]);
    expect(heard).toEqual(["of conv2"]);
  });

  it("that were not go back, and the view is told", () => {
    const made = model();
    choose(made, { layer: "fc" });
    expect(made.get("layer")).toBe("conv1");
    expect(made.get("problem")).toMatch(/no Python.*layer fc is not among the layers/);
    choose(made, { layer: "conv2" });
    expect(made.get("problem")).toBe("");
  });

  it("that need Python whatever they are stay as they were saved", () => {
    const made = model({ state: { size: 8, problem: "" } });
    choose(made, { size: 16 });
    expect(made.get("size")).toBe(8);
    expect(made.get("problem")).toMatch(/size stays as it was saved/);
  });

  it("that only the view knows are left alone, and take nothing back", () => {
    const made = model();
    choose(made, { channel: 7, zoom: 3 });
    expect([made.get("channel"), made.get("zoom"), made.get("problem")]).toEqual([7, 3, ""]);
    choose(made, { layer: "conv1" });
    expect(made.get("channel")).toBe(7);
  });

  it("elsewhere than recorded show what was said for that", () => {
    const trace = {
      choices: ["channel"],
      names: "units",
      resets: {},
      elsewhere: { trace: null },
      values: [[[2], { trace: "sum" }]] as [[number], Fields][],
    };
    const made = model({ state: { channel: 2, trace: "sum", problem: "" }, axes: [trace] });
    choose(made, { channel: 5 });
    expect([made.get("channel"), made.get("trace")]).toEqual([5, null]);
    choose(made, { channel: 2 });
    expect(made.get("trace")).toBe("sum");
  });
});

describe("questions on a page without Python", () => {
  const given = {
    answers: [answer("card", { same: { row: 1 } }, "one")],
    blank: { tiles: { rows: 0 } },
  };
  function asked(content: Fields): Promise<Fields> {
    const made = model(given);
    return new Promise((settle) => {
      made.on("msg:custom", settle as never);
      made.send(content);
    });
  }

  it("are answered under their own name, later", async () => {
    expect(await asked({ kind: "card", row: 1, rid: "r" })).toEqual({
      kind: "card",
      name: "one",
      rid: "r",
    });
  });
  it("that were not recorded get an error that says why", async () => {
    const said = await asked({ kind: "card", row: 9, rid: "r" });
    expect(said).toMatchObject({ kind: "error", rid: "r" });
    expect(said.message).toMatch(/no Python/);
  });
  it("that have a blank answer get that", async () => {
    expect(await asked({ kind: "tiles", rid: "r" })).toMatchObject({ kind: "tiles", rows: 0 });
  });
  it("that a view does without throw, as where Lab has no kernel", () => {
    expect(() => model(given).send({ kind: "exact", rid: "r" })).toThrow("no Python");
    expect(() => model(given).send({ kind: "nudge" })).not.toThrow();
  });
});

describe("linked models", () => {
  function pair() {
    const [a, b] = [model(), model()];
    const models = new Map([
      ["a", a],
      ["b", b],
    ]);
    linkModels(models, [{ models: ["a", "b"], shared: ["image", "layer", "channel"] }]);
    return [a, b] as const;
  }
  it("hand on a choice, and a layer with its channel", () => {
    const [a, b] = pair();
    choose(a, { channel: 5 });
    expect(b.get("channel")).toBe(5);
    choose(b, { layer: "conv2", channel: 1 });
    expect([a.get("layer"), a.get("maps")]).toEqual(["conv2", "of conv2"]);
  });
  it("hand on no picture of one's own, and no channel of another layer", () => {
    const [a, b] = pair();
    choose(a, { image: -1 });
    expect(b.get("image")).toBe(0);
    b.set("layer", "conv2");
    choose(a, { channel: 9 });
    expect(b.get("channel")).toBe(2);
  });
  it("stay with what they show where the other's cannot be shown", () => {
    const [a, b] = pair();
    a.set("layer", "fc");
    b.follow("layer", "fc");
    expect([b.get("layer"), b.get("problem")]).toEqual(["conv1", ""]);
  });
});

it("a page's buffers are found at their places", () => {
  const json = new TextEncoder().encode('{"state":{"a":[{"$buffer":1}]},"buffers":[[0,1],[8,3]]} ');
  const whole = new Uint8Array(8 + json.length + 16);
  new DataView(whole.buffer).setBigUint64(0, BigInt(json.length), true);
  whole.set(json, 8);
  whole.set([5, 6, 7], 8 + json.length + 8);
  const page = unpackPage(whole.buffer) as unknown as { state: { a: DataView[] } };
  const view = page.state.a[0] as DataView;
  expect([...new Uint8Array(view.buffer, view.byteOffset, view.byteLength)]).toEqual([5, 6, 7]);
});

it("listeners go when they are taken off", () => {
  const made = model();
  const heard = vi.fn();
  made.on("change", heard);
  made.off("change", heard);
  choose(made, { zoom: 2 });
  expect(heard).not.toHaveBeenCalled();
});
