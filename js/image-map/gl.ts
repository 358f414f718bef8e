/**
 * One WebGL2 context for the page: browsers keep some 16 and drop the oldest, and a notebook holds
 * many widgets. Each view draws into the one and copies what it drew to a canvas of its own.
 */

export interface SharedGl {
  canvas: HTMLCanvasElement;
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
    const canvas = document.createElement("canvas");
    const gl = canvas.getContext("webgl2", {
      alpha: true,
      antialias: false,
      depth: true,
      powerPreference: "high-performance",
    });
    if (!gl) return null;
    shared = { canvas, gl, users: 0 };
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

/** Room on the shared canvas for a picture of this size, at its bottom left; it never shrinks. */
export function makeRoom({ canvas }: SharedGl, width: number, height: number): void {
  if (canvas.width < width) canvas.width = width;
  if (canvas.height < height) canvas.height = height;
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
