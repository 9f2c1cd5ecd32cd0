"""The page in a real browser, before a real daemon, while real clients want the same locks."""

from __future__ import annotations

import json
from contextlib import closing
from typing import Any
from urllib.parse import quote

import pytest

from resourced.auth.key_file import entry
from resourced.auth.keys import digest_of
from tests.browser import Tab
from tests.clustered import nodes_fixture  # noqa: F401 - a fixture
from tests.daemon import LOCK, READ, WRITE, Daemon, eventually
from tests.stores import mariadb_fixture  # noqa: F401 - a fixture
from tests.ui.page import MANY, address, card, choose, client, contested, enter, fill, many, press

#: Names, owners and data that want to be more than text.
HOSTILE = (
    "<script>window.pwned = 1</script>",
    '"><img src=x onerror="window.pwned = 1">',
    "javascript:window.pwned=1",
    "../../ui",
    "#/else/where?lock=1&fence=1%",
    "__proto__",
    "\u202egnp.exe",
    "a\u200bb",
    "مرحبا بالعالم",
    "👩‍👩‍👧 🖨️",
    "x" * 255,
    "👾" * 255,
)


def streams(tab):
    """Return after which event each stream of events was asked for."""
    return [headers.get("last-event-id") for url, headers in tab.asked if url.endswith("/events")]


# -- The key


def test_key(daemon, browser, tab):
    """The key is typed in, is kept by this tab alone, is in no address, and is forgotten when one says so."""
    tab.open(address(daemon))
    tab.until("document.activeElement.id === 'key'")
    tab.type("a wrong key")
    tab.press("Enter")
    tab.until("document.getElementById('key-problem').textContent")
    assert tab.run("sessionStorage.length") == 0
    tab.type(READ)
    tab.press("Enter")
    tab.reads("#connection", "Live")
    assert tab.run("[localStorage.length, document.cookie, document.getElementById('key').value]") == [0, "", ""]
    tab.open(address(daemon))
    tab.reload()
    tab.reads("#connection", "Live")
    assert not [url for url, _ in tab.asked if READ in url or "a%20wrong" in url or "a+wrong" in url]

    other = browser.tab()
    other.open(address(daemon))
    other.until("document.activeElement.id === 'key'")
    other.close()

    tab.click("#forget")
    tab.until("document.activeElement.id === 'key'")
    assert tab.run("sessionStorage.length") == 0
    tab.reload()
    tab.until("document.activeElement?.id === 'key'")
    assert not tab.run("document.getElementById('panes').checkVisibility()")


def test_key_that_is_none(daemon, tab):
    """What cannot be sent as a key is told apart from a server that is away."""
    tab.open(address(daemon))
    tab.until("document.activeElement.id === 'key'")
    tab.type("schlüssel→")
    tab.press("Enter")
    tab.reads("#key-problem", "letters, digits and signs")


def test_key_for_some(tmp_path, tab):
    """A key that may touch only some resources shows these, and at the address of another one says why there is nothing."""
    digest = digest_of(b"the-key-of-few")
    (tmp_path / "keys.toml").write_text(entry("few", "write", digest, ["mine-"]))
    with Daemon(tmp_path, {"RESOURCED_KEYS": "keys.toml"}) as daemon:
        contested(daemon, "mine-a")
        contested(daemon, "other")
        enter(tab, daemon, "other", "A4", key="the-key-of-few")
        tab.until("!document.getElementById('selector-problem').hidden")
        refused = tab.text("#selector-problem")
        assert daemon.get("/resource/other", key="the-key-of-few").json["error"] == refused
        tab.reads("#selectors .empty", refused)
        tab.until(
            "[...document.querySelectorAll('#resources .name')].map((row) => row.textContent).join() === 'mine-a'"
        )
        tab.click("#resources .row")
        tab.reads("#selectors .list", "A4")
        tab.click("#selectors .row")
        tab.reads("#holder", "ci-7")


# -- What is seen


def test_live(daemon, tab):
    """Resources, holders, queues, data and history appear and change by themselves, and the lease runs down."""
    enter(tab, daemon)
    tab.run("window.same = true")
    daemon.create("live", timeout=300)
    first = client(daemon, "/resource/live/A4/lock", owner="ci-7")
    tab.until("[...document.querySelectorAll('#resources .row')].some((row) => row.textContent.includes('live1 held'))")

    tab.run("location.hash = '#/live/A4'")
    tab.reads("#holder", "ci-7")
    tab.reads("#fence", str(first.fence))
    tab.reads("#lock", "4:")
    left = "document.querySelector('#lock dd').textContent"
    before = tab.run(left)
    tab.until(f"{left} !== {json.dumps(before)}")
    assert tab.run(left) < before
    tab.reads("#queue", "Nobody waits")
    tab.reads("#data", "Nothing was written")

    second = client(daemon, "/resource/live/A4/lock", owner="ci-8")
    client(daemon, "/resource/live/A4/lock", owner="ci-9")
    tab.reads("#queue", "2 waiting")
    owners = "[...document.querySelectorAll('#queue tbody td:nth-child(2)')].map((cell) => cell.textContent)"
    assert tab.run(owners) == ["ci-8", "ci-9"]
    keys = "[...document.querySelectorAll('#holder-key, #queue tbody td:nth-child(3)')].map((cell) => cell.textContent)"
    assert tab.run(keys) == ["default"] * 3

    data = '{"n": 12345678901234567890, "b": [1, {}, "<b>"], "n": 2}'
    assert daemon.put("/resource/live/A4", data, ticket=first.ticket).status == 204
    tab.reads("#data pre", '{\n  "n": 12345678901234567890,\n  "b": [\n    1,\n    {},\n    "<b>"\n  ],\n  "n": 2\n}')
    client(daemon, "/resource/live/A4/unlock", owner="", ticket=first.ticket)
    client(daemon, "/resource/live/A4/lock", owner="ci-8", ticket=second.ticket)
    tab.reads("#holder", "ci-8")
    tab.until(f"{owners}.join() === 'ci-9'")
    tab.reads("#announcer", "ci-8 has the lock now.")
    told = "[...document.querySelectorAll('#history tbody .what')].filter((cell) => cell.checkVisibility()).map((cell) => cell.textContent)"
    tab.until(f"{told}.join() === 'got the lock,wrote once, let go'")
    tab.click("#history .open")
    tab.until(f"{told}.join() === 'got the lock,wrote once, let go,let go,wrote,got the lock'")
    bars = "[...document.querySelectorAll('#history svg .span')].map((bar) => bar.classList[1])"
    tab.until(f"{bars}.join() === 'now,release'")
    assert "ci-8 holds it now" in tab.run("document.querySelector('#history .timeline').ariaLabel")
    assert tab.run("window.same")


