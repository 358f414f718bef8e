/** The two programs that draw the map: dots, and pictures as instanced quads. */

import { GROWING } from "./detail.ts";
import { CHOSEN, CHOSEN_SCALE, MARK, RIM_SHARE, RISE, SELECTED } from "./painter.ts";

/** Attributes by location; those of pictures in the order in which they lie in an instance. */
export const DOT = { from: 0, to: 1, ink: 2 } as const;
export const PICTURE = {
  from: 0,
  to: 1,
  ink: 2,
  border: 3,
  slot: 4,
  levelAndMarks: 5,
  aspect: 6,
  depth: 7,
  born: 8,
} as const;

/**
 * Device pixels by which the viewport is larger than what is drawn, on each side: some GPUs drop a point
 * whose middle is outside of it.
 */
export const OUTSIDE = 300;

/** Where a row is: `screen` in device pixels, y down. */
const PLACING = `#version 300 es
precision highp float;
layout(location = 0) in vec2 from;
layout(location = 1) in vec2 to;
uniform float moved;
uniform vec2 middle;
uniform vec2 room;
uniform float scale;
vec2 screen() {
  return (mix(from, to, moved) - middle) * scale + 0.5 * room;
}
vec2 clip(vec2 at) {
  return vec2(at.x, room.y - at.y) / (room + 2.0 * ${OUTSIDE}.0) * 2.0 - room / (room + 2.0 * ${OUTSIDE}.0);
}
`;

export const DOT_VERTEX = `${PLACING}
layout(location = 2) in vec4 ink;
uniform float size;
flat out vec4 colour;
void main() {
  colour = ink;
  gl_Position = vec4(clip(screen()), 0.0, 1.0);
  gl_PointSize = size;
}`;

/** What each pixel of a dot costs is most of what dots cost, so there are three ways to draw them. */
export type DotShape = "round" | "square" | "ringed";

/** ring: width in pixels of a frame in the accent, with one in the paper's colour within. */
export function dotFragment(shape: DotShape): string {
  const away = "size * length(gl_PointCoord - 0.5)";
  const main = {
    square: "result = vec4(colour.rgb * colour.a, colour.a);",
    round: `float alpha = colour.a * clamp(0.5 * size + 0.5 - ${away}, 0.0, 1.0);
  result = vec4(colour.rgb * alpha, alpha);`,
    ringed: `float in_ = 0.5 * size - ${away};
  vec4 tint = in_ < ring ? vec4(accent, 1.0) : in_ < 2.0 * ring ? vec4(paper, 1.0) : colour;
  result = vec4(tint.rgb, 1.0) * tint.a * clamp(in_ + 0.5, 0.0, 1.0);`,
  };
  return `#version 300 es
precision highp float;
flat in vec4 colour;
uniform float size;
uniform float ring;
uniform vec3 paper;
uniform vec3 accent;
out vec4 result;
void main() {
  ${main[shape]}
}`;
}

/**
 * A picture is a point where it is small, which is many times quicker to draw in software, else an
 * instanced quad: how large points may be differs from GPU to GPU. Both read the same buffer.
 * Small depths are in front: what is chosen, then what is marked, then by priority.
 */
