// Gives the units back, at the end of the job, also of one that has failed.
const { spawnSync } = require("node:child_process");
const { join } = require("node:path");

const script = join(__dirname, "..", "units.sh");
process.exit(spawnSync("sh", [script, "give", process.env.STATE_file], { stdio: "inherit" }).status ?? 1);
