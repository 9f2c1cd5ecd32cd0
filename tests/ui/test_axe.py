"""axe-core, which looks for what keeps people from using a page, finds nothing in any view of it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.daemon import Daemon, eventually
from tests.mariadb import BUILD
from tests.ui.page import address, card, client, enter, fill, press


@pytest.fixture(scope="module")
def axe() -> str:
    """What ``make axe`` fetches, in the version of the Makefile."""
    for fetched in BUILD.glob("axe-core-*.js"):
        return fetched.read_text()
    pytest.skip("There is no axe-core here: make axe fetches it by npm")


class View:
    """
    The page in one size and one scheme, and what was wrong with it.

    :ivar found: each rule that was broken, in which view, by what.
    """

    def __init__(self, tab: Any, axe: str) -> None:
        self.tab = tab
        self.found: list[str] = []
        self._axe = axe

    def look(self, view: str) -> None:
        """Have axe look at what is on the screen."""
        if not self.tab.run("'axe' in window"):
            self.tab.run(f"{self._axe}; 0")
        answer = json.loads(self.tab.run(LOOK))
        assert answer["passed"] > 5, view
        self.found += [f"{view}: {line}" for line in answer["found"]]


#: All rules that axe has on.
LOOK = """axe.run(document, { resultTypes: ["violations"], preload: false }).then((result) => JSON.stringify({
  passed: result.passes.length,
  found: result.violations.flatMap(({ id, impact, nodes }) =>
    nodes.map(({ html, failureSummary }) => `${impact} ${id}: ${html.slice(0, 300)} ${failureSummary}`)),
}))"""


@pytest.fixture
def view(tab, axe, width, scheme):
    tab.prefer(color_scheme=scheme)
    tab.resize(width, 900)
    view = View(tab, axe)
    yield view
    assert view.found == []


#: Each width and each scheme.
each_screen = pytest.mark.parametrize(("width", "scheme"), [(390, "light"), (1280, "dark"), (1920, "light")])


@each_screen
def test_crowded_views(crowded, tab, view):
    """It finds nothing with 5,000 selectors, 300 resources, a queue of 1,000, and names of 255 characters."""
    enter(tab, crowded)
    tab.until(
        "Boolean(document.querySelectorAll('#longest-held li, #longest-waits li').length === 20 && document.querySelector('#busy .pool'))"
    )
    view.look("overview")
    tab.press("/")
    tab.type("ci-1")
    tab.until("document.querySelectorAll('#search-results [role=option]').length > 5")
    view.look("search")
    tab.press("Escape")
    long = "w" * 255
    for hash_, there in (
        ("many", "document.querySelectorAll('#selectors .row').length > 10"),
        ("crowd-000/A4", "document.querySelectorAll('#queue tbody tr').length === 20"),
        (long, "document.querySelectorAll('#selectors .row').length === 1"),
        (f"{long}/{long}", "document.querySelector('#unit .tag')"),
    ):
        tab.run(f"location.hash = '#/{hash_}'")
        tab.until(f"Boolean({there})")
        view.look(hash_[:20])


@each_screen
def test_views(tmp_path, tab, view):
    """It finds nothing while one signs in, looks at a unit with a past, is asked before one acts, and loses the server."""
    with Daemon(tmp_path) as daemon:
        tab.open(address(daemon))
        tab.until("document.activeElement.id === 'key'")
        view.look("key")
        tab.type("a wrong key")
        tab.press("Enter")
        tab.until("document.getElementById('key-problem').textContent")
        view.look("wrong key")
        enter(tab, daemon)
        tab.reads("#busy", "0 resources")
        view.look("nothing yet")
        press(tab, "#create")
        fill(tab, "name", "..")
        tab.press("Enter")
        tab.until("document.getElementById('dialog-problem').textContent")
        view.look("create")
        tab.press("Escape")
        worked_with(daemon)
        tab.run("location.hash = '#/phones'")
        tab.until("document.querySelectorAll('#use svg').length === 2")
        tab.click("#use summary")
        tab.reads("#waits", "ci-8")
        view.look("pool")
        tab.run("location.hash = '#/phones/green'")
        tab.reads("#unit", "cracked")
        view.look("out of service")
        tab.run("location.hash = '#/phones/red'")
        tab.reads("#queue", "ci-8")
        tab.until("Boolean(document.querySelector('#history .open'))")
        tab.click("#history .open")
        view.look("unit")
        dialogs(tab, view, "#break", "#out", "#edit-card", "#remove-card")
        tab.run("location.hash = '#/phones/blue'")
        tab.reads("#lock", "Free")
        dialogs(tab, view, "#edit")
        dialogs(tab, view, "#take", last="Enter")
        tab.reads("#holder", "me")
        dialogs(tab, view, "#extend", "#give-back")
        tab.run("location.hash = '#/nowhere/A4'")
        tab.until("!document.getElementById('selector-problem').hidden")
        view.look("no such resource")
        daemon.kill()
        tab.reads("#banner", "The server cannot be reached.")
        view.look("server away")


def worked_with(daemon):
    """Have a pool of three units: one with all kinds of a past, one out of service, one free."""
    daemon.create("phones", timeout=300)
    red = "/resource/phones/red"
    card(daemon, "phones", "red", tags=["android", "5g"], note="https://wiki.example/red")
    card(daemon, "phones", "green", tags=["ios"], out="cracked screen")
    card(daemon, "phones", "blue", tags=[])
    ticket = client(daemon, f"{red}/lock", owner="ci-6").ticket
    assert daemon.put(red, '{"imei": [1, 2]}', ticket=ticket).status == 204
    client(daemon, f"{red}/unlock", owner="", ticket=ticket)
    fence = client(daemon, f"{red}/lock", owner="ci-6").fence
    assert daemon.request("DELETE", f"{red}/lock?fence={fence}&reason=hung").status == 204
    client(daemon, f"{red}/lock", owner="ci-7")
    client(daemon, f"{red}/lock", owner="ci-8")
    eventually(lambda: daemon.get("/usage?resource=phones").json["units"], what="the use is counted")


def dialogs(tab, view, *buttons, last="Escape"):
    """Look at what each button asks, and leave it."""
    for button in buttons:
        press(tab, button)
        if button == "#take":
            fill(tab, "owner", "me")
        view.look(button)
        tab.press(last)
        tab.until("!document.getElementById('dialog').open")
