"""The published PHP client of the original server, at a real daemon: by its requests, and by PHP itself where that is installed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from secrets import token_hex
from tempfile import TemporaryDirectory
from threading import Thread
from typing import Any

import pytest

from tests.daemon import READ, WRITE, Daemon, eventually
from tests.php import PHPFactory
from tests.phpclient import Factory, Thrown

#: Daemons that it has to get along with: by what they keep, and by the way of its requests.
KINDS: dict[str, dict[str, str]] = {
    "as it comes": {},
    "in memory, reference path": {"RESOURCED_VOLATILE_LOCKS": "1", "RESOURCED_REFERENCE_PATH": "1"},
}


@pytest.fixture(scope="module", params=list(KINDS.values()), ids=list(KINDS))
def daemon(request, tmp_path_factory) -> Iterator[Daemon]:
    with Daemon(tmp_path_factory.mktemp("php"), request.param) as daemon:
        yield daemon


@pytest.fixture(params=["requests", "curl", "stream"])
def client(request) -> Iterator[Callable[..., Any]]:
    """Makes the client's factories, for a port, a key, and an address to come from."""
    if request.param == "requests":
        yield Factory
        return
    made: list[PHPFactory] = []

    def make(*arguments: Any) -> PHPFactory:
        made.append(PHPFactory(request.param, *arguments))
        return made[-1]

    yield make
    for factory in made:
        factory.close()


@pytest.fixture
def name() -> str:
    """A resource of the test's own."""
    return f"{token_hex(8)}/é"


def test_fresh_selector(daemon, client, name):
    """A new resource is locked, written and read, though its client throws at the first answer and never sees that ticket."""
    printer = client(daemon.port, WRITE).create_resource(name, 300)
    for _ in range(2):
        with pytest.raises(Thrown) as thrown:
            printer.get_data("order:17", lock=True)
        assert (thrown.value.status, printer.ticket) == (404, "")
    assert printer.lock_data("order:17")
    printer.write_data("order:17", {"n": [1.5, "é"]})
    assert printer.get_data("order:17", lock=True) == {"n": [1.5, "é"]}
    printer.unlock_data("order:17")
    assert printer.get_data("order:17", lock=False) == {"n": [1.5, "é"]}


def test_fresh_selector_of_others(daemon, client, name):
    """Another machine waits for a lock that was left behind."""
    printer = client(daemon.port, WRITE).create_resource(name, 300)
    with pytest.raises(Thrown):
        printer.get_data("A4", lock=True)
    assert not client(daemon.port, WRITE, "127.0.0.2").get_resource(name).lock_data("A4")
    assert printer.lock_data("A4")
    printer.write_data("A4", 1)


def test_queue(daemon, client, name):
    """Two share a lock: the second is told no, keeps its ticket, and has the lock when the first lets go."""
    factory = client(daemon.port, WRITE)
    first = factory.create_resource(name, 300)
    second = factory.get_resource(name)
    assert first.lock_data("A4")
    first.write_data("A4", None)
    assert not second.lock_data("A4")
    assert second.get_data("A4", lock=True) is None
    ticket = second.ticket
    first.unlock_data("A4")
    assert second.lock_data("A4")
    assert second.ticket == ticket
    second.unlock_data("A4")
    # It goes on with the ticket that it has let go with.
    assert second.lock_data("A4")
    assert second.ticket == ticket
    second.unlock_data("A4")


def test_one_ticket_for_good(daemon, name):
    """The ticket of an object works for the next lock, at other selectors too, and after the daemon was killed."""
    printer = Factory(daemon.port, WRITE).create_resource(name, 300)
    for selector in ("A4", "A5", "A4"):
        assert printer.lock_data(selector)
        printer.write_data(selector, selector)
        printer.unlock_data(selector)
    ticket = printer.ticket
    daemon.kill()
    daemon.start()
    if "RESOURCED_VOLATILE_LOCKS" in daemon.environ:
        # It may have lost a lock by that, so it is told first. A minute later it may begin again.
        with pytest.raises(Thrown) as thrown:
            printer.lock_data("A4")
        assert thrown.value.status == 410
        return
    assert printer.lock_data("A4")
    assert printer.ticket == ticket
    printer.write_data("A4", "again")
    printer.unlock_data("A4")


def test_lost_lock(daemon, name):
    """A lock that was lost is answered 410 whatever is asked with the ticket, also by a daemon that was killed since."""
    printer = Factory(daemon.port, WRITE).create_resource(name, 1)
    assert printer.lock_data("A4")
    lock = f"/resource/{name.replace('/é', '%2F%C3%A9')}/A4/lock"
    eventually(lambda: daemon.get(lock).json["holder"] is None)
    for _ in range(2):
        for ask in (
            lambda: printer.get_data("A4", lock=True),
            lambda: printer.lock_data("A4"),
            lambda: printer.write_data("A4", 1),
        ):
            with pytest.raises(Thrown) as thrown:
                ask()
            assert thrown.value.status == 410
        printer.unlock_data("A4")
        daemon.kill()
        daemon.start()


