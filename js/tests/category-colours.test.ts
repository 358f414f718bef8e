import { expect, test } from "vitest";
import fixture from "../../tests/fixtures/category_colours.json";
import { categoryColour } from "../image-map/palette.ts";

test("categories have the colours that Python prints", () => {
  expect(fixture.map((_, number) => categoryColour(number))).toEqual(fixture);
});
