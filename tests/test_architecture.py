"""Which room may know which: the plan of the house, held against the import statements themselves."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from twisted.trial.unittest import SynchronousTestCase

pytestmark = pytest.mark.trial

# Trial changes the directory before it runs the tests.
HOUSE = Path(__file__).resolve().parent.parent / "resourced"

#: What each room may import of the others; everyone may know ``errors`` and ``model``, which know nobody.
#: A new room must be entered here, and its place in the plan be thought about.
MAY_KNOW = {
    "__init__": set(),
    "errors": set(),
    "model": set(),
    "config": {"forwarded"},
    "quotas": set(),
    "auth": {"quotas"},
    "precondition": set(),
    "restoration": {"locks"},
    "keyfile": {"auth", "quotas"},
    "keycommand": {"auth", "keyfile", "quotas"},
    "move": {"batches", "dialect", "guard", "lease", "migration"},
    "checkup": {"auth", "config", "dialect", "guard", "keyfile", "migration"},
    "waiting": set(),
    "index": set(),
    "lockqueue": {"index", "quotas", "waiting"},
    "tickets": {"lockqueue"},
    "deadlocks": {"lockqueue"},
    "alarms": set(),
    "losses": set(),
    "pauses": set(),
    "locktable": {"alarms", "deadlocks", "lockqueue", "losses", "pauses", "quotas", "tickets"},
    "locks": {"lockqueue", "locktable", "pauses", "quotas", "waiting"},
    "condition": set(),
    "statement": set(),
    "identity": set(),
    "errnos": {"condition"},
    "dialect": {"condition", "config", "errnos", "identity", "statement", "tls"},
    "tls": {"config"},
    "takeover": set(),
    "migration": {"dialect", "takeover"},
    "workers": set(),
    "packets": set(),
    "line": {"dialect", "statement"},
    "courier": {"dialect", "line", "packets", "statement"},
    "pool": {"condition", "courier", "dialect", "statement", "workers"},
    "database": {"condition", "courier", "dialect", "durability", "identity", "migration", "pool"},
    "durability": {"dialect", "identity"},
    "batches": {"statement"},
    "store": set(),
    "sqlstore": {"batches", "database", "pool", "statement", "waiting"},
    "ciphers": set(),
    "lease": set(),
    "cache": {"lease", "store"},
    "journal": {"lease", "locktable", "store", "waiting"},
    "flow": set(),
    "forwarded": set(),
    "channel": {"flow", "forwarded", "jsontext"},
    "metrics": {"channel", "quotas"},
    "exposition": set(),
    "scrape": {"answers", "auth", "exposition", "locks", "routes", "store"},
    "gauges": {"config", "database", "locks", "metrics", "site", "stream"},
    "lag": set(),
    "routing": {"channel"},
    "site": {"channel", "flow", "forwarded", "routing"},
    "jsontext": set(),
    "parse": {"auth", "jsontext", "precondition"},
    "answers": {"channel", "jsontext", "locks"},
    "apiparts": set(),
    "apidoc": {"answers", "apiparts", "routes"},
    "routes": {"answers", "auth", "locks", "parse", "routing", "store"},
    "page": {"answers", "parse", "routes"},
    "web": {"answers", "auth", "jsontext", "locks", "parse", "routes", "store", "waiting"},
    "steering": {"answers", "auth", "locks", "parse", "routes", "waiting"},
    "history": {"auth", "jsontext"},
    "stream": {"quotas", "waiting"},
    "timeline": {
        *("answers", "auth", "history", "jsontext", "locks", "parse", "routes", "store", "stream"),
    },
    "express": {"channel", "forwarded", "head", "poller", "site"},
    "poller": set(),
    "head": {"channel", "routing"},
    "dispatch": {"site", "waiting"},
    "client": {"clock"},
    "testing": {
        *("auth", "client", "history", "journal", "locks", "locktable", "routes", "routing", "site", "steering"),
        *("stream", "timeline", "web"),
    },
    "pytest_plugin": {"client", "testing"},
    "cli": {"client", "clock"},
    "clock": set(),
    "guard": {"dialect", "identity", "journal", "lease", "store"},
    "election": {"database", "guard", "journal", "lease", "store"},
    "standby": {"answers"},
    "housekeeping": set(),
    "retention": {"store"},
    "logs": set(),
    "systemd": set(),
    "daemon": {
        *(
            "database",
            "election",
            "guard",
            "housekeeping",
            "journal",
            "keyfile",
            "locks",
            "site",
            "store",
            "stream",
            "systemd",
        )
    },
    "tap": {
        *(
            "apidoc",
            "auth",
            "cache",
            "channel",
            "ciphers",
            "checkup",
            "clock",
            "config",
            "daemon",
            "database",
            "dialect",
            "dispatch",
            "election",
            "exposition",
            "express",
            "gauges",
            "guard",
            "history",
        ),
        *(
            "housekeeping",
            "journal",
            "keycommand",
            "keyfile",
            "lag",
            "lease",
            "locks",
            "locktable",
            "logs",
            "metrics",
            "move",
            "page",
            "quotas",
            "pauses",
            "restoration",
            "retention",
            "routes",
            "scrape",
            "site",
            "standby",
            "steering",
            "sqlstore",
            "store",
            "stream",
            "systemd",
            "tickets",
            "timeline",
            "web",
        ),
    },
}

#: Of these, only the protocols: what stands behind them is for ``tap`` to choose.
ONLY_PROTOCOLS = {
    ("routes", "store"),
    ("timeline", "store"),
    ("web", "store"),
    ("cache", "store"),
    ("journal", "store"),
    ("journal", "locktable"),
    ("scrape", "store"),
}

PURE = (
    "errors",
    "model",
    "config",
    "auth",
    "precondition",
    "waiting",
    "lease",
    "index",
    "alarms",
    "lockqueue",
    "tickets",
    "deadlocks",
    "locktable",
    "locks",
    "history",
)
IMPURE = (
    "klein",
    "werkzeug",
    "treq",
    "pymysql",
    "sqlite3",
    "twisted.application",
    "twisted.enterprise",
    "twisted.internet.reactor",
    "twisted.internet.threads",
    "twisted.web",
    "os",
    "socket",
    "time",
)

#: The store and what it stands on; and the guard, which asks the MySQL server for a lock of its own.
WITH_SQL = {"batches", "sqlstore", "database", "dialect", "line", "migration", "move", "takeover", "guard"}
#: Upper case with what follows, so that an HTTP method or a word in a sentence is no statement.
SQL = re.compile(
    r"\b(SELECT\s|INSERT\s+INTO|REPLACE\s+INTO|UPDATE\s+\w+\s+SET|DELETE\s+FROM|(CREATE|ALTER|DROP)\s+TABLE|BEGIN\s+IMMEDIATE)"
)

MUTABLE = {"list", "dict", "set", "bytearray", "deque", "defaultdict", "OrderedDict", "Counter", "WeakValueDictionary"}


#: Who may take the reactor from the air, within a function: what puts a program together, and what is part of others' programs.
REACTOR = {"tap", "client"}


def parse(name: str) -> ast.Module:
    """A room, which may be a package: then all that stands in it."""
    single = HOUSE / f"{name}.py"
    paths = [single] if single.exists() else sorted((HOUSE / name).glob("*.py"))
    return ast.Module([node for path in paths for node in ast.parse(path.read_text()).body], [])


def rooms() -> list[str]:
    return sorted(
        {path.stem for path in HOUSE.glob("*.py")} | {path.parent.name for path in HOUSE.glob("*/__init__.py")}
    )


def imported(tree: ast.AST) -> Iterator[str]:
    """Every dotted name that is imported anywhere, within functions and under conditions too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute here"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def known(name: str) -> set[str]:
    """The rooms that a room imports directly."""
    parts = [dotted.split(".") for dotted in imported(parse(name))]
    return {part[1] for part in parts if part[0] == "resourced" and len(part) > 1} - {name}