def test_held_open(tmp_path, client, name):
    """With ``RESOURCED_DEFAULT_WAIT`` the server waits for it, which it cannot ask for; who says that it would not, does not."""
    with Daemon(tmp_path, {"RESOURCED_DEFAULT_WAIT": "45"}) as daemon:
        factory = client(daemon.port, WRITE)
        first = factory.create_resource(name, 300)
        second = factory.get_resource(name)
        assert first.lock_data("A4")
        told: list[bool] = []
        waiting = Thread(target=lambda: told.append(second.lock_data("A4")))
        waiting.start()
        lock = f"/resource/{name.replace('/é', '%2F%C3%A9')}/A4/lock"
        eventually(lambda: daemon.get(lock).json["queue"])
        assert daemon.put(f"{lock}?wait=0", b"").status == 202
        assert daemon.request("PUT", lock, headers={"prefer": "wait=0"}).status == 202
        assert told == []
        first.unlock_data("A4")
        waiting.join()
        assert told == [True]


def test_differences(daemon, name):
    """What the docs say of the answers that differ from those of the original server."""
    held = f"/resource/{name.replace('/é', '%2F%C3%A9')}/held"
    fresh = held.replace("held", "fresh")
    daemon.create(name)
    holder = daemon.put(f"{held}/lock", b"", headers={"x-owner": "Ada"}).ticket
    assert daemon.put(held, "1", ticket=holder).status == 204
    for method, target, parts, status, told in (
        ("PUT", f"{held}/lock", {}, 202, {"locked": False, "position": 1}),
        ("GET", f"{fresh}?lock=0", {}, 404, None),
        ("GET", fresh, {}, 404, None),
        ("PUT", held, {"body": "2"}, 428, None),
        ("PUT", held, {"body": "2", "ticket": "f" * 32}, 410, None),
        ("PUT", fresh, {"body": "2", "ticket": holder}, 423, None),
        ("GET", held, {"key": READ}, 401, None),
        ("PUT", f"{held}/lock", {"key": READ}, 401, None),
        ("PUT", f"{held}/unlock", {"key": READ, "ticket": "f" * 32}, 200, {"unlocked": False}),
        ("PUT", f"{held}/unlock", {}, 428, None),
        ("GET", "/resource/nowhere/A4", {}, 404, None),
        ("POST", "/resource", {"body": "{"}, 400, None),
        ("POST", "/resource", {}, 400, None),
        ("POST", "/resource", {"body": '{"name": "text", "timeout": "300"}'}, 400, None),
        ("POST", "/resource", {"body": '{"name": "more", "lease": 300}'}, 400, None),
        ("PUT", held, {"body": "", "ticket": holder}, 400, None),
        ("PUT", held, {"body": "not JSON", "ticket": holder}, 400, None),
        ("GET", f"{held}?lock=yes", {}, 400, None),
        ("GET", f"{held}?look=1", {}, 400, None),
        ("PUT", held, {"body": f'"{"x" * (1 << 20)}"', "ticket": holder}, 413, None),
        ("PATCH", f"{held}/unlock", {}, 405, None),
        ("POST", f"{held}/lock", {"ticket": holder}, 200, {"locked": True}),
        ("GET", "/health", {"key": ""}, 200, {"health": "ok"}),
        # The lock is still there after all that, and is let go of in the same step only if that is wanted.
        ("PUT", f"{held}?unlock=1", {"body": "3", "ticket": holder}, 204, None),
        ("PUT", f"{held}/unlock", {"ticket": holder}, 200, {"unlocked": False}),
    ):
        answer = daemon.request(method, target, **parts)
        assert (answer.status, told is None or answer.json == told) == (status, True), (method, target, parts, answer)


def test_left_behind_by_a_proxy(tmp_path, name):
    """Behind a proxy that is trusted, a lock that was left behind is its client's; by a Unix socket it is that of whoever asks next."""
    settings = {"RESOURCED_TRUSTED_PROXIES": "127.0.0.1"}
    with Daemon(tmp_path, settings) as daemon:
        daemon.create("printer")
        fresh = "/resource/printer/A4"
        for client, status in (("192.0.2.1", 404), ("192.0.2.2", 202), ("192.0.2.1", 404), ("192.0.2.3", 202)):
            assert daemon.get(fresh, headers={"x-forwarded-for": client}).status == status
        assert daemon.put(f"{fresh}/lock", b"", headers={"x-forwarded-for": "192.0.2.1"}).status == 200
    with TemporaryDirectory() as folder, Daemon(tmp_path, listen=f"unix:{folder}/s") as daemon:
        fresh = "/resource/printer/A5"
        assert [daemon.get(fresh).status for _ in range(2)] == [404, 404]
        assert daemon.get(fresh, headers={"x-owner": "Ada"}).status == 202
        assert daemon.put(f"{fresh}/lock", b"").status == 200
