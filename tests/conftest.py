"""
What holds for every test: it ends in time, and it leaves nothing behind.

* An async test that hangs is ended after two minutes, all its hypothesis examples included; ``@pytest.mark.deadline(300)`` gives
  more. This finds what hangs, not what is slow: a busy machine never makes a test fail.
* A failure that was logged, or sat unheard in a Deferred, fails the test. One that a test provokes on purpose is taken
  back with ``logged_failures.flush(SomeError)``; a trial ``SynchronousTestCase`` has ``self.flushLoggedErrors`` for it.
  A Deferred that was in use when its test ended, and is dropped later, fails the last test of all, or of this worker.
* A call still due in the reactor fails the test, after some seconds of grace for connections that are just being closed.
"""

from __future__ import annotations

import functools
import gc
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import pytest_twisted
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.logger import ILogObserver, LogEvent, globalLogPublisher
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

import tests.examples  # noqa: F401 - it sets hypothesis up

# These are tests, though what collects them are other modules.
pytest.register_assert_rewrite("tests.storage.contract", "tests.storage.node_contract")

#: Seconds that a test may take, and that what it leaves in the reactor may.
DEADLINE, GRACE = 120.0, 10.0


def pytest_configure(config: pytest.Config) -> None:
    # What the collection makes stays: to look through it again and again would take a third of its time.
    gc.disable()
    config.addinivalue_line("markers", "deadline(seconds): how long an async test may take, if not two minutes")
    config.addinivalue_line(
        "markers", "trial: the module is trial's as much as pytest's, must pass under either, and is run under trial"
    )
    config.addinivalue_line(
        "markers", "reference_path: the module sees the wire, and must pass on the reference path too"
    )
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):
        if signal.getsignal(number) is signal.SIG_IGN:
            # The tests run in the background, or without a terminal, and so would all programs that they start. This is ignored here only.
            signal.signal(number, lambda *_: None)


#: The modules that take longest. They come first, so that nobody has to wait for one of them in the end.
LONGEST = (
    "test_docs",
    "test_torture",
    "test_ui",
    "test_axe",
    "test_packaging",
    "test_store",
    "test_mysql9",
    "test_migration",
    "test_process",
    "test_faults",
    "test_server_identity_daemon",
    "test_attack",
    "test_committer",
    "test_resourcectl_nested",
    "test_site",
    "test_client_faces",
    "test_galera_leader",
    "test_resourcectl_pools",
    "test_resourcectl_run",
    "test_bench",
    "test_cluster_simulation",
    "test_resourcectl",
    "test_guard",
    "test_wall_clock",
    "test_executor",
    "test_checkup",
    "test_conftest",
    "test_preloaded",
    "test_streams",
    "test_units",
    "test_php",
    "test_paused_process",
    "test_legacy_import",
    "test_cluster",
    "test_keys",
    "test_client_locks_daemon",
    "test_admin_daemon",
    "test_kept_events",
    "test_galera_node",
    "test_outage",
    "test_passing_daemons",
    "test_move",
    "test_prometheus",
    "test_workers",
)


def check_markers(item: pytest.Item) -> None:
    """
    Check that the module of a test has the markers by which it is run under trial and on the reference path.

    :raises pytest.UsageError: it has not, or should not.
    """
    kind = getattr(item, "cls", None)
    unit = kind is not None and issubclass(kind, SynchronousTestCase)
    marked = {mark.name for mark in item.iter_markers()}
    if unit != ("trial" in marked):
        raise pytest.UsageError(f"{item.path.name} must {'' if unit else 'not '}have the marker trial")
    if hasattr(getattr(item, "module", None), "STOCK") and "reference_path" not in marked:
        raise pytest.UsageError(f"{item.path.name} must have the marker reference_path")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        check_markers(item)
    items.sort(key=lambda item: LONGEST.index(item.path.stem) if item.path.stem in LONGEST else len(LONGEST))


def collect() -> None:
    """
    Collect what is no longer in use, so that failures that nobody heard are logged.

    What is in use is not looked at again until the end, by ``left_in_the_end``: a collection after each test, or each module, that goes
    through everything that is loaded would take a tenth of the time of the whole suite. Only cyclic garbage has to wait for that; all else goes
    when it is dropped.
    """
    gc.collect()
    gc.freeze()


