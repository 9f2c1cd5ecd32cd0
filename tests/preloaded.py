"""
Starts ``resourced``, ``resourcectl`` and programs of the tests as forks of a process that has imported them already.

What it is: a process of its own for each start, with a pid, signals, streams, an exit status and an end as any other. It runs the same
function as the command does. It begins after the imports, which take most of the processor time of a short life.

What it is not: the start itself. The interpreter, the command's file and the imports are those of the parent. So tests of the start, such as
of an installed package, of ``twistd`` or of what a service manager does, start the command itself. So does ``start`` where a process is to have
variables of the interpreter (``PYTHON...``), and everywhere with ``TESTS_EXEC=1``.

A process that forks for others has one thread, no reactor and no connection. It ends when the process does that asked for it.
"""

from __future__ import annotations

import atexit
import functools
import gc
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any, Final

RESOURCED: Final = (str(Path(sys.executable).with_name("resourced")),)
RESOURCECTL: Final = (str(Path(sys.executable).with_name("resourcectl")),)
#: The daemon without some of its safeguards, which the next argument names.
UNFENCED: Final = (sys.executable, str(Path(__file__).with_name("unfenced.py")))
#: The daemon without a part of its fast path, which the next argument names.
WITHOUT: Final = (sys.executable, str(Path(__file__).parent.with_name("bench") / "without.py"))
TORTURE_CLIENT: Final = (sys.executable, "-m", "tests.torture.client")
#: A program for users of the client, whose text is the next argument.
PROGRAM: Final = (sys.executable, str(Path(__file__).with_name("program.py")))
#: By how a command begins, the module with its ``main``, and others that this imports when it runs.
COMMANDS: Final[Mapping[tuple[str, ...], tuple[str, ...]]] = {
    RESOURCED: ("resourced.tap",),
    RESOURCECTL: ("resourced.cli.start", "resourced.cli.app", "resourced.cli.running"),
    UNFENCED: ("tests.unfenced",),
    WITHOUT: ("bench.without",),
    TORTURE_CLIENT: ("tests.torture.client",),
    PROGRAM: ("tests.program", "resourced.client.blocking", "resourced.client.loop", "resourced.testing"),
}
#: More than any request or answer has: arguments and variables.
LARGE: Final = 1 << 17
#: Variables that the interpreter reads when it starts.
LOCALE: Final = ("LANG", "LC_ALL", "LC_CTYPE")


def start(command: Sequence[str], *, cwd: Path, env: Mapping[str, str], **streams: Any) -> subprocess.Popen[Any]:
    """
    Start a command, as ``subprocess.Popen`` does.

    :param streams: ``stdin``, ``stdout``, ``stderr`` and whether they are ``text``; with anything else the command itself is started.
    """
    beginning = next((known for known in COMMANDS if known == tuple(command[: len(known)])), ())
    forked = (
        beginning
        and not any(name.startswith("PYTHON") for name in env)
        and streams.keys() <= {"stdin", "stdout", "stderr", "text"}
        and os.environ.get("TESTS_EXEC", "0") in {"", "0"}
    )
    if not forked:
        return subprocess.Popen(command, cwd=cwd, env=env, **streams)
    locale = tuple((name, env[name]) for name in LOCALE if name in env)
    return _Fork(_parent(beginning, locale), command, cwd=cwd, env=env, **streams)


def run(
    command: Sequence[str], *, cwd: Path, env: Mapping[str, str], timeout: float, stdout: int = subprocess.PIPE
) -> subprocess.CompletedProcess[str]:
    """Start a command, and wait for its end, as ``subprocess.run`` does."""
    with start(command, cwd=cwd, env=env, stdout=stdout, stderr=subprocess.PIPE, text=True) as process:
        try:
            printed, said = process.communicate(timeout=timeout)
        except BaseException:
            process.kill()
            raise
    return subprocess.CompletedProcess(command, process.returncode, printed, said)


class _Fork(subprocess.Popen[Any]):
    """A process that is a child not of this one, but of one that forks for it."""

    def __init__(self, parent: _Parent, *arguments: Any, **settings: Any) -> None:
        self._parent = parent
        super().__init__(*arguments, **settings)

    def _execute_child(self, *arguments: Any) -> None:
        # Called by the constructor, instead of forking; see the class in the standard library.
        args, cwd, env, pipes = arguments[0], arguments[5], arguments[6], arguments[10:16]
        stdin, _, _, stdout, _, stderr = pipes
        order = {"argv": list(args), "cwd": str(cwd), "env": dict(env)}
        try:
            files = [own if given == -1 else given for own, given in enumerate((stdin, stdout, stderr))]
            self.pid = self._parent.fork(order, files)
            self._ended = os.pidfd_open(self.pid)
            self._child_created = True
        finally:
            self._close_pipe_fds(*pipes)  # type: ignore[attr-defined]

    def _try_wait(self, flags: int) -> tuple[int, int]:
        waiting = select.poll()
        waiting.register(self._ended, select.POLLIN)
        if not waiting.poll(0 if flags & os.WNOHANG else None):
            return 0, 0
        status = self._parent.reap(self.pid)
        os.close(self._ended)
        return self.pid, status

    def _internal_poll(self, _deadstate: int | None = None, **_: Any) -> int | None:
        if self.returncode is None and self._waitpid_lock.acquire(blocking=False):  # type: ignore[attr-defined]
            try:
                if self.returncode is None:
                    pid, status = self._try_wait(os.WNOHANG)
                    if pid:
                        self._handle_exitstatus(status)  # type: ignore[attr-defined]
            finally:
                self._waitpid_lock.release()  # type: ignore[attr-defined]
        return self.returncode