def test_more(daemon, tab):
    """Of a long queue and a long history the beginning is shown, and the rest by and by to whoever wants it."""
    daemon.create("long")
    with closing(daemon.connect()) as connection:
        for number in range(110):
            ticket = (
                connection.ask("POST", "/resource/long/A4/lock", headers={"x-owner": f"ci-{number}"}).answer().ticket
            )
            connection.ask("POST", "/resource/long/A4/unlock", ticket=ticket).answer()
        for number in range(30):
            connection.ask("POST", "/resource/long/A4/lock", headers={"x-owner": f"ci-{number}"}).answer()
    enter(tab, daemon, "long", "A4")
    queued = "document.querySelectorAll('#queue tbody tr').length"
    tab.until(f"{queued} === 20")
    tab.click("#queue button")
    tab.until(f"{queued} === 29")
    turns = "[...document.querySelectorAll('#history tbody tr:not(.event)')]"
    for rows in range(25, 111, 25):
        tab.until(f"{turns}.length === {rows}")
        tab.click("#history .older")
    tab.until(f"{turns}.length === 111")
    assert not tab.run("document.querySelector('#history .older').checkVisibility()")
    fences = tab.run(f"{turns}.map((row) => Number(row.lastChild.textContent))")
    assert fences == sorted(fences, reverse=True)
    assert len(set(fences)) == 111


def test_deep_link(daemon, tab):
    """An address leads to a selector, also to one that nobody has used yet, and to one that cannot be."""
    daemon.create("deep")
    enter(tab, daemon, "deep", "a/b ")
    tab.reads("#selector-heading", "a/b␣")
    tab.reads("#lock", "Free")
    tab.reads("#history", "Nothing is kept")
    assert tab.run("document.title") == "a/b␣ · deep · resourced"
    tab.reads("#selectors .empty", "Nothing is kept, held or waited for here.")
    tab.run("location.hash = '#/no such resource/A4'")
    tab.until("!document.getElementById('selector-problem').hidden")
    assert not tab.run("document.getElementById('selector-details').checkVisibility()")
    tab.until("!document.querySelector('#selectors .empty').hidden")
    tab.run("location.hash = '#/%E0%A4%A/%'")
    tab.until("document.getElementById('panes').dataset.depth === 'resources'")


def test_deep_link_into_a_long_list(daemon, tab):
    """An address into the middle of a list of thousands scrolls there, and the row is selected."""
    many(daemon)
    enter(tab, daemon, "many", "s-03333")
    marked = "document.querySelector('#selectors [aria-selected=true]')"
    tab.until(f"{marked}?.textContent.startsWith('s-03333')")
    box, room = (f"{where}.getBoundingClientRect()" for where in (marked, "document.querySelector('#selectors .list')"))
    assert tab.run(f"{box}.top >= {room}.top && {box}.bottom <= {room}.bottom")
    assert tab.run("document.querySelectorAll('#selectors .row').length") < 80


def test_filter(daemon, tab):
    """A list shows the names that have in them what one types, whatever its case, and says so if there is none."""
    for name in ("filter-a", "filter-b", "Filter-c"):
        daemon.create(name)
    enter(tab, daemon, key=READ)
    tab.reads("#resources .list", "Filter-c")
    tab.click("#resources-filter")
    tab.type("ILTER-")
    tab.until("document.querySelectorAll('#resources .row').length === 3")
    tab.type("nothing")
    tab.reads("#resources .empty", "No resource has this in its name.")
    tab.run("document.getElementById('resources-filter').select()")
    tab.type("filter-b")
    tab.until("document.querySelector('#resources .row')?.textContent.startsWith('filter-b')")


def test_hostile(daemon, tab):
    """Names, owners and data of clients are text, whatever is in them; what cannot be seen in a name is spelled out."""
    for name in HOSTILE:
        daemon.create(name)
        path = f"/resource/{quote(name, safe='')}/{quote(name, safe='')}"
        ticket = client(daemon, f"{path}/lock", owner=name if name.isprintable() else "owner").ticket
        assert daemon.put(path, json.dumps({name: name}), ticket=ticket).status == 204
    enter(tab, daemon)
    for name in HOSTILE:
        hash_ = f"#/{quote(name, safe='')}/{quote(name, safe='')}"
        tab.run(f"location.hash = {json.dumps(hash_)}")
        shown = tab.run(f"import('/ui/text.js').then(({{ visible }}) => visible({json.dumps(name)}))")
        heading = "document.getElementById('selector-heading').textContent"
        tab.until(f"{heading} === {json.dumps(shown)}")
        owner = shown if name.isprintable() else "owner"
        tab.until(f"document.getElementById('holder')?.textContent === {json.dumps(owner)}")
        tab.until(f"document.querySelector('#data pre')?.textContent.includes({json.dumps(json.dumps(name))})")
        tab.until(f"!!document.querySelector('#history svg title')?.textContent.startsWith({json.dumps(owner)})")
        tab.click("#break")
        tab.until(f"document.getElementById('dialog-text').textContent.includes({json.dumps(owner)})")
        tab.press("Escape")
        assert tab.run("document.documentElement.scrollWidth") == 1280
    assert tab.run("[window.pwned, document.querySelectorAll('main script, main img').length]") == [None, 0]
    assert "⟨202E⟩gnp.exe" in tab.text("#resources .list")


def test_many(daemon, tab):
    """Of thousands of selectors only those that can be seen are in the document, and the last can be reached."""
    many(daemon)
    enter(tab, daemon, "many")
    tab.reads("#selectors-summary", "5,000 held")
    tab.until("document.querySelectorAll('#selectors .row').length > 10")
    tab.run(
        "window.most = 0; new MutationObserver(() => {"
        "window.most = Math.max(window.most, document.querySelectorAll('#selectors .row').length)"
        "}).observe(document.querySelector('#selectors .list'), { childList: true, subtree: true })"
    )
    last = f"document.querySelector('#selectors .rows').lastElementChild.textContent.startsWith('s-{MANY - 1:05}')"
    tab.until(f"(() => {{ document.querySelector('#selectors .list').scrollTop = 1e9; return {last}; }})()")
    assert tab.run("window.most") < 80
    tab.run("document.querySelector('#selectors .list').focus()")
    tab.press("Home")
    tab.until("document.querySelector('#selectors .row').textContent.startsWith('s-00000')")
    tab.press("End")
    tab.press("ArrowUp")
    tab.press("Enter")
    tab.reads("#selector-heading", f"s-{MANY - 2:05}")
    assert tab.run("document.querySelector('#selectors [aria-selected=true]').getAttribute('aria-setsize')") == str(
        MANY
    )
    assert tab.run("window.most") < 80


