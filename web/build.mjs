// Builds the page into the package: one script, one style sheet, the pictures to try, and the licences of what is bundled.
import { context } from "esbuild";
import { createHash } from "node:crypto";
import { copyFileSync, existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const here = dirname(fileURLToPath(import.meta.url));
const page = join(here, "../src/foveal/serve/page");

const build = await context({
  absWorkingDir: here,
  entryPoints: { page: "src/main.ts", style: "src/style.css" },
  outdir: page,
  bundle: true,
  minify: true,
  format: "esm",
  target: ["chrome111", "firefox113", "safari16.4"],
  legalComments: "none", // the whole licences stand in LICENCES.txt
  metafile: true,
  logLevel: "info",
});

/** The packages that went into the script, with their licences' whole texts. */
function licences(metafile) {
  const names = new Set();
  for (const input of Object.keys(metafile.inputs)) {
    const found = input.match(/node_modules\/((?:@[^/]+\/)?[^/]+)\//);
    if (found) names.add(found[1]);
  }
  const texts = [...names].sort().map((name) => {
    const folder = join(here, "node_modules", name);
    const about = JSON.parse(readFileSync(join(folder, "package.json"), "utf8"));
    const file = ["LICENSE.txt", "LICENSE", "LICENSE.md", "license.txt"].map((one) => join(folder, one)).find(existsSync);
    if (!file) throw new Error(`${name} has no licence file; the page may not ship it`);
    return `${name} ${about.version} (${about.license})\n\n${readFileSync(file, "utf8").trim()}\n`;
  });
  return `page.js holds, beside foveal's own code (Apache-2.0), these packages:\n\n${texts.join(`\n${"-".repeat(80)}\n\n`)}`;
}

/** Names the script and the style sheet by what is in them, so that no browser shows a new page with an old script. */
function named(html) {
  const hash = (file) =>
    createHash("sha256")
      .update(readFileSync(join(page, file)))
      .digest("hex")
      .slice(0, 12);
  return html.replace(/"(page\.js|style\.css)"/g, (_, file) => `"${file}?${hash(file)}"`);
}

if (process.argv.includes("--watch")) {
  await build.watch();
} else {
  const { metafile } = await build.rebuild();
  mkdirSync(join(page, "samples"), { recursive: true });
  copyFileSync(join(here, "src/icon.svg"), join(page, "icon.svg"));
  writeFileSync(join(page, "index.html"), named(readFileSync(join(here, "src/index.html"), "utf8")));
  for (const name of ["harbour", "kitchen", "words"]) {
    copyFileSync(join(here, `../examples/pictures/${name}.png`), join(page, `samples/${name}.png`));
  }
  writeFileSync(join(page, "LICENCES.txt"), licences(metafile));
  await build.dispose();
}
