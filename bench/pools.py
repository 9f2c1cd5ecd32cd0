"""
What requests for several units cost.

    python -m bench.pools [--rounds 3] [--seconds 5] [--units 500] [--jobs 200] [--waiting 10000] [--store sqlite]

Everything is measured in turn within each round, and the ratios are those of one round. The rows:

``hand-over``   jobs that want 1 to 5 units by a tag, held for a moment each: from the release to the answer of the next job, beside the same of
                one lock by name that as many clients want, and that is let go of as often as a job gives its units back
``crowd``       one unit taken and given back by its tag, while very many requests with 50 other filters wait, beside the same with 10 of them
``all``         every one of 1,000 units in one request: the longest that another request has to wait meanwhile, in milliseconds
"""

from __future__ import annotations

import argparse
import itertools
import json
import multiprocessing
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from random import Random
from statistics import median

from bench import parked
from bench.clients import expect, request, shared_for, ticket_of
from bench.crowd import PATIENT
from bench.drive import Client, Kind, Tally, finish, http_answer, measure
from bench.load import quantile, ratio
from bench.servers import MARIADB
from tests.daemon import Daemon, eventually
from tests.mariadb import MariaDB

#: How many units a job wants at least, and at most.
WANTED = (1, 5)
#: Different filters of the requests that wait in a crowd.
FILTERS = 50
#: Between two requests of the client that takes all units, in seconds.
PAUSE = 0.05


def wants(resource: str, tag: str, count: object = 1) -> str:
    return json.dumps({"want": [{"resource": resource, "tags": [tag], "count": count}]})


def jobs(held: float) -> Callable[[Tally, int], Client]:
    """Make clients that wait for some units, hold them for a moment, and give them back."""

    def job(tally: Tally, number: int) -> Client:
        dice = Random(number)
        yield dice.uniform(0.0, held)
        while True:
            answer = yield request("POST", "/lock", body=wants("pool", "all", dice.randint(*WANTED)))
            ticket = f"x-ticket: {ticket_of(answer)}"
            waited = not answer.startswith(b"HTTP/1.1 200")
            while not answer.startswith(b"HTTP/1.1 200"):
                expect(b"202", answer)
                answer = yield request("POST", "/lock?wait=50", ticket)
            if waited:
                # From the last release on, whosever it was.
                tally.taken()
            yield held
            tally.releasing()
            expect(b"200", (yield request("POST", "/unlock", ticket)))
            tally.turn(number)

    return job


def take_one(tally: Tally, number: int) -> Client:
    """Take the unit of a tag that nobody else wants, and give it back."""
    ask = request("POST", "/lock", body=wants("pool", f"own{number}"))
    while True:
        answer = yield ask
        expect(b"200", answer)
        expect(b"200", (yield request("POST", "/unlock", f"x-ticket: {ticket_of(answer)}")))
        tally.turn(number)


class Stores:
    """Where each daemon of a round keeps its locks."""

    def __init__(self, kind: str, stack: ExitStack) -> None:
        self._kind = kind
        self._port = stack.enter_context(MariaDB(*MARIADB)).port if kind == "mariadb" else 0

    def settings(self, name: str) -> Mapping[str, str]:
        """Return the settings of a daemon, whose store is its own."""
        if self._kind == "mariadb":
            return {"RESOURCED_STORE": "mysql", "MYSQL_PORT": str(self._port), "MYSQL_DATABASE": f"resourced_{name}"}
        return {"RESOURCED_VOLATILE_LOCKS": "1"} if self._kind == "volatile" else {}


@contextmanager
def served(folder: Path, name: str, stores: Stores, units: int, tags: int = 0) -> Iterator[Daemon]:
    """Have a daemon with a pool; the first ``tags`` units have one more tag each, and nobody uses those of a ``filter``."""
    (folder / name).mkdir()
    with Daemon(folder / name, stores.settings(name), PATIENT) as daemon:
        daemon.create("bench")
        daemon.create("pool")
        for number in range(units):
            more = [f"own{number}"] if number < tags else []
            daemon.request("PATCH", f"/resource/pool/{number}", body=json.dumps({"tags": ["all", *more]}))
        yield daemon


