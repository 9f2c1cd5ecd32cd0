"""Takes the pictures of the page that the README and the docs show: ``python -m tests.picture``."""

from __future__ import annotations

import json
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.browser import Browser
from tests.daemon import LOCK, WRITE, Daemon

DOCS = Path(__file__).resolve().parent.parent / "docs"

#: The units of a pool: their tags, and who holds each, or why it is out of service.
UNITS = {
    "amber": (["android", "5g"], "ci-7", ""),
    "azure": (["android"], "ci-8", ""),
    "coral": (["ios"], "", ""),
    "gold": (["android", "5g"], "", "cracked screen"),
    "green": (["ios", "5g"], "anna", ""),
    "jade": (["android"], "", ""),
}


def take(folder: Path) -> None:
    """Start a daemon with a pool, and photograph the overview, and the page of one of its units on a desk and on a telephone."""
    with Daemon(folder, {}) as daemon, Browser(folder) as browser:
        daemon.post("/resource", '{"name": "phones", "timeout": 300}', key=WRITE)
        daemon.post("/resource", '{"name": "licence", "slots": 5}', key=WRITE)
        for unit, (tags, owner, out) in UNITS.items():
            daemon.request("PATCH", f"/resource/phones/{unit}", body=json.dumps({"tags": tags, "out": out or None}))
            if owner:
                lock(daemon, unit, owner)
        for owner in ("nightly", "ben"):
            lock(daemon, "amber", owner)
        tab = browser.tab(width=1160, height=640)
        tab.open(f"http://127.0.0.1:{daemon.port}/ui")
        tab.until("document.activeElement.id === 'key'")
        tab.type(WRITE)
        tab.press("Enter")
        tab.reads("#connection", "Live")
        tab.until("document.querySelectorAll('#busy .pool').length === 2")
        tab.reads("#longest-waits", "ben")
        tab.reads("#news", "got the lock")
        tab.photograph(DOCS / "page-overview.png")
        tab.run("location.hash = '#/phones/amber'")
        tab.reads("#selectors", "jade")
        tab.reads("#queue", "ben")
        tab.reads("#unit", "In service")
        tab.photograph(DOCS / "page.png")
        tab.resize(390, 760)
        tab.reads("#unit", "In service")
        tab.photograph(DOCS / "page-telephone.png")


def lock(daemon: Daemon, unit: str, owner: str) -> None:
    """Take a lock, or wait for it, under a name."""
    answer = daemon.post(f"/resource/phones/{unit}/lock", key=LOCK, headers={"x-owner": owner.encode()})
    assert answer.status in {200, 202}, answer


if __name__ == "__main__":
    with TemporaryDirectory() as folder:
        take(Path(folder))