# -- Pools, and what is seen of everything


def test_board(daemon, tab):
    """Of each unit one sees state, tags, note, holder, for how long, and why it is out; and who waits for what."""
    daemon.create("board", timeout=300)
    card(daemon, "board", "red", tags=["android", "5g"], note="left shelf")
    card(daemon, "board", "green", tags=["android"], out="cracked screen")
    card(daemon, "board", "blue", tags=["ios"])
    client(daemon, "/resource/board/red/lock", owner="ci-7")
    client(daemon, "/resource/board/red/lock", owner="ci-8")
    several = json.dumps({"want": [{"resource": "board", "tags": ["android"], "count": 2}]})
    assert daemon.post("/lock", several, key=LOCK, headers={"x-owner": b"heavy"}).status == 202
    enter(tab, daemon, "board")
    rows = "[...document.querySelectorAll('#selectors .row')].map((row) => row.innerText.replace(/\\s+/g, ' '))"
    tab.until(f"{rows}.length === 3")
    blue, green, red = tab.run(rows)
    assert blue.split()[:2] == ["blue", "free"]
    assert green.split()[:2] == ["green", "out"]
    assert all(words in green for words in ("cracked screen", "android"))
    assert red.split()[:4] == ["red", "held", "1", "waiting"]
    assert all(words in red for words in ("ci-7 for", "android", "5g", "left shelf"))
    tab.reads("#selectors-summary", "3 units, 1 out of service, 1 held")
    tab.reads("#waits", "heavy")
    waits = tab.run(
        "[...document.querySelectorAll('#waits tbody tr')].map((row) => row.innerText.split('\\t').slice(1))"
    )
    assert waits == [["ci-8", "red", "ci-7"], ["heavy", "2 of board android", ""]]
    # One may look for any part, whatever its case, and sort.
    for part, found in (("SHELF", "red"), ("Crack", "green"), ("CI-7", "red"), ("ios", "blue")):
        tab.run("document.getElementById('selectors-filter').select()")
        tab.click("#selectors-filter")
        tab.run("document.getElementById('selectors-filter').select()")
        tab.type(part)
        tab.until(f"{rows}.length === 1 && {rows}[0].startsWith('{found}')")
    tab.type("nothing like it")
    tab.reads("#selectors .empty", "Nothing here has this in it.")
    tab.run("location.hash = '#/'")
    tab.run("location.hash = '#/board'")
    for order, first in (("held", "red"), ("out", "green"), ("waiting", "red"), ("name", "blue")):
        choose(tab, "#selectors select", order)
        tab.until(f"{rows}.length === 3 && {rows}[0].startsWith('{first}')")


def test_unit_actions(daemon, tab):
    """By keyboard a unit is taken out with a reason, brought back, given tags and a note, and taken from the pool."""
    daemon.create("service")
    card(daemon, "service", "red", tags=["android"])

    def unit():
        return daemon.get("/resource/service/red/lock").json.get("card")

    enter(tab, daemon, "service", "red")
    press(tab, "#out")
    tab.press("Enter")  # without a reason nothing happens
    assert tab.run("document.getElementById('dialog').open")
    tab.type("cracked <b>screen</b>")
    tab.press("Enter")
    tab.reads("#unit", "Out of service: cracked <b>screen</b>")
    assert unit()["out"] == "cracked <b>screen</b>"
    tab.reads("#selectors .row", "out")
    tab.reads("#history", "taken out of service because cracked <b>screen</b>")
    press(tab, "#back")
    tab.press("Enter")
    tab.reads("#unit", "In service")
    assert unit()["out"] is None
    press(tab, "#edit-card")
    tab.run("document.getElementById('dialog-tags').select()")
    tab.type("ios  x,y")
    tab.press("Tab")
    tab.type("https://wiki.example/red")
    tab.press("Enter")
    tab.reads("#unit", "wiki.example")
    assert (unit()["tags"], unit()["note"]) == (["ios", "x", "y"], "https://wiki.example/red")
    press(tab, "#edit-card")
    tab.run("document.getElementById('dialog-tags').select()")
    tab.type("x" * 65)
    tab.press("Enter")
    tab.reads("#dialog-problem", "1 to 64 printable characters")
    tab.press("Escape")
    press(tab, "#remove-card")
    tab.until("document.activeElement.id === 'dialog-cancel'")
    tab.press("Tab")
    tab.press("Enter")
    tab.reads("#unit", "It is no unit")
    assert unit() is None


def test_take(daemon, tab):
    """A lock is taken for 1 or 4 hours under one's own name, kept for longer, and given back, as broken if need be."""
    daemon.post("/resource", json.dumps({"name": "mine", "timeout": 60, "longest": 14400}))
    card(daemon, "mine", "red", tags=[])
    lock = "/resource/mine/red/lock"
    enter(tab, daemon, "mine", "red", key=LOCK)
    press(tab, "#take")
    fill(tab, "owner", "Anna")
    choices = "[...document.querySelectorAll('#dialog-lease option')].map((choice) => choice.textContent)"
    assert tab.run(choices) == ["1 hour", "4 hours"]
    tab.press("Enter")
    tab.reads("#holder", "Anna")
    assert 3500 < daemon.get(lock).json["holder"]["left"] <= 3600
    # The browser keeps the ticket, not the tab.
    tab.reload()
    press(tab, "#extend")
    choose(tab, "#dialog-lease", "14400")
    tab.press("Tab", 2)
    tab.press("Enter")
    eventually(lambda: daemon.get(lock).json["holder"]["left"] > 14000)
    press(tab, "#give-back")
    fill(tab, "out", "cracked")
    tab.press("Enter")
    tab.reads("#lock", "Free")
    assert daemon.get(lock).json["card"]["out"] == "cracked"
    # Whoever does not get it at once does not wait.
    tab.until("localStorage.getItem('resourced-locks') === '{}'")
    press(tab, "#take")
    tab.press("Enter")
    tab.reads("#dialog-problem", "It is out of service: cracked")
    tab.press("Escape")
    assert daemon.get(lock).json["waiting"] == 0


