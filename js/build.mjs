// Builds one self-contained ES module a view, and holds each to its size.
import { existsSync } from "node:fs";
import { mkdir, readdir, readFile, stat } from "node:fs/promises";
import { build, context, transform } from "esbuild";

const source = new URL("./", import.meta.url).pathname;
const target = new URL("../nbviz/static/", import.meta.url).pathname;

// A bundle is synced and saved with every instance of its widget: kB minified (1 kB = 1000 bytes).
const LIMIT_KB = 60;
// The activation browser draws rail, maps, lens and arithmetic from its state alone; what needs Python
// anyway is a part of its own.
const LIMITS_KB = { "activation-browser": 66, "image-map": 120 };

const folders = (await readdir(source, { withFileTypes: true })).filter((e) => e.isDirectory());
const having = (file) =>
  folders.map(({ name }) => name).filter((name) => existsSync(`${source}${name}/${file}`));
const views = having("index.ts");
/** What views fetch from Python when they need it; see js/shared/parts.ts. */
const parts = having("part.ts");

/** Style sheets as text for a view's shadow root, minified like the rest. */
const styles = {
  name: "styles",
  setup(within) {
    within.onLoad({ filter: /\.css$/ }, async ({ path }) => {
      const { code } = await transform(await readFile(path, "utf8"), {
        loader: "css",
        minify: true,
        charset: "utf8",
      });
      return { contents: code.trim(), loader: "text" };
    });
  },
};

/** Shaders are text, so the minifier leaves their white space. */
const shaders = {
  name: "shaders",
  setup(within) {
    within.onLoad({ filter: /gl-programs\.ts$/ }, async ({ path }) => ({
      contents: (await readFile(path, "utf8"))
        .replace(/\n\s+/g, "\n")
        .replace(/ *([=*+\-<>?:,;{}()]) */g, "$1"),
      loader: "ts",
    }));
  },
};

const options = {
  entryPoints: Object.fromEntries([
    ...views.map((view) => [view, `${source}${view}/index.ts`]),
    ...parts.map((part) => [`${part}.part`, `${source}${part}/part.ts`]),
  ]),
  outdir: target,
  bundle: true,
  minify: true,
  format: "esm",
  target: "es2022",
  charset: "utf8",
  legalComments: "none",
  plugins: [styles, shaders],
};

if (process.argv.includes("--watch")) {
  await (await context({ ...options, minify: false, sourcemap: "inline" })).watch();
} else {
  if (!process.argv.includes("--check-sizes")) {
    await mkdir(target, { recursive: true });
    await build(options);
  }
  let over = false;
  for (const view of [...views, ...parts.map((part) => `${part}.part`)]) {
    const limit = LIMITS_KB[view] ?? LIMIT_KB;
    const kilobytes = (await stat(`${target}${view}.js`)).size / 1000;
    over ||= kilobytes > limit;
    console.log(`${view}.js ${kilobytes.toFixed(1)} kB of at most ${limit} kB`);
  }
  if (over) {
    console.error("A bundle is over its limit: take something out of it.");
    process.exit(1);
  }
}