class _Parent:
    """
    The process that forks for this one, as seen from here.

    :param beginning: how the command begins, of ``COMMANDS``.
    :param locale: the variables of the locale.
    """

    def __init__(self, beginning: tuple[str, ...], locale: Sequence[tuple[str, str]]) -> None:
        self._lock = threading.Lock()
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, __file__, str(theirs.fileno()), *beginning],
                stdin=subprocess.DEVNULL,
                # The interpreter chooses a locale with UTF-8 where none is given, and adds that: it goes on to the children.
                env=dict(locale),
                pass_fds=[theirs.fileno()],
            )
        atexit.register(self.close)

    def fork(self, order: Mapping[str, Any], files: Sequence[int]) -> int:
        """Start a process, and return its pid."""
        return self._ask(order, files)

    def reap(self, pid: int) -> int:
        """Return how a process has ended. Until then its pid is not used again."""
        return self._ask({"reap": pid})

    def _ask(self, order: Mapping[str, Any], files: Sequence[int] = ()) -> int:
        message = json.dumps(order).encode()
        assert len(message) < LARGE
        with self._lock:
            socket.send_fds(self._socket, [message], files)
            answer = self._socket.recv(LARGE)
        assert answer, "the process that forks has ended"
        return int(answer)

    def close(self) -> None:
        """Let it end."""
        self._socket.close()
        self._process.wait()


@functools.cache
def _parent(beginning: tuple[str, ...], locale: tuple[tuple[str, str], ...]) -> _Parent:
    return _Parent(beginning, locale)


# -- What follows runs in the process that forks, which knows nothing of the tests.


def _preload(beginning: tuple[str, ...]) -> ModuleType:
    """Import a command, and choose no reactor: Klein asks for one already when it is imported."""
    sys.modules["twisted.internet.reactor"] = ModuleType("twisted.internet.reactor")
    command, *_ = (import_module(module) for module in COMMANDS[beginning])
    del sys.modules["twisted.internet.reactor"]
    # What the reactor is made of may be there before.
    import_module("twisted.internet.epollreactor")
    if openapi := sys.modules.get("resourced.api.openapi"):
        # It is made once in a process, for a third of the time that a start takes.
        openapi.description()
    assert threading.active_count() == 1, threading.enumerate()
    return command


def _await_order(orders: socket.socket) -> None:
    """Fork for each order. It returns in each child; otherwise not before nobody gives orders any more."""
    while True:
        message, files, _, _ = socket.recv_fds(orders, LARGE, 3)
        if not message:
            os._exit(0)
        order = json.loads(message)
        if "reap" in order:
            orders.send(b"%d" % os.waitpid(order["reap"], 0)[1])
            continue
        pid = os.fork()
        if not pid:
            orders.close()
            _become(order, files)
            return
        for file in files:
            os.close(file)
        orders.send(b"%d" % pid)


def _become(order: Mapping[str, Any], files: Sequence[int]) -> None:
    """Be the process that is asked for, as far as the interpreter makes it."""
    for number, file in enumerate(files):
        os.dup2(file, number)
    os.closerange(3, os.sysconf("SC_OPEN_MAX"))
    os.chdir(order["cwd"])
    environ = {**os.environ, **order["env"]}
    os.environ.clear()
    os.environ.update(environ)
    time.tzset()
    sys.argv[:] = order["argv"]
    sys.stdout.reconfigure(line_buffering=os.isatty(1))  # type: ignore[union-attr]
    signal.signal(signal.SIGINT, signal.default_int_handler)


def _main(number: str, *beginning: str) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # As if the command's own file were run.
    sys.path[0] = str(Path(beginning[-1]).parent)
    command = _preload(beginning)
    Path("/proc/self/comm").write_text(Path(beginning[0]).name)
    gc.collect()
    gc.freeze()
    _await_order(socket.socket(fileno=int(number)))
    # A program does not see the interpreter before it.
    del sys.argv[: len(beginning) - 1]
    sys.exit(command.main())


if __name__ == "__main__":
    _main(*sys.argv[1:])