def pytest_collection_finish() -> None:
    collect()
    gc.enable()


def limited(test: Callable[..., Any], seconds: float) -> Callable[..., Any]:
    """Wrap a test so that what it waits for is cancelled some seconds from now. A test that waits for nothing stays as it is."""
    from twisted.internet import reactor

    end = reactor.seconds() + seconds

    @functools.wraps(test)
    def within_deadline(*args: Any, **kwargs: Any) -> Any:
        outcome = test(*args, **kwargs)
        if hasattr(outcome, "__await__") and not isinstance(outcome, Deferred):
            outcome = Deferred.fromCoroutine(outcome)
        if isinstance(outcome, Deferred):
            outcome.addTimeout(max(0.0, end - reactor.seconds()), reactor)
        return outcome

    return within_deadline


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> None:
    marker = pyfuncitem.get_closest_marker("deadline")
    seconds = marker.args[0] if marker else DEADLINE
    hypothesis = getattr(pyfuncitem.obj, "hypothesis", None)
    if hypothesis is None:
        pyfuncitem.obj = limited(pyfuncitem.obj, seconds)
    else:
        # pytest-twisted comes next and puts its own wrapper here; the next parameter must not wrap that one again.
        test = vars(hypothesis).setdefault("unwrapped_test", hypothesis.inner_test)
        hypothesis.inner_test = limited(test, seconds)


@implementer(ILogObserver)
class LoggedFailures:
    """The failures that were logged since the test began and that nobody expected."""

    def __init__(self) -> None:
        self.failures: list[Failure] = []

    def __call__(self, event: LogEvent) -> None:
        failure = event.get("log_failure")
        if failure is not None:
            self.failures.append(failure)

    def flush(self, *kinds: type[BaseException]) -> list[Failure]:
        """Take back and return the failures of these kinds, or all of them; call it for what the test provoked."""
        # A Deferred logs the failure that it holds when it is collected.
        gc.collect()
        flushed = [failure for failure in self.failures if not kinds or failure.check(*kinds)]
        self.failures = [failure for failure in self.failures if failure not in flushed]
        return flushed


@contextmanager
def none_logged() -> Iterator[LoggedFailures]:
    """Fail if a failure is logged meanwhile and not flushed."""
    observer = LoggedFailures()
    globalLogPublisher.addObserver(observer)
    try:
        yield observer
    finally:
        globalLogPublisher.removeObserver(observer)
    if observer.failures:
        pytest.fail("logged failures:\n" + "\n".join(failure.getTraceback() for failure in observer.failures))


@pytest.fixture(autouse=True)
def logged_failures(request: pytest.FixtureRequest) -> Iterator[LoggedFailures]:
    with none_logged() as observer:
        yield observer
        if isinstance(request.instance, SynchronousTestCase):
            # Trial has judged these itself; what is left are Deferreds that nobody holds any more.
            observer.failures.clear()
        collect()


@pytest.fixture(scope="module", autouse=True)
def left_by_module() -> Iterator[None]:
    """Look for failures once more when all fixtures of a module are gone."""
    yield
    with none_logged():
        collect()


@pytest.fixture(scope="session", autouse=True)
def left_in_the_end() -> Iterator[None]:
    """Look for failures also in what has come out of use since ``collect`` saw it in use."""
    yield
    with none_logged():
        gc.unfreeze()
        collect()


@pytest.fixture(autouse=True)
def clean_reactor(logged_failures: LoggedFailures) -> Iterator[None]:
    from twisted.internet import reactor

    # What was due before, also when it comes round again, belongs to a fixture that outlives the test.
    before = [call.func for call in reactor.getDelayedCalls()]  # type: ignore[attr-defined]
    yield
    end = reactor.seconds() + GRACE
    while left := [call for call in reactor.getDelayedCalls() if call.func not in before]:  # type: ignore[attr-defined]
        if reactor.seconds() > end:
            break
        pytest_twisted.blockon(deferLater(reactor, 0.01))
    else:
        return
    for call in left:
        call.cancel()
    pytest.fail("still due in the reactor:\n" + "\n".join(map(str, left)))
