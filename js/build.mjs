// Builds one self-contained ES module a view, and holds each to its size.
import { existsSync } from "node:fs";
import { mkdir, readdir, stat } from "node:fs/promises";
import { build, context } from "esbuild";

const source = new URL("./", import.meta.url).pathname;
const target = new URL("../nbviz/static/", import.meta.url).pathname;

// A bundle is synced and saved with every instance of its widget: kB minified (1 kB = 1000 bytes).
const LIMIT_KB = 60;
const LIMITS_KB = { "image-map": 120 };

const views = (await readdir(source, { withFileTypes: true }))
  .filter((entry) => entry.isDirectory() && existsSync(`${source}${entry.name}/index.ts`))
  .map((entry) => entry.name);

const options = {
  entryPoints: Object.fromEntries(views.map((view) => [view, `${source}${view}/index.ts`])),
  outdir: target,
  bundle: true,
  minify: true,
  format: "esm",
  target: "es2022",
  charset: "utf8",
  legalComments: "none",
  loader: { ".css": "text" },
};

if (process.argv.includes("--watch")) {
  await (await context({ ...options, minify: false, sourcemap: "inline" })).watch();
} else {
  if (!process.argv.includes("--check-sizes")) {
    await mkdir(target, { recursive: true });
    await build(options);
  }
  let over = false;
  for (const view of views) {
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
