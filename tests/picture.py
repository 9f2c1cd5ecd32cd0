"""Takes the picture of the page that the README shows: ``python -m tests.picture``."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from tests.browser import Browser
from tests.daemon import LOCK, WRITE, Daemon

PICTURE = Path(__file__).resolve().parent.parent / "docs" / "page.png"

#: Who asks for which selector, in this order.
WANTED = (
    ("A4", "ci-7"),
    ("A4", "ci-8"),
    ("A4", "anna"),
    ("A4", "ben"),
    ("A5", "nightly"),
    ("A5", "ci-9"),
    ("photo", "ben"),
)


def take(folder: Path) -> None:
    """Start a daemon with some locks, and photograph the page of one of them."""
    with Daemon(folder, {}) as daemon, Browser(folder) as browser:
        daemon.post("/resource", '{"name": "printer", "timeout": 300}', key=WRITE)
        for selector, owner in WANTED:
            answer = daemon.post(f"/resource/printer/{selector}/lock", key=LOCK, headers={"x-owner": owner.encode()})
            assert answer.status in {200, 202}, answer
        tab = browser.tab(width=1000, height=640)
        tab.open(f"http://127.0.0.1:{daemon.port}/ui#/printer/A4")
        tab.until("document.activeElement.id === 'key'")
        tab.type(WRITE)
        tab.press("Enter")
        tab.reads("#connection", "Live")
        tab.reads("body", "ben")
        tab.photograph(PICTURE)


if __name__ == "__main__":
    with TemporaryDirectory() as folder:
        take(Path(folder))
