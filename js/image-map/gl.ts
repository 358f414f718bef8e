/**
 * One WebGL2 context for the page: browsers keep some 16 and drop the oldest, and a notebook holds
 * many widgets. Each view draws into the one and shows what it drew on a canvas of its own.
 */

import { type Board, board, resize } from "./screen.ts";

export interface SharedGl {
  canvas: Board;
  gl: WebGL2RenderingContext;
  users: number;
}

// Each widget comes with a copy of this module, so what they share lies on the page.
const KEY = Symbol.for("nbviz.webgl2.v1");
const page = globalThis as unknown as Record<symbol, SharedGl | undefined>;

/** The page's context, null where there is none to be had. Each call needs a `release`. */
export function acquire(): SharedGl | null {
  let shared = page[KEY];
  if (!shared || shared.gl.isContextLost()) {
    shared = opened(board()) ?? opened(document.createElement("canvas")) ?? undefined;
    if (!shared) return null;
    page[KEY] = shared;
  }
  shared.users += 1;
  return shared;
}

export function release(shared: SharedGl): void {
  shared.users -= 1;
  if (shared.users > 0) return;
  if (page[KEY] === shared) page[KEY] = undefined;
  shared.gl.getExtension("WEBGL_lose_context")?.loseContext();
}

/** A context on a board; null where it gives none, as some browsers do out of sight. */
function opened(canvas: Board): SharedGl | null {
  const gl = canvas.getContext("webgl2", {
    alpha: false,
    antialias: false,
    depth: true,
    powerPreference: "high-performance",
  }) as WebGL2RenderingContext | null;
  return gl && { canvas, gl, users: 0 };
}

/** Make the shared canvas as large as the picture that comes. */
export function makeRoom({ canvas }: SharedGl, [width, height]: [number, number]): void {
  resize(canvas, width, height);
}

export interface Program {
  program: WebGLProgram;
  at(uniform: string): WebGLUniformLocation | null;
}

export function compiled(gl: WebGL2RenderingContext, vertex: string, fragment: string): Program {
  const program = gl.createProgram();
  for (const [type, source] of [
    [gl.VERTEX_SHADER, vertex],
    [gl.FRAGMENT_SHADER, fragment],
  ] as const) {
    const shader = gl.createShader(type);
    if (!shader) throw new Error("WebGL gave no shader");
    gl.shaderSource(shader, source);
    gl.compileShader(shader);
    gl.attachShader(program, shader);
    gl.deleteShader(shader);
  }
  gl.linkProgram(program);
  if (!gl.getProgramParameter(program, gl.LINK_STATUS) && !gl.isContextLost()) {
    const logs = (gl.getAttachedShaders(program) ?? []).map((s) => gl.getShaderInfoLog(s));
    throw new Error(`a WebGL program does not compile: ${logs.join(" ")}`);
  }
  const places = new Map<string, WebGLUniformLocation | null>();
  return {
    program,
    at(uniform) {
      let place = places.get(uniform);
      if (place === undefined) {
        place = gl.getUniformLocation(program, uniform);
        places.set(uniform, place);
      }
      return place;
    },
  };
}