def test_take_after_edit(daemon, tab):
    """Who leaves an edit and takes the lock at once is not refused it because the edit has not let go of it yet."""
    daemon.create("edited-slowly")
    enter(tab, daemon, "edited-slowly", "A4")
    # The first request to let go of a lock is on its way for some seconds.
    tab.run("""(() => {
      const now = window.fetch;
      let seconds = 3;
      window.fetch = async (url, options) => {
        if (String(url).includes("/unlock")) {
          const pause = new Promise((go) => setTimeout(go, 1000 * seconds));
          seconds = 0;
          await pause;
        }
        return now(url, options);
      };
    })()""")
    press(tab, "#edit")
    # As soon as the button is there: for a moment the page has not heard yet that it has the lock itself.
    tab.press("Escape")
    tab.run("document.querySelector('#take').hidden = false; document.querySelector('#take').click()")
    tab.until("document.getElementById('dialog').open")
    fill(tab, "owner", "Anna")
    tab.press("Enter")
    tab.reads("#holder", "Anna")


def test_edit(daemon, tab):
    """Data is edited under a lock that is taken for it and given back, whether one saves it or not."""
    daemon.create("edited")
    lock = "/resource/edited/A4/lock"
    enter(tab, daemon, "edited", "A4")
    press(tab, "#edit")
    assert daemon.get(lock).json["locked"]
    tab.press("Escape")
    eventually(lambda: not daemon.get(lock).json["locked"])
    press(tab, "#edit")
    fill(tab, "data", '{"status": ')
    tab.click("#dialog-confirm")
    tab.reads("#dialog-problem", "JSON")
    fill(tab, "data", '{"status": "ready"}')
    tab.click("#dialog-confirm")
    tab.reads("#data pre", '"status": "ready"')
    eventually(lambda: not daemon.get(lock).json["locked"])
    assert daemon.get("/resource/edited/A4?lock=0&raw=1").json == {"status": "ready"}
    # Under a lock that was taken here before it is kept; if that was lost, another one is taken.
    for lost in (False, True):
        press(tab, "#take")
        fill(tab, "owner", "Anna")
        tab.press("Enter")
        tab.reads("#holder", "Anna")
        fence = daemon.get(lock).json["holder"]["fence"]
        if lost:
            assert daemon.request("DELETE", f"{lock}?fence={fence}").status == 204
        press(tab, "#edit")
        assert (daemon.get(lock).json["holder"]["fence"] == fence) is not lost
        tab.press("Escape")
        if not lost:
            press(tab, "#give-back")
            tab.press("Enter")
        eventually(lambda: not daemon.get(lock).json["locked"])
    # Whoever has lost the lock meanwhile overwrites nothing.
    press(tab, "#edit")
    fence = daemon.get(lock).json["holder"]["fence"]
    assert daemon.request("DELETE", f"{lock}?fence={fence}").status == 204
    client(daemon, lock, owner="ci-7")
    fill(tab, "data", '{"status": "late"}')
    tab.click("#dialog-confirm")
    tab.until("document.getElementById('dialog-problem').textContent")
    assert daemon.get("/resource/edited/A4?lock=0&raw=1").json == {"status": "ready"}
    tab.press("Escape")
    press(tab, "#edit")
    tab.reads("#dialog", "Somebody else has the lock.")
    assert daemon.get(lock).json["waiting"] == 0


def test_create(daemon, tab):
    """A resource is created on the page, which then shows it; a name that is taken is told."""
    enter(tab, daemon)
    press(tab, "#create")
    fill(tab, "name", "created <here>")
    fill(tab, "slots", "3")
    tab.press("Enter")
    tab.reads("#selectors-heading", "created <here>")
    tab.reads("#selectors-summary", "3 units")
    press(tab, "#create")
    fill(tab, "name", "created <here>")
    tab.press("Enter")
    tab.until("document.getElementById('dialog-problem').textContent")
    assert daemon.get("/resource/created%20%3Chere%3E").json["slots"] == 3


def test_links(daemon, tab):
    """An owner or a note that is an address is a link, which tells the other side nothing; anything else is text."""
    daemon.create("links")
    owners = ("https://ci.example/job/7?a=1", "javascript:window.pwned=1", "https://a b", "see https://ci.example/")
    for number, owner in enumerate(owners):
        client(daemon, f"/resource/links/{number}/lock", owner=owner)
        card(daemon, "links", str(number), note=owner)
    enter(tab, daemon)
    for number, owner in enumerate(owners):
        tab.run(f"location.hash = '#/links/{number}'")
        tab.until(f"document.getElementById('holder')?.textContent === {json.dumps(owner)}")
        tab.until(f"document.querySelector('.note-text')?.textContent === {json.dumps(owner)}")
        links = "[...document.querySelectorAll('#holder a, .note-text a')].map((link) => [link.href, link.rel, link.target])"
        assert tab.run(links) == ([[owner, "noopener noreferrer", "_blank"]] * 2 if number == 0 else [])


def test_overview(tmp_path, tab):
    """The first page says what is held longest, who waits longest, how busy the pools are, and what just happened."""
    with Daemon(tmp_path) as daemon:
        for name in ("phones", "printer", "quiet"):
            daemon.create(name, timeout=300)
        for unit in ("red", "green"):
            card(daemon, "phones", unit, tags=["android"])
        client(daemon, "/resource/phones/red/lock", owner="oldest")
        held = client(daemon, "/resource/printer/A4/lock", owner="younger")
        client(daemon, "/resource/printer/A4/lock", owner="first")
        client(daemon, "/resource/phones/red/lock", owner="second")
        enter(tab, daemon)
        items = "[...document.querySelectorAll('{} li')].map((item) => item.lastChild.innerText.replace(/\\s+/g, ' '))"
        tab.until(f"{items.format('#longest-held')}.length === 2")
        assert tab.run(items.format("#longest-held")) == [
            "phones / red by oldest, 1 waiting",
            "printer / A4 by younger, 1 waiting",
        ]
        waits = tab.run(items.format("#longest-waits"))
        assert waits[0].startswith("first waits for printer / A4, held by younger for")
        assert waits[1].startswith("second waits for phones / red, held by oldest for")
        tab.reads("#busy", "3 resources, 2 held, 2 waiting.")
        tab.reads("#busy .pool", "1 of 2 units held")
        tab.until(
            f"{items.format('#news')}.join() === 'printer / A4 got the lock younger,phones / red got the lock oldest'"
        )
        client(daemon, "/resource/printer/A4/unlock", owner="", ticket=held.ticket)
        tab.reads("#news", "let go")
        tab.until(f"{items.format('#news')}[0] === 'printer / A4 got the lock first'")
        tab.click("#longest-held a")
        tab.reads("#holder", "oldest")


