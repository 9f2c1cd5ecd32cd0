"""Which package may import which: the plan of the house, held against the import statements themselves."""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from twisted.trial.unittest import SynchronousTestCase

pytestmark = pytest.mark.trial

# Trial changes the directory before it runs the tests.
TESTS = Path(__file__).resolve().parent
HOUSE = TESTS.parent / "resourced"

#: The modules that stand beside the packages, but for those that put a program together: settings, values, errors.
TOP = "top"

#: What each package may import of the others, from the bottom to the top. A package includes its subpackages, but for those that have a row.
MAY_IMPORT = {
    TOP: set(),
    "storage.sql": {TOP},
    "storage": {TOP, "storage.sql"},
    "cluster": {TOP, "storage"},
    "locks.indexes": set(),
    "locks.pools": {TOP},
    "locks.journal": {TOP, "storage"},
    "locks.state": {TOP, "locks.indexes", "locks.pools", "locks.journal"},
    "locks": {TOP, "locks.state", "locks.journal"},
    "http": {TOP},
    "passing": {TOP, "http"},
    "auth": {TOP},
    "events": {TOP, "auth"},
    "metrics": {TOP, "storage.sql", "locks", "http", "events"},
    "api": {TOP, "storage", "cluster", "locks.state", "locks", "http", "passing", "auth", "events", "metrics"},
    "assembly": {
        TOP,
        "storage",
        "cluster",
        "locks.state",
        "locks.journal",
        "locks",
        "http",
        "passing",
        "auth",
        "events",
        "metrics",
        "api",
    },
    "service": {TOP, "storage.sql", "storage", "cluster", "locks.journal", "locks", "http", "auth", "events"},
    "calls": {TOP},
    "client": {TOP, "calls"},
    "cli": {TOP, "calls", "client"},
    "testing": {TOP, "storage", "http", "assembly", "client"},
}

#: What puts a program together may import everything.
PROGRAMS = {"tap", "pytest_plugin"}

#: Closer rules for some: all that they may import of ours outside their own package.
ONLY = {
    "calls": {"model", "addresses", "clock"},
    "client": {"calls", "model", "addresses", "clock", "connections"},
    "cli": {"calls", "client", "model", "addresses", "errors", "clock"},
    "pytest_plugin": {"client", "cli.settings", "testing"},
    "storage.sql.direct": {"storage.sql.mysql", "storage.sql.statement", "transitions"},
    "http.fast": {"http", "forwarded"},
}

#: From these modules of the key others take only the protocols: what stands behind them is for ``tap`` to choose.
ONLY_PROTOCOLS = {"api": {"storage.interface"}, "locks": {"storage.interface"}, "storage": {"storage.interface"}}

