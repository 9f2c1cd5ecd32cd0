"""
Hold a real daemon against its own description of the API, by tools that know nothing else about it.

Run with the environment that has them: ``python -m tests.schemathesis PATH_OF_ITS_BIN``.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.daemon import LOCK, WRITE, Daemon
from tests.examples import examples

HERE = Path(__file__).parent
#: How many requests are made up for each operation, and of which seed.
EXAMPLES, SEED = examples(80), 1


def main(tools: Path) -> int:
    with tempfile.TemporaryDirectory() as folder, Daemon(Path(folder), {"RESOURCED_MAX_WAIT": "0.01"}) as daemon:
        daemon.create("printer")
        holder = daemon.post("/resource/printer/A4/lock", key=LOCK)
        daemon.put("/resource/printer/A4", '{"status": "ready"}', ticket=holder.ticket)
        description = Path(folder) / "openapi.json"
        description.write_bytes(daemon.get("/openapi.json", key="").body)
        subprocess.run([tools / "openapi-spec-validator", description], check=True)
        found = subprocess.run(
            [
                *(tools / "schemathesis", "--config-file", HERE / "schemathesis.toml", "run", description),
                *("--url", f"http://127.0.0.1:{daemon.port}", "--header", f"x-api-key: {WRITE}"),
                # All checks but those that the file switches off, which it could not if they were named here.
                *("--max-examples", str(EXAMPLES), "--seed", str(SEED)),
                *("--continue-on-failure", "--suppress-health-check", "all", "--request-timeout", "20"),
                # It never ends.
                *("--exclude-path", "/events"),
            ],
            check=False,
            cwd=folder,
            env={**os.environ, "SCHEMATHESIS_HOOKS": str(HERE / "hooks.py")},
        )
        if not daemon.healthy() or "Traceback" in daemon.log:
            sys.stderr.write(daemon.log[-5000:])
            return 1
        return found.returncode


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]).absolute()))