def test_nodes(nodes, tab):
    """Where there are several nodes the first page shows them: which are up, how much each owns, and which one has answered."""
    first, second = nodes.add(), nodes.add()
    nodes.settle(first, second)
    enter(tab, first)
    rows = "[...document.querySelectorAll('#nodes li')].map((item) => item.lastChild.innerText)"
    tab.until(f"{rows}.length === 2 && !{rows}.join().includes(' 0 partitions')")
    mine, other = tab.run(rows)
    assert mine.startswith(f"http://127.0.0.1:{first.port}: ")
    assert mine.endswith("partitions, asked by this page")
    assert other.startswith(f"http://127.0.0.1:{second.port}: ")
    second.terminate()
    tab.until(f"{rows}[1].endsWith(': gone')")


def test_use(daemon, tab):
    """The use of a resource is drawn for 1, 7 and 30 days, by unit and by owner, and can be read as figures."""
    daemon.create("used")
    for owner in ("ci-7", "ci-8", "ci-7"):
        ticket = client(daemon, "/resource/used/red/lock", owner=owner).ticket
        client(daemon, "/resource/used/red/unlock", owner=owner, ticket=ticket)
    eventually(lambda: [unit["grants"] for unit in daemon.get("/usage?resource=used").json["units"]] == [3])
    enter(tab, daemon, "used")
    for days, words in ((1, "today"), (30, "30 days"), (7, "7 days")):
        tab.run(f"[...document.querySelectorAll('#use button')].find((one) => one.innerText === '{words}').click()")
        tab.until(
            f"document.querySelectorAll('#use svg').length === 2 && document.querySelector('#use [aria-pressed=true]').innerText === '{words}'"
        )
        eventually(lambda: tab.run("0") or any(f"/usage?resource=used&days={days}" in url for url, _ in tab.asked))  # noqa: B023
    labels = "[...document.querySelectorAll('#use .lane')].map((label) => label.textContent).sort()"
    assert tab.run(labels) == ["ci-7", "ci-8", "red"]
    tab.click("#use summary")
    tab.reads("#use table", "red\t3\t0 s")
    # What was opened stays open when it is drawn anew.
    tab.resize(1000, 800)
    tab.run("[...document.querySelectorAll('#use button')].find((one) => one.innerText === 'today').click()")
    tab.until("document.querySelector('#use [aria-pressed=true]').innerText === 'today'")
    tab.reads("#use table", "red\t3\t0 s")


def test_search(daemon, tab):
    """Any part of a name, owner, tag or note is found anywhere, whatever its case, by keyboard alone."""
    daemon.create("search-pool")
    card(daemon, "search-pool", "Red", tags=["Haptic"], note="On the LEFT shelf")
    client(daemon, "/resource/search-pool/Blue/lock", owner="Nightly-Xyz")
    client(daemon, "/resource/search-pool/Blue/lock", owner="Weekly-Pqr")
    enter(tab, daemon)
    found = "[...document.querySelectorAll('#search-results [role=option]')].map((row) => decodeURIComponent(row.dataset.address))"
    tab.press("/")
    assert tab.focus == "search-field"
    for part, expected in (
        ("ARCH-POO", ["#/search-pool"]),
        ("the left SH", ["#/search-pool/Red"]),
        ("haptic", ["#/search-pool/Red"]),
        ("kly-PQ", ["#/search-pool/Blue"]),
        ("ly-xY", ["#/search-pool/Blue"]),
    ):
        tab.run("document.getElementById('search-field').select()")
        tab.type(part)
        tab.until(f"JSON.stringify({found}) === {json.dumps(json.dumps(expected, separators=(',', ':')))}")
    tab.press("ArrowDown")
    tab.press("Enter")
    tab.reads("#holder", "Nightly-Xyz")
    assert not tab.run("document.getElementById('search-found').checkVisibility()")
    tab.run("document.getElementById('search-field').select()")
    tab.click("#search-field")
    tab.type("nothing has this")
    tab.reads("#search-status", "Nothing has this in it.")


# -- Breaking


def test_break(daemon, tab):
    """A lock is broken after a question that names its owner and fence, and not if one thinks better of it."""
    first, second = contested(daemon, "broken")
    enter(tab, daemon, "broken", "A4")
    tab.reads("#holder", "ci-7")
    tab.click("#break")
    tab.reads("#dialog", f"owner\nci-7\nfence\n{first.fence}")
    tab.until("document.activeElement.id === 'dialog-cancel'")
    tab.press("Escape")
    tab.until("!document.getElementById('dialog').open")
    assert client(daemon, "/resource/broken/A4/lock", owner="ci-7", ticket=first.ticket).status == 200

    tab.click("#break")
    tab.click("#dialog-reason")
    tab.type("hung <b>since</b> noon")
    tab.click("#dialog-confirm")
    tab.reads("#holder", "ci-8")
    tab.until("!document.getElementById('dialog').open")
    assert daemon.post("/resource/broken/A4/lock", key=LOCK, ticket=first.ticket).status == 410
    assert client(daemon, "/resource/broken/A4/lock", owner="ci-8", ticket=second.ticket).status == 200
    tab.until(
        "document.querySelector('#history td.break')?.textContent === 'was broken by default because hung <b>since</b> noon'"
    )
    tab.until("!!document.querySelector('#history svg .span.break')")


def test_break_too_late(daemon, tab):
    """If another has the lock by the time that one says yes, it keeps it, and one is told."""
    first, second = contested(daemon, "late")
    enter(tab, daemon, "late", "A4")
    tab.reads("#holder", "ci-7")
    tab.click("#break")
    client(daemon, "/resource/late/A4/unlock", owner="", ticket=first.ticket)
    tab.click("#dialog-confirm")
    tab.reads("#dialog-problem", "Nothing was broken: this fence does not hold the lock any more.")
    assert tab.run("document.getElementById('dialog-confirm').hidden")
    tab.reads("#holder", "ci-8")
    tab.click("#dialog-cancel")
    tab.until("!document.getElementById('dialog').open")
    assert client(daemon, "/resource/late/A4/lock", owner="ci-8", ticket=second.ticket).status == 200


def test_break_not_allowed(daemon, tab):
    """A key that may only read sees no button of what it may not do, and the keyboard reaches none."""
    contested(daemon, "forbidden")
    daemon.request("PATCH", "/resource/forbidden/A4", body="{}")
    enter(tab, daemon, "forbidden", "A4", key=READ)
    tab.reads("#unit", "In service")
    tab.reads("#holder", "ci-7")
    seen = "[...document.querySelectorAll('#lock button, #unit button')].filter((button) => button.checkVisibility()).length"
    assert tab.run(f"[document.querySelectorAll('#unit button').length > 0, {seen}]") == [True, 0]
    assert not {name for role, name, _ in tab.accessible() if role == "button"} & {
        "Break the lock…",
        "Take out of service…",
    }
    tab.click("#forget")
    tab.until("document.activeElement.id === 'key'")
    tab.type(WRITE)
    tab.press("Enter")
    tab.until(f"{seen} > 0")