#: Packages and modules in which decisions are made, and what they come to by no way round.
PURE = (
    *(
        "errors",
        "model",
        "config",
        "settings",
        "quotas",
        "forwarded",
        "deferreds",
        "locks",
        "cluster",
        "partitions",
        "auth.keys",
        "events.feed",
        "api.etags",
    ),
    "storage.leader_lease",
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
WITH_SQL = ("storage", "service.guard", "service.move")
#: Upper case with what follows, so that an HTTP method or a word in a sentence is no statement.
SQL = re.compile(
    r"\b(SELECT\s|INSERT\s+INTO|REPLACE\s+INTO|UPDATE\s+\w+\s+SET|DELETE\s+FROM|(CREATE|ALTER|DROP)\s+TABLE|BEGIN\s+IMMEDIATE)"
)

MUTABLE = {"list", "dict", "set", "bytearray", "deque", "defaultdict", "OrderedDict", "Counter", "WeakValueDictionary"}


#: Who may take the reactor from the air, within a function: what puts a program together, and what is part of others' programs.
REACTOR = ("tap", "client")

#: The most lines of a module and of a class, and the most parameters of an ``__init__``.
LINES, CLASS_LINES, PARAMETERS = 400, 300, 9


def modules() -> dict[str, ast.Module]:
    """All modules of the house by their names in it; a package goes by its own name."""
    return {
        ".".join(part for part in path.relative_to(HOUSE).with_suffix("").parts if part != "__init__"): ast.parse(
            path.read_text()
        )
        for path in HOUSE.rglob("*.py")
    }


MODULES = modules()


def source(name: str) -> str:
    """Return the text of a module."""
    path = HOUSE.joinpath(*name.split("."))
    return (path / "__init__.py" if path.is_dir() else path.with_suffix(".py")).read_text()


def package(module: str) -> str:
    """The row of ``MAY_IMPORT`` that a module belongs to, or the module itself, if it puts a program together."""
    if module in PROGRAMS:
        return module
    return next((name for name in _prefixes(module) if name in MAY_IMPORT), TOP)


def _prefixes(dotted: str) -> list[str]:
    parts = dotted.split(".")
    return [".".join(parts[:length]) for length in range(len(parts), 0, -1)]


def imported(tree: ast.AST) -> Iterator[str]:
    """Every dotted name that is imported anywhere, within functions and under conditions too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute here"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def known(module: str) -> set[str]:
    """The modules of the house that a module imports directly."""
    ours = (dotted.removeprefix("resourced.") for dotted in imported(MODULES[module]) if within(dotted, ("resourced",)))
    return {next((name for name in _prefixes(dotted) if name in MODULES), "") for dotted in ours} - {"", module}


def too_large(name: str, tree: ast.Module, text: str = "") -> Iterator[str]:
    """What of a module is larger than it may be: ``module``, ``module:Class``, ``module:Class.__init__``."""
    if len((text or source(name)).splitlines()) > LINES:
        yield name
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            if node.end_lineno and node.end_lineno - node.lineno + 1 > CLASS_LINES:
                yield f"{name}:{node.name}"
            for made in node.body:
                if isinstance(made, ast.FunctionDef) and made.name == "__init__":
                    parameters = (*made.args.posonlyargs, *made.args.args, *made.args.kwonlyargs)
                    if len(parameters) - 1 > PARAMETERS:
                        yield f"{name}:{node.name}.__init__"


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
    def test_every_package_is_in_the_plan(self):
        """A package that the plan does not know is not there, and each says what it is for."""
        packages = {path.parent.name for path in HOUSE.glob("*/__init__.py")}
        self.assertEqual(packages, {name for name in MAY_IMPORT if "." not in name} - {TOP, "assembly"})
        for init in HOUSE.rglob("__init__.py"):
            self.assertTrue(ast.get_docstring(ast.parse(init.read_text())), init)

    def test_arrows(self):
        """No package imports one that it may not import."""
        for module in set(MODULES) - PROGRAMS - {""}:
            to = {package(other) for other in known(module)}
            self.assertEqual(to - MAY_IMPORT[package(module)] - {package(module)}, set(), module)

    def test_closer_rules(self):
        """Some may import even less."""
        for name, allowed in ONLY.items():
            for module in MODULES:
                if within(module, (name,)):
                    others = {other for other in known(module) if not within(other, (name, *allowed))}
                    self.assertEqual(others, set(), module)

    def test_nothing_points_up(self):
        """The plan has a bottom: a row imports only what stands above it in the table; and no module comes round to itself."""
        before: set[str] = set()
        for name, may_import in MAY_IMPORT.items():
            self.assertEqual(may_import - before, set(), name)
            before.add(name)
        left = {module: known(module) for module in MODULES}
        while left:
            settled = {module for module, others in left.items() if not others & set(left)}
            self.assertTrue(settled, f"in a circle: {sorted(left)}")
            left = {module: others for module, others in left.items() if module not in settled}

    def test_leaves(self):
        """The words that all share, the errors and the values, import nothing of ours but other values."""
        for name, values in {"errors": set(), "wants": set(), "model": {"wants"}}.items():
            self.assertEqual(known(name), values, name)

    def test_only_protocols(self):
        """Who imports a module for its protocols imports nothing else of it."""
        for name, interfaces in ONLY_PROTOCOLS.items():
            for module in MODULES:
                for interface in interfaces & known(module) if within(module, (name,)) else ():
                    protocols = {
                        node.name
                        for node in MODULES[interface].body
                        if isinstance(node, ast.ClassDef)
                        and any(ast.unparse(base) == "Protocol" for base in node.bases)
                    }
                    start = f"resourced.{interface}."
                    taken = {
                        dotted.removeprefix(start) for dotted in imported(MODULES[module]) if dotted.startswith(start)
                    }
                    self.assertTrue(taken, f"{module} imports {interface} whole")
                    self.assertEqual(taken - protocols, set(), f"{module} from {interface}")

    def test_plugin_knows_nobody(self):
        """twistd imports every plugin at each start: ours imports nothing of the house."""
        tree = ast.parse((HOUSE.parent / "twisted" / "plugins" / "resourced_plugin.py").read_text())
        self.assertEqual(list(imported(tree)), ["twisted.application.service.ServiceMaker"])

    def test_no_package_of_twisted(self):
        """An ``__init__.py`` beside the plugin would hide Twisted itself."""
        self.assertEqual(list((HOUSE.parent / "twisted").rglob("__init__.py")), [])


class SizeTests(SynchronousTestCase):
    def test_sizes(self):
        """A module, a class and what makes an object are small enough to be read at once."""
        self.assertEqual({what for name, tree in MODULES.items() for what in too_large(name, tree)}, set())

    def test_what_is_too_large(self):
        """What is as large as allowed passes, and what is larger by one does not."""
        parameters = [f"p{number}" for number in range(PARAMETERS + 1)]
        for more in (0, 1):
            few, many = ", ".join(parameters[: PARAMETERS - 1 + more]), "    x = 1\n" * (CLASS_LINES - 1 + more)
            text = f"class A:\n    def __init__(self, {few}, *, last): ...\nclass B:\n{many}"
            text += "# More.\n" * (LINES + more - len(text.splitlines()))
            expected = ["m", "m:A.__init__", "m:B"] if more else []
            self.assertEqual(sorted(too_large("m", ast.parse(text), text)), expected)


class PurityTests(SynchronousTestCase):
    def test_what_decides_is_pure(self):
        """What decides comes to no framework, driver, reactor, clock or environment, not through each other either."""
        for name in PURE:
            reached: set[str] = set()
            waiting = [module for module in MODULES if within(module, (name,))]
            self.assertTrue(waiting, name)
            while waiting:
                module = waiting.pop()
                if module not in reached:
                    reached.add(module)
                    waiting.extend(known(module))
            everything = {dotted for module in reached for dotted in imported(MODULES[module])}
            self.assertEqual({dotted for dotted in everything if within(dotted, IMPURE)}, set(), name)

    def test_calls_without_twisted(self):
        """A command that asks and ends must not wait for Twisted to be imported."""
        for name, tree in MODULES.items():
            if within(name, ("calls",)):
                heavy = {dotted for dotted in imported(tree) if within(dotted, ("twisted", "zope", "treq", "asyncio"))}
                self.assertEqual(heavy, set(), name)

    def test_reactor_enters_at_tap(self):
        """Nobody takes the reactor from the air when it is imported, and hardly anybody later."""
        for name, tree in MODULES.items():
            self.assertNotIn(
                "twisted.internet.reactor", {dotted for node in at_import(tree) for dotted in _imports_of(node)}, name
            )
            if not within(name, REACTOR):
                self.assertNotIn("twisted.internet.reactor", set(imported(tree)), name)

    def test_command_line_of_its_own(self):
        """Nothing but ``resourcectl`` needs the library for its command line: the daemon runs without it."""
        for name, tree in MODULES.items():
            if not within(name, ("cli",)):
                self.assertEqual([dotted for dotted in imported(tree) if within(dotted, ("click",))], [], name)

    def test_no_mutable_globals(self):
        """No module keeps anything that could change: what it holds is constant, and nothing is declared global."""
        for name, tree in MODULES.items():
            changing = [node.lineno for node in tree.body if _is_mutable_global(node)]
            self.assertEqual(changing, [], f"{name}: lines")
            self.assertEqual([n.lineno for n in ast.walk(tree) if isinstance(n, ast.Global)], [], f"{name}: lines")

    def test_sql_in_one_place(self):
        """SQL is written in the store, and in what it stands on, and nowhere else."""
        for name, tree in MODULES.items():
            if within(name, WITH_SQL):
                continue
            statements = [
                node.value
                for node in ast.walk(tree)
                if isinstance(node, ast.Constant) and isinstance(node.value, str) and SQL.search(node.value)
            ]
            self.assertEqual(statements, [], name)

    def test_names_of_tests(self):
        """Each module of tests has a name of its own, whatever its folder: two of one name cannot be run together."""
        names = Counter(path.name for path in TESTS.rglob("test_*.py"))
        self.assertEqual([name for name, count in names.items() if count > 1], [])

    def test_what_tests_share(self):
        """No test imports another one: what they share is in modules that are no tests."""
        for path in TESTS.rglob("*.py"):
            tests = [name for name in imported(ast.parse(path.read_text())) if re.match(r"tests\.(.*\.)?test_", name)]
            self.assertEqual(tests, [], path)


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