def at_import(tree: ast.Module) -> Iterator[ast.AST]:
    """What is run when the module is imported: everything but the bodies of functions."""
    waiting: list[ast.AST] = [tree]
    while waiting:
        node = waiting.pop()
        yield node
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            waiting.extend(ast.iter_child_nodes(node))


def within(dotted: str, packages: tuple[str, ...]) -> bool:
    return any(f"{dotted}.".startswith(f"{package}.") for package in packages)


class ArrowTests(SynchronousTestCase):
    def test_every_room_is_in_the_plan(self):
        """A room that the plan does not know is not there."""
        self.assertIn("tap", rooms())
        self.assertEqual(set(rooms()) - set(MAY_KNOW), set())

    def test_arrows(self):
        """No room imports one that it may not know."""
        for name in rooms():
            self.assertEqual(known(name) - MAY_KNOW.get(name, set()) - {"errors", "model"}, set(), name)

    def test_nothing_points_up(self):
        """The plan itself has a bottom: no room comes, by whatever way round, to know itself."""
        left = dict(MAY_KNOW)
        while left:
            settled = {name for name, may_know in left.items() if not may_know & set(left)}
            self.assertTrue(settled, f"in a circle: {sorted(left)}")
            left = {name: may_know for name, may_know in left.items() if name not in settled}

    def test_leaves(self):
        """The words that all share, the errors and the values, know no room."""
        for name in ("errors", "model"):
            self.assertEqual(known(name), set(), name)

    def test_only_protocols(self):
        """Who may know a room for its protocol imports nothing else of it."""
        for importer, room in ONLY_PROTOCOLS & {(name, other) for name in rooms() for other in known(name)}:
            protocols = {
                node.name
                for node in parse(room).body
                if isinstance(node, ast.ClassDef) and any(ast.unparse(base) == "Protocol" for base in node.bases)
            }
            taken = {
                dotted.split(".")[2] for dotted in imported(parse(importer)) if dotted.startswith(f"resourced.{room}.")
            }
            self.assertTrue(taken, f"{importer} imports {room} whole")
            self.assertEqual(taken - protocols, set(), f"{importer} from {room}")

    def test_plugin_knows_nobody(self):
        """twistd imports every plugin at each start: ours imports nothing of the house."""
        tree = ast.parse((HOUSE.parent / "twisted" / "plugins" / "resourced_plugin.py").read_text())
        self.assertEqual(list(imported(tree)), ["twisted.application.service.ServiceMaker"])

    def test_no_package_of_twisted(self):
        """An ``__init__.py`` beside the plugin would hide Twisted itself."""
        self.assertEqual(list((HOUSE.parent / "twisted").rglob("__init__.py")), [])