def crowd(daemon: Daemon, waiting: int) -> None:
    """Let so many requests wait for units that somebody holds, by different filters."""
    for number in range(FILTERS):
        body = json.dumps({"tags": [f"filter{number}"]})
        daemon.request("PATCH", f"/resource/pool/busy{number}", body=body)
        daemon.post(f"/resource/pool/busy{number}/lock")
    numbers = itertools.count()

    def wait(_tally: Tally, number: int) -> Client:
        for _ in range(number, waiting, 32):
            body = wants("pool", f"filter{next(numbers) % FILTERS}")
            expect(b"202", (yield request("POST", "/lock", body=body)))

    finish(daemon.port, Kind(wait, http_answer), range(32))


def hand_over(port: int, client: Callable[[Tally, int], Client], clients: int, seconds: float) -> float:
    """Return the median of hand-overs, in milliseconds."""
    found = measure(port, Kind(client, http_answer), range(clients), seconds / 2, seconds)
    return quantile(sorted(found["handovers"]), 0.5)


def turns(port: int, seconds: float) -> float:
    """Return how often a second units are taken and given back, by four clients."""
    found = measure(port, Kind(take_one, http_answer), range(4), seconds / 4, seconds)
    return float(found["turns"])


def take_all(_tally: Tally, _number: int) -> Client:
    """Take every unit and give all back, with a pause after each, so that an answer is not waited for beside the next request."""
    ask = request("POST", "/lock", body=wants("pool", "all", "all"))
    while True:
        answer = yield ask
        expect(b"200", answer)
        yield PAUSE
        expect(b"200", (yield request("POST", "/unlock", f"x-ticket: {ticket_of(answer)}")))
        yield PAUSE


def keep_taking(port: int) -> None:
    """Take all units again and again, until this process is ended."""
    finish(port, Kind(take_all, http_answer), range(1))


def stall(daemon: Daemon, seconds: float) -> float:
    """Return the longest that a request waited while all units were taken and given back, in milliseconds."""
    # In a process of its own: a thread would keep the one that measures from its answers.
    taker = multiprocessing.get_context("spawn").Process(target=keep_taking, args=(daemon.port,), daemon=True)
    taker.start()
    try:
        eventually(lambda: daemon.get("/resource/pool/0/lock").json["locked"], what="all units are taken")
        return quantile(parked.lag(daemon, seconds), 1)
    finally:
        taker.kill()
        taker.join()


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m bench.pools", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=5.0, help="of each measurement")
    parser.add_argument("--units", type=int, default=500)
    parser.add_argument("--jobs", type=int, default=200)
    parser.add_argument("--waiting", type=int, default=10_000)
    parser.add_argument(
        "--held", type=float, default=2.0, help="seconds that a job holds its units: long, so that hand-overs are apart"
    )
    parser.add_argument("--all", type=int, default=1000, help="how many units are taken at once")
    parser.add_argument("--store", choices=["volatile", "sqlite", "mariadb"], default="sqlite")
    options = parser.parse_args()
    seconds = options.seconds
    # The one lock is held for as long as passes on average from one release of a job to the next.
    pause = options.held * (sum(WANTED) / 2) / options.units
    several, one, ratios, stalls = [], [], [], []
    for _ in range(options.rounds):
        # New daemons each time: whoever is measured leaves locks behind.
        with (
            tempfile.TemporaryDirectory(prefix="bench-") as place,
            ExitStack() as stack,
        ):
            stores = Stores(options.store, stack)
            # Alone on the machine, or the others would be waited for as well.
            with served(Path(place), "all", stores, options.all) as whole:
                stalls.append(stall(whole, seconds))
            pool, few, many = (
                stack.enter_context(served(Path(place), name, stores, units, tags))
                for name, units, tags in (("pool", options.units, 0), ("few", 8, 4), ("many", 8, 4))
            )
            crowd(few, 10)
            crowd(many, options.waiting)
            several.append(hand_over(pool.port, jobs(options.held), options.jobs, seconds))
            one.append(hand_over(pool.port, shared_for(pause), options.jobs, seconds))
            ratios.append(ratio(turns(few.port, seconds), turns(many.port, seconds)))
    ours = [ratio(mine, theirs) for mine, theirs in zip(several, one, strict=True)]
    print(f"hand-over of several, x one lock: {median(ours):.2f}  ({median(several):.2f} ms, {median(one):.2f} ms)")
    print(f"with {options.waiting} waiting, x as long as with 10: {median(ratios):.2f}")
    print(f"all of {options.all} units, longest wait of others: {median(stalls):.1f} ms")


if __name__ == "__main__":
    main()