# -- The connection


def test_restart(tmp_path, tab):
    """If the server goes away the page says so and keeps what it has; when it is back, so is the page, where it was."""
    with Daemon(tmp_path) as daemon:
        first, _ = contested(daemon, "restart")
        enter(tab, daemon, "restart", "A4")
        tab.reads("#holder", "ci-7")
        tab.run("window.same = true")
        daemon.kill()
        tab.reads("#banner", "The server cannot be reached.")
        tab.reads("#connection", "Server away")
        tab.reads("#holder", "ci-7")
        daemon.start()
        client(daemon, "/resource/restart/A4/unlock", owner="", ticket=first.ticket)
        tab.reads("#connection", "Live")
        tab.reads("#holder", "ci-8")
        assert tab.run("document.getElementById('banner').hidden && window.same")
        # From now on, and once what was before.
        assert streams(tab)[:2] == [None, "0"]
        assert all(int(after) for after in streams(tab)[2:])
        # And while it is asked to stop, with the stream open.
        daemon.terminate()
        tab.reads("#connection", "Server away")
        daemon.start()
        tab.reads("#connection", "Live")


def test_another_life(tmp_path, tab):
    """If the server comes back with another past, nothing of the old one is left on the page."""
    with Daemon(tmp_path) as daemon:
        contested(daemon, "life")
        for selector in ("A5", "A6", "A7"):
            client(daemon, f"/resource/life/{selector}/lock", owner="ci-7")
        enter(tab, daemon, "life", "A4")
        tab.reads("#history", "ci-7")
        daemon.kill()
        for file in tmp_path.glob("resourced.sqlite*"):
            file.unlink()
        daemon.start()
        daemon.create("life")
        client(daemon, "/resource/life/A4/lock", owner="ci-9")
        tab.reads("#holder", "ci-9")
        tab.until("document.querySelector('#history tbody').innerText.includes('ci-9')")
        tab.until("!document.getElementById('selector').innerText.includes('ci-7')")


def test_key_that_ends(tmp_path, tab):
    """A key that is good no more leads back to the question for one."""
    with Daemon(tmp_path) as daemon:
        enter(tab, daemon, key=READ)
        daemon.kill()
        daemon.environ = {"RESOURCE_READ": "another-key"}
        daemon.start()
        tab.until("document.activeElement.id === 'key' && document.getElementById('key-problem').textContent")
        assert tab.run("sessionStorage.length") == 0


def test_out_of_sight(daemon, tab):
    """A page that nobody sees asks for nothing; when it is seen again, it shows what has happened."""
    first, _ = contested(daemon, "unseen")
    enter(tab, daemon, "unseen", "A4")
    tab.reads("#holder", "ci-7")
    look = "Object.defineProperty(document, 'hidden', {{ value: {}, configurable: true }});"
    look += "document.dispatchEvent(new Event('visibilitychange'))"
    tab.run(look.format("true"))
    # What it asked for before that is answered late on a busy machine, and would show what happens now.
    pause = "new Promise((resolve) => setTimeout(resolve, 300))"
    tab.eventually(lambda: tab.run(pause) or not tab.waiting, "everything is answered")
    client(daemon, "/resource/unseen/A4/unlock", owner="", ticket=first.ticket)
    asked = len(tab.asked)
    tab.run("new Promise((resolve) => setTimeout(resolve, 2500))")
    assert len(tab.asked) == asked
    assert tab.text("#holder") == "ci-7"
    tab.run(look.format("false"))
    tab.reads("#holder", "ci-8")
    tab.reads("#connection", "Live")
    # And it had let go of the stream.
    assert len(streams(tab)) == 3


# -- Hands, eyes and ears


def test_keyboard(daemon, tab):
    """Everything can be done without a mouse: from the key to a broken lock and back."""
    contested(daemon, "keyboard-a")
    first, _ = contested(daemon, "keyboard-b")
    enter(tab, daemon)
    tab.until("document.activeElement.id === 'resources-heading'")
    tab.until("document.getElementById('create').checkVisibility()")
    tab.press("Tab")
    assert tab.focus == "create"
    tab.press("Tab")
    assert tab.focus == "resources-filter"
    tab.type("keyboard-")
    tab.until("document.querySelectorAll('#resources .row').length === 2")
    tab.press("Tab", 2)
    tab.press("ArrowDown")
    active = "document.getElementById(document.activeElement.getAttribute('aria-activedescendant'))?.textContent"
    tab.until(f"{active}?.startsWith('keyboard-b')")
    tab.press("Enter")
    tab.until("document.activeElement.id === 'selectors-heading'")
    tab.until("document.querySelectorAll('#selectors .row').length === 1")
    tab.press("Tab", 3)
    tab.until(f"{active}?.startsWith('A4')")
    tab.press("Enter")
    tab.until("document.activeElement.id === 'selector-heading'")
    tab.reads("#holder", "ci-7")
    tab.press("Tab")
    assert tab.focus == "break"
    tab.press("Enter")
    tab.until("document.activeElement.id === 'dialog-cancel'")
    tab.press("Tab")
    assert tab.focus == "dialog-confirm"
    tab.press("Enter")
    tab.reads("#holder", "ci-8")
    assert daemon.post("/resource/keyboard-b/A4/lock", key=LOCK, ticket=first.ticket).status == 410
    tab.until("document.activeElement.id === 'selector-heading'")
    tab.run("history.back()")
    tab.until("document.activeElement.id === 'selectors-heading'")


def test_accessible(daemon, tab):
    """A screen reader is told what everything is: landmarks, headings, lists, and a name for whatever has the focus."""
    contested(daemon, "heard")
    enter(tab, daemon, "heard", "A4")
    tab.reads("#holder", "ci-7")
    tab.reads("#selectors .list", "A4")
    tab.reads("#queue", "ci-8")
    told = tab.accessible()
    named = {(role, name) for role, name, _ in told}
    assert {("listbox", "Resources"), ("listbox", "heard"), ("heading", "A4"), ("region", "Lock")} <= named
    assert any(role == "option" and name.startswith("A4 held 1 waiting ci-7 for") for role, name in named)
    assert ("button", "Break the lock…") in named
    assert [role for role, _, _ in told].count("main") == 1
    nameless = [(role, name) for role, name, focusable in told if focusable and not name and role != "RootWebArea"]
    assert nameless == []
    assert tab.run("document.documentElement.lang") == "en"
    tab.click("#break")
    tab.until("document.getElementById('dialog').open")
    assert ("dialog", "Break this lock?") in {(role, name) for role, name, _ in tab.accessible()}


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_contrast(daemon, tab, scheme):
    """By day and by night every text stands out from its ground as much as WCAG AA asks."""
    resource = f"contrast-{scheme}"
    contested(daemon, resource)
    tab.prefer(color_scheme=scheme)
    tab.open(address(daemon, resource, "A4"))
    tab.until("document.activeElement.id === 'key'")
    seen = tab.run(FAINT)
    assert (seen["texts"] > 5, seen["faint"]) == (True, [])
    enter(tab, daemon, resource, "A4")
    tab.reads("#queue", "ci-8")
    tab.reads("#history", "got the lock")
    seen = tab.run(FAINT)
    assert (seen["texts"] > 30, seen["faint"]) == (True, [])
    assert seen["light"] is (scheme == "light")
    tab.click("#break")
    tab.until("document.getElementById('dialog').open")
    assert tab.run(FAINT)["faint"] == []