class PurityTests(SynchronousTestCase):
    def test_pure_rooms(self):
        """The pure rooms come to no framework, driver, reactor, clock or environment, not through each other either."""
        for name in PURE:
            reached: set[str] = set()
            waiting = [name]
            while waiting:
                room = waiting.pop()
                if room not in reached:
                    reached.add(room)
                    waiting.extend(known(room))
            everything = {dotted for room in reached for dotted in imported(parse(room))}
            self.assertEqual({dotted for dotted in everything if within(dotted, IMPURE)}, set(), name)

    def test_reactor_enters_at_tap(self):
        """Nobody takes the reactor from the air when it is imported, and hardly anybody later."""
        for name in rooms():
            tree = parse(name)
            self.assertNotIn(
                "twisted.internet.reactor", {dotted for node in at_import(tree) for dotted in _imports_of(node)}, name
            )
            if name not in REACTOR:
                self.assertNotIn("twisted.internet.reactor", set(imported(tree)), name)

    def test_command_line_of_its_own(self):
        """Nothing but ``resourcectl`` needs the library for its command line: the daemon runs without it."""
        for name in set(rooms()) - {"cli"}:
            self.assertEqual([dotted for dotted in imported(parse(name)) if within(dotted, ("click",))], [], name)

    def test_no_mutable_globals(self):
        """No module keeps anything that could change: what it holds is constant, and nothing is declared global."""
        for name in rooms():
            tree = parse(name)
            changing = [node.lineno for node in tree.body if _is_mutable_global(node)]
            self.assertEqual(changing, [], f"{name}: lines")
            self.assertEqual([n.lineno for n in ast.walk(tree) if isinstance(n, ast.Global)], [], f"{name}: lines")

    def test_sql_in_one_place(self):
        """SQL is written in the store, and in what it stands on, and nowhere else."""
        for name in set(rooms()) - WITH_SQL:
            statements = [
                node.value
                for node in ast.walk(parse(name))
                if isinstance(node, ast.Constant) and isinstance(node.value, str) and SQL.search(node.value)
            ]
            self.assertEqual(statements, [], name)


def _imports_of(node: ast.AST) -> list[str]:
    return list(imported(node)) if isinstance(node, ast.Import | ast.ImportFrom) else []


def _is_mutable_global(node: ast.stmt) -> bool:
    if not isinstance(node, ast.Assign | ast.AnnAssign) or node.value is None:
        return False
    if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
        return False
    if isinstance(node, ast.AnnAssign) and re.search(
        r"\b(Mapping|Sequence|Collection)\[", ast.unparse(node.annotation)
    ):
        # The type checker lets nobody change it.
        return not ast.unparse(node.target).isupper()
    value = node.value
    if isinstance(value, ast.Call):
        return ast.unparse(value.func).split(".")[-1].split("[")[0] in MUTABLE
    return isinstance(value, ast.List | ast.Dict | ast.Set | ast.ListComp | ast.DictComp | ast.SetComp)