const pictureVertex = (point: boolean) => `${PLACING}
layout(location = 2) in vec4 ink;
layout(location = 3) in vec4 border;
layout(location = 4) in float slot;
layout(location = 5) in vec2 levelAndMarks;
layout(location = 6) in float aspect;
layout(location = 7) in float depth;
layout(location = 8) in float born;
uniform float side;
uniform float dot_;
uniform float level;
uniform float density;
uniform float rimWidth;
uniform float now;
uniform bool resting;
uniform float tile;
uniform float columns;
${point ? "flat out float span;" : "out vec2 away;"}
flat out vec2 half_;
flat out vec2 corner;
flat out vec2 texels;
flat out vec4 tint;
flat out vec4 frame;
flat out float marked;
flat out float up;
flat out float mark;
float rimOf(float width, float size) {
  return min(width * density, max(1.0, ${RIM_SHARE} * size));
}
void main() {
  int marks = int(levelAndMarks.y);
  bool chosen = (marks & ${CHOSEN}) != 0;
  float growth = clamp((level - levelAndMarks.x) / ${GROWING.toFixed(3)} + 1.0, 0.0, 1.0);
  if (growth <= 0.0 || ink.a == 0.0) {
    gl_Position = vec4(2.0, 2.0, 2.0, 1.0);
    return;
  }
  float size = mix(dot_, side, growth) * (chosen ? ${CHOSEN_SCALE.toFixed(2)} : 1.0);
  vec2 sides = max(vec2(1.0), size * min(vec2(1.0), vec2(aspect, 1.0 / aspect)));
  vec2 at = screen();
  if (resting) {
    sides = floor(sides + 0.5);
    at = floor(at - 0.5 * sides + 0.5) + 0.5 * sides;
  }
  half_ = 0.5 * sides;
  float rim = border.a > 0.0 ? rimOf(rimWidth, size) : 0.0;
  frame = vec4(border.rgb, rim);
  marked = chosen ? 2.0 : (marks & ${SELECTED}) != 0 ? 1.0 : 0.0;
  mark = marked > 0.0 ? rimOf(${MARK}.0, size) : 0.0;
  rim += mark;
  ${
    point
      ? "span = 2.0 * (max(half_.x, half_.y) + rim); gl_PointSize = span; vec2 away = vec2(0.0);"
      : `vec2 sign_ = vec2(gl_VertexID & 1, gl_VertexID >> 1) * 2.0 - 1.0;
  away = sign_ * (half_ + rim);`
  }
  corner = vec2(mod(slot, columns), floor((slot + 0.5) / columns)) * tile;
  texels = vec2(tile) / sides;
  tint = ink;
  up = slot < 65535.0 ? clamp((now - born) / ${RISE}.0, 0.0, 1.0) : 0.0;
  float z = chosen ? 0.0 : marks != 0 ? 0.02 + 0.18 * depth : 0.2 + 0.8 * depth;
  gl_Position = vec4(clip(at + away), z * 1.98 - 0.99, 1.0);
}`;

/** How a pixel gets its colour: from the nearest texel, from those around it, or from four such. */
export type Sampling = "nearest" | "linear" | "four";

/** Never beyond the middle of the outermost texels: what lies beside belongs to another image. */
const SAMPLES: Record<Sampling, string> = {
  nearest: "texelFetch(page, ivec2(corner + clamp(at, 0.0, tile - 0.01)), 0).rgb",
  linear: "texel(at)",
  four: `0.25 * (texel(at - off) + texel(at + off)
    + texel(at + vec2(off.x, -off.y)) + texel(at + vec2(-off.x, off.y)))`,
};

const pictureFragment = (point: boolean, sampling: Sampling) => `#version 300 es
precision highp float;
${point ? "flat in float span;" : "in vec2 away;"}
flat in vec2 half_;
flat in vec2 corner;
flat in vec2 texels;
flat in vec4 tint;
flat in vec4 frame;
flat in float marked;
flat in float up;
flat in float mark;
uniform sampler2D page;
uniform float tile;
uniform vec2 pageSides;
uniform vec3 paper;
uniform vec3 dark;
uniform vec3 accent;
out vec4 result;
vec3 texel(vec2 at) {
  return texture(page, (corner + clamp(at, 0.5, tile - 0.5)) / pageSides).rgb;
}
void main() {
  ${point ? "vec2 away = (gl_PointCoord - 0.5) * span;" : ""}
  vec2 out_ = abs(away) - half_;
  float beyond = max(out_.x, out_.y);
  ${point ? "if (beyond > frame.a + mark) discard;" : ""}
  vec2 at = (away + half_) * texels;
  vec2 off = 0.25 * texels;
  vec3 picture = mix(tint.rgb, ${SAMPLES[sampling]}, up);
  float outer = beyond - frame.a;
  vec3 rim = outer <= 0.0 ? frame.rgb
    : outer <= 0.34 * mark ? paper
    : marked > 1.5 ? dark : accent;
  result = vec4(mix(paper, beyond > 0.0 ? rim : picture, tint.a), 1.0);
}`;

/** Vertex and fragment shader. */
export function pictureProgram(point: boolean, sampling: Sampling): [string, string] {
  return [pictureVertex(point), pictureFragment(point, sampling)];
}
