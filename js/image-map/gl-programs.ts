/** The two programs that draw the map: dots, and pictures as instanced quads. */

import { GROWING } from "./detail.ts";
import { BORDER, CHOSEN, CHOSEN_SCALE, MARK, RIM_SHARE, RISE, SELECTED } from "./painter.ts";

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

/** ring: width in pixels of a frame in the accent; 0 for none. */
export const DOT_FRAGMENT = `#version 300 es
precision highp float;
flat in vec4 colour;
uniform float size;
uniform float ring;
uniform vec3 paper;
uniform vec3 accent;
uniform bool square;
out vec4 result;
void main() {
  vec2 away = abs(gl_PointCoord - 0.5) * size;
  float far = square || size < 3.0 ? max(away.x, away.y) : length(away);
  float edge = 0.5 * size;
  float cover = square || size < 3.0 ? 1.0 : clamp(edge - far + 0.5, 0.0, 1.0);
  vec4 tint = colour;
  if (ring > 0.0 && far > edge - 2.0 * ring) tint = vec4(far > edge - ring ? accent : paper, 1.0);
  float alpha = tint.a * cover;
  result = vec4(tint.rgb * alpha, alpha);
}`;

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
  float rim = border.a > 0.0 ? rimOf(${BORDER}.0, size) : 0.0;
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
  float place = slot;
  corner = place < 65535.0
    ? vec2(mod(place, columns), floor((place + 0.5) / columns)) * tile
    : vec2(-1.0);
  texels = vec2(tile) / sides;
  tint = ink;
  up = clamp((now - born) / ${RISE}.0, 0.0, 1.0);
  float z = chosen ? 0.0 : marks != 0 ? 0.02 + 0.18 * depth : 0.2 + 0.8 * depth;
  gl_Position = vec4(clip(at + away), z * 1.98 - 0.99, 1.0);
}`;

/** Never beyond the middle of the outermost texels: what lies beside belongs to another image. */
const pictureFragment = (point: boolean, fine: boolean) => `#version 300 es
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
uniform float density;
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
  ${point ? `if (beyond > frame.a + mark) discard;` : ""}
  vec3 colour;
  if (beyond > 0.0) {
    float outer = beyond - frame.a;
    colour = outer <= 0.0 ? frame.rgb
      : outer <= 0.34 * mark ? paper
      : marked > 1.5 ? dark : accent;
  } else {
    colour = tint.rgb;
    if (corner.x >= 0.0) {
      vec2 at = (away + half_) * texels;
      vec2 off = 0.25 * texels;
      vec3 picture = ${
        fine
          ? "texel(at)"
          : `0.25 * (texel(at - off) + texel(at + off)
        + texel(at + vec2(off.x, -off.y)) + texel(at + vec2(-off.x, off.y)))`
      };
      colour = mix(colour, picture, up);
    }
  }
  result = vec4(mix(paper, colour, tint.a), 1.0);
}`;

/** Vertex and fragment shader; fine: a pixel is hardly more than a texel, so that one of them will do. */
export function pictureProgram(point: boolean, fine: boolean): [string, string] {
  return [pictureVertex(point), pictureFragment(point, fine)];
}