#: Finds the texts that can be seen and whose contrast is below 4.5 to 1 (WCAG 2.2, 1.4.3), or 3 to 1 for large ones.
FAINT = """(() => {
  const pixel = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
  const over = (colours) => {
    pixel.clearRect(0, 0, 1, 1);
    for (const colour of colours) { pixel.fillStyle = colour; pixel.fillRect(0, 0, 1, 1); }
    return [...pixel.getImageData(0, 0, 1, 1).data].slice(0, 3);
  };
  const luminance = (rgb) => rgb.map((part) => part / 255)
    .map((part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4))
    .reduce((sum, part, at) => sum + part * [0.2126, 0.7152, 0.0722][at], 0);
  const grounds = (element) => {
    const found = [];
    for (let at = element; at; at = at.parentElement) found.unshift(getComputedStyle(at).backgroundColor);
    return found;
  };
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  const faint = [];
  let texts = 0;
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    if (!walker.currentNode.data.trim() || !element.checkVisibility() || element.closest(".unseen, noscript, option")) continue;
    texts++;
    const style = getComputedStyle(element);
    const behind = grounds(element);
    const colour = element.closest("svg") ? style.fill : style.color;
    const [one, other] = [luminance(over(behind)), luminance(over([...behind, colour]))].sort((a, b) => b - a);
    const size = parseFloat(style.fontSize);
    const large = size >= 24 || (size >= 18.66 && style.fontWeight >= 700);
    const contrast = (one + 0.05) / (other + 0.05);
    if (contrast < (large ? 3 : 4.5)) faint.push([walker.currentNode.data, contrast]);
  }
  return { texts, faint, light: luminance(over(grounds(document.body))) > 0.5 };
})()"""


@pytest.mark.parametrize(("width", "scheme"), [(390, "light"), (1280, "dark"), (1920, "light")])
def test_crowded(crowded, tab, width, scheme):
    """On every size of screen, by day and by night, all of it fits in breadth and stands out, however much there is and however long the names are."""
    tab.prefer(color_scheme=scheme)
    tab.resize(width, 900)
    enter(tab, crowded)
    long = "w" * 255
    for hash_, there in (
        (
            "#/",
            "document.querySelectorAll('#longest-held li, #longest-waits li').length === 20 && document.querySelector('#busy .pool')",
        ),
        ("#/many", "document.querySelectorAll('#selectors .row').length > 10"),
        ("#/crowd-000/A4", "document.querySelectorAll('#queue tbody tr').length === 20"),
        (f"#/{long}", "document.querySelectorAll('#selectors .row').length === 1"),
        (
            f"#/{long}/{long}",
            f"document.getElementById('holder')?.textContent === '{long}' && document.querySelector('#unit .tag')",
        ),
    ):
        tab.run(f"location.hash = '{hash_}'")
        tab.until(f"Boolean({there})")
        assert tab.run("document.documentElement.scrollWidth") == width, hash_
        assert tab.run(f"{WIDE}({width})") == [], hash_
        assert tab.run(SIDEWAYS) == [], hash_
        assert tab.run(FAINT)["faint"] == [], hash_
        assert tab.run("document.querySelectorAll('*').length") < 3000, hash_


#: Finds the panes and cards that would have to be scrolled sideways.
SIDEWAYS = """[...document.querySelectorAll('.pane, .card')]
  .filter((element) => element.checkVisibility() && element.scrollWidth > element.clientWidth).map(({ id }) => id)"""

#: Finds what can be seen and reaches over the edge of the screen, unless it is in something that scrolls or cuts off.
WIDE = """((width) => [...document.querySelectorAll('main *')].filter((element) => {
  if (!element.checkVisibility() || element.getBoundingClientRect().right <= width + 1) return false;
  for (let at = element.parentElement; at; at = at.parentElement) {
    if (getComputedStyle(at).overflowX !== 'visible' && at.getBoundingClientRect().right <= width + 1) return false;
  }
  return true;
}).map((element) => element.outerHTML.slice(0, 200)))"""


def test_telephone(daemon, tab):
    """On a narrow screen there is one step at a time, a link back, and nothing to scroll sideways."""
    contested(daemon, "telephone")
    tab.resize(360, 740)
    enter(tab, daemon, "telephone", "A4")
    tab.reads("#holder", "ci-7")
    shown = (
        "[...document.querySelectorAll('.pane')].filter((pane) => pane.checkVisibility()).map(({ id }) => id).join()"
    )
    fits = "document.documentElement.scrollWidth === 360"
    assert tab.run(f"[{shown}, {fits}]") == ["selector", True]
    tab.click("#selector .back")
    tab.until(f"{shown} === 'selectors,resource'")
    tab.reads("#selectors .list", "A4")
    assert tab.run(fits)
    tab.click("#selectors .back")
    tab.until(f"{shown} === 'resources,overview'")
    assert tab.run(fits)
    tab.click("#resources .row")
    tab.until(f"{shown} === 'selectors,resource'")


def test_reduced_motion(daemon, tab):
    """Who does not want things to move is not shown any that do."""
    contested(daemon, "still")
    enter(tab, daemon, "still", "A4")
    tab.reads("#holder", "ci-7")
    moving = "getComputedStyle(document.querySelector('.lease span')).transitionDuration"
    assert tab.run(moving) != "0s"
    tab.prefer(reduced_motion="reduce")
    tab.until(f"{moving} === '0s'")


# -- The hands of these tests


