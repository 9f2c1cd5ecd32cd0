// Takes the units. The steps that follow have the variable RESOURCED_LOCKS, which says what they are. So a step that finds one of them broken
// can say so: resourcectl unlock --out "does not boot" phones/p7
const { spawnSync } = require("node:child_process");
const { appendFileSync, readFileSync } = require("node:fs");
const { join } = require("node:path");

const input = (name) => (process.env[`INPUT_${name.toUpperCase()}`] || "").trim();

const file = join(process.env.RUNNER_TEMP, `units-${process.pid}.json`);
const options = ["--any", input("resource"), "--count", input("count") || "1"];
for (const tag of input("tags").split(/\s+/).filter(Boolean)) options.push("--tag", tag);

appendFileSync(process.env.GITHUB_STATE, `file=${file}\n`);
const script = join(__dirname, "..", "units.sh");
const { status } = spawnSync("sh", [script, "take", file, ...options], { stdio: "inherit" });
if (status !== 0) process.exit(status ?? 1);
const locks = readFileSync(file, "utf8").trim();
appendFileSync(process.env.GITHUB_ENV, `RESOURCED_LOCKS=${locks}\n`);