@pytest.mark.parametrize("use", [Tab.click, Tab.enter])
def test_made_anew(tab, use):
    """A button that is made anew before it is met is used again, and one that is made anew because of that is used once."""
    tab.run("""(() => {
      window.used = 0;
      const make = () => {
        const button = Object.assign(document.createElement("button"), { id: "anew", textContent: "Go" });
        button.onclick = () => { window.used += 1; make(); };
        document.body.replaceChildren(button);
      };
      make();
      for (const before of ["keydown", "mousedown"]) addEventListener(before, make, { once: true, capture: true });
    })()""")
    use(tab, "#anew")
    assert tab.run("window.used") == 1


# -- The parts


def test_pretty(daemon, tab):
    """Data is set in lines without being read: numbers, strings and repeated fields stay as they were written."""
    tab.open(address(daemon))
    for written in (
        '{"a":{},"b":[],"c":[[1],{"d":null}]}',
        '[1e400,-0,0.10,12345678901234567890,"\\"]}{[,: \\\\",{"a":1,"a":2}]',
        '"\\ud83d"',
        " \n[ ]\t",
        "true",
    ):
        shown = tab.run(f"import('/ui/text.js').then(({{ pretty }}) => pretty({json.dumps(written)}))")
        # Python's own way is the same, if it lets numbers and fields be.
        values = json.loads(written, parse_float=Verbatim, parse_int=Verbatim, object_pairs_hook=Fields)
        assert shown == lines(values), written


class Verbatim(str):
    """A number as it was written."""

    __slots__ = ()


class Fields(list[Any]):
    """An object as it was written, with repeated fields."""


def lines(value, indent=""):
    """Return the lines of a value, each item in one of its own."""
    if isinstance(value, Verbatim):
        return str(value)
    if not isinstance(value, list):
        return json.dumps(value)
    start, end = "{}" if isinstance(value, Fields) else "[]"
    deeper = indent + "  "
    items = [
        f"{json.dumps(item[0])}: {lines(item[1], deeper)}" if start == "{" else lines(item, deeper) for item in value
    ]
    return f"{start}\n{deeper}" + f",\n{deeper}".join(items) + f"\n{indent}{end}" if items else start + end


def test_order(daemon, tab):
    """Names are sorted as the server sorts them, by code points."""
    tab.open(address(daemon))
    names = [
        "",
        "A",
        "A4",
        "A4 ",
        "a",
        "\u00e9",
        "\ud7ff",
        "\ue000",
        "\uffee",
        "\uffee\U0001f5a8",
        "\U00010000",
        "\U0001f5a8",
        "\U0010ffff",
    ]
    assert names == sorted(names)
    sort = f"import('/ui/text.js').then(({{ byCodePoint }}) => {json.dumps(names[::-1])}.sort(byCodePoint))"
    assert tab.run(sort) == names


def test_events_in_pieces(daemon, tab):
    """The stream is understood however it is cut into pieces, and whatever its lines end with."""
    tab.open(address(daemon))
    stream = ': hello\n\nid: 7\n\nid: 8\nevent: grant\ndata: {"a":\ndata:1}\n\ndata\n\nid: 9\ndata: x\nfoo: bar\n\nid: 10\ndata: torn'
    expected = [["8", "grant", '{"a":\n1}'], ["8", "message", ""], ["9", "message", "x"]]
    for end in ("\n", "\r\n", "\r"):
        for size in (1, 2, 3, 1000):
            text = stream.replace("\n", end)
            pieces = [text[at : at + size] for at in range(0, len(text), size)]
            got = tab.run(
                f"import('/ui/stream.js').then(({{ Parser }}) => {{ const parser = new Parser();"
                f"const events = {json.dumps(pieces)}.flatMap((piece) => parser.push(piece));"
                "return [events.map(({ id, type, data }) => [id, type, data]), parser.lastEventId]; })"
            )
            assert got == [expected, "9"], (end, size)


def test_stream_goes_on(daemon, tab):
    """A stream that breaks off goes on after the last event that was whole; one that is refused for that begins anew."""
    tab.open(address(daemon))
    got = tab.run(
        """Promise.all([import('/ui/stream.js'), import('/ui/server.js')]).then(([{ Stream }, { Away, Refused }]) =>
        new Promise((resolve) => {
          const [asked, events, states] = [[], [], []];
          const event = (id) => `id: ${id}\\nevent: grant\\ndata: {"event": "grant", "id": ${id}}\\n\\n`;
          const answers = [
            () => new Response("id: 7\\n\\n" + event(8) + "id: 9\\nevent: grant\\ndata: {").body,
            () => { throw new Away("gone"); },
            () => new Response(event(9)).body,
            () => { throw new Refused(400, "bad_last_event_id", "no"); },
            () => new Response('id: 3\\nevent: reset\\ndata: {"reason": "new"}\\n\\n' + event(4)).body,
            () => { stream.stop(); resolve([asked, events, states]); return new Response("").body; },
          ];
          const server = { events: async (last) => { asked.push(last); return answers[asked.length - 1](); } };
          const stream = new Stream(
            server,
            ({ event, id }) => events.push(id ?? event),
            (open) => { states.push(open); if (!open) setTimeout(() => stream.hurry()); },
          );
          stream.start();
        }))"""
    )
    assert got[0] == ["", "8", "8", "9", "", "4"]
    assert got[1] == [8, 9, "reset", 4]
    assert got[2] == [True, False, False, True, False, False, True, False]


def test_spans(daemon, tab):
    """The picture is right about who held it, also where a grant or an end is not kept any more."""
    tab.open(address(daemon))
    events = [
        event(9, "grant", "c", 5, 40, 1),
        event(8, "break", "b", 4, 30, 5),
        event(7, "expiry", "d", 0, 29, 9),
        event(6, "write", "b", 4, 27, 2),
        event(5, "grant", "b", 4, 25, 0),
        event(4, "grant", "b", 3, 20, 0),
        event(3, "release", "a", 2, 10, 8),
    ]
    # What is known of the holder may be older than the newest event.
    for holder in ({"owner": "c", "fence": 5, "held": 2}, {"owner": "b", "fence": 4, "held": 4}):
        got = tab.run(
            f"import('/ui/spans.js').then(({{ spansOf }}) => spansOf({json.dumps(events)}, {json.dumps(holder)}, 42000)"
            ".map(({ owner, start, end, how, writes }) => [owner, start / 1000, end / 1000, how, writes.length]))"
        )
        assert got == [
            ["a", 2, 10, "release", 0],
            ["b", 20, 20, "unknown", 0],
            ["b", 25, 30, "break", 1],
            ["c", 40, 42, "now", 0],
        ]


def event(number, kind, owner, fence, at, seconds):
    return {
        "id": number,
        "at": f"1970-01-01T00:00:{at:02}.000Z",
        "event": kind,
        "owner": owner,
        "fence": fence,
        "seconds": seconds,
    }
