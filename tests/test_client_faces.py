"""The client as a program has it that is not Twisted's: in threads, in asyncio's tasks, and in a suite of tests."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

#: Seconds that a program may take.
PATIENCE = 60

#: A server in the thread of the reactor, for programs that block.
SERVER = """
    import threading, time
    from resourced.client import *
    from resourced.client.blocking import Calls, Client, running_reactor
    from resourced.testing import MemoryServer
    from twisted.internet.defer import maybeDeferred

    calls = Calls()
    reactor = running_reactor()
    server = MemoryServer(reactor, lease=LEASE)
    # By its name, so that the reactor has to use threads of its own to look it up.
    url = calls.wait(lambda: maybeDeferred(server.listen)).replace("127.0.0.1", "localhost")

    def in_reactor(work):
        return calls.wait(lambda: maybeDeferred(work))
"""


def run(program: str, *arguments: str, folder: Path | None = None, lease: float = 30.0) -> str:
    """Run a program to its end, which must be a good one, and return what it printed."""
    begin = textwrap.dedent(SERVER).replace("LEASE", str(lease)) if "url" in program else ""
    command = [sys.executable, "-W", "error", *(arguments or ("-c", begin + textwrap.dedent(program)))]
    environ = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)}
    outcome = subprocess.run(
        command, capture_output=True, text=True, timeout=PATIENCE, check=False, cwd=folder, env=environ
    )
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr
    assert outcome.stderr == "", outcome.stderr
    return outcome.stdout


def test_twenty_threads():
    """Twenty threads count to a hundred with one client, and the program ends by itself."""
    printed = run("""
        def count():
            for _ in range(5):
                with client.lock("counter", "all") as held:
                    value = (held.data or 0) + 1
                    time.sleep(0.001)
                    held.write(value, unlock=value % 2 == 0)

        with Client(url, server.write_key) as client:
            client.create("counter")
            threads = [threading.Thread(target=count) for _ in range(20)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            print(client.get("counter", "all").data, server.store.places)
    """)
    assert printed == "100 {}\n"


def test_blocking_face():
    """Everything that the client can do, it can do blocking."""
    printed = run("""
        with Client([url], server.write_key, owner="me") as client:
            print(client.create("printer", 20).timeout, client.change("printer", 30).timeout)
            waits = []
            with client.lock("printer", "A4", wait=5) as held:
                print(held.data, held.text, held.fence, held.owner, 0 < held.left <= 30, held.reason, held.lost.is_set())
                held.check()
                held.write({"a": 1})
                held.write_text("[2]")
                print(held.data, client.get("printer", "A4").text)
                state = client.state("printer", "A4")
                print(state.locked, state.holder.owner, state.waiting)
                try:
                    with client.lock("printer", "A4", wait=0, on_queued=waits.append):
                        print("never")
                except NotAcquired as error:
                    print(error.position, waits[0].position)
                print([(r.name, r.held) for r in client.resources()], [s.selector for s in client.selectors("printer")])
                held.delete()
                held.unlock()
            try:
                client.get("printer", "A4")
            except NotFound as error:
                print(error.code)
            print(client.unlock("printer", "A4", "0" * 32))
            print([event.event for event in client.events("printer", "A4")][-1])
            first = list(client.events("printer", "A4"))[-1].id
            for event in client.watch("print", after=first):
                print(event.event)
                break
            client.remove("printer")
            print([r.name for r in client.resources()])
    """)
    assert printed.splitlines() == [
        "20 30",
        "None None 1 me True None False",
        "[2] [2]",
        "True me 0",
        "1 1",
        "[('printer', 1)] ['A4']",
        "no_data",
        "False",
        "grant",
        "write",
        "[]",
    ]


def test_loss_in_a_thread():
    """A thread learns of the loss of a lock by the flag, by the callback, at the next use, and at the end of the block."""
    printed = run(
        """
        told = []
        with Client(url, server.write_key) as client:
            client.create("printer")
            try:
                with client.lock("printer", "A4", on_lost=told.append) as held:
                    client.break_lock("printer", "A4", held.fence)
                    print(held.lost.wait(30), held.left, held.reason.code, told[0] is held.reason)
                    for use in (held.check, held.unlock, lambda: held.write(1)):
                        try:
                            use()
                        except LockLost as lost:
                            print("lost", lost.fence)
            except LockLost as lost:
                print("at the end", lost.fence)
            try:
                with client.lock("printer", "A4") as held:
                    client.break_lock("printer", "A4", held.fence)
            except LockLost as lost:
                print("at the end", lost.fence)
    """,
        lease=1.0,
    )
    assert printed.splitlines() == ["True 0.0 ticket_ended True", *["lost 1"] * 3, "at the end 1", "at the end 2"]


def test_interrupted_wait():
    """Ctrl-C ends a wait, gives up the place, and leaves the client fit for use."""
    printed = run("""
        import os, signal

        with Client(url, server.write_key) as client:
            client.create("printer")
            with client.lock("printer", "A4"):
                def interrupt(waiting):
                    os.kill(os.getpid(), signal.SIGINT)

                try:
                    with client.lock("printer", "A4", on_queued=interrupt):
                        print("never")
                except KeyboardInterrupt:
                    print("interrupted", client.state("printer", "A4").waiting)
            with client.lock("printer", "A4") as held:
                print(held.fence)
    """)
    assert printed.splitlines() == ["interrupted 0", "2"]


def test_interrupted_too_late():
    """An interruption that comes when the lock is there already does not leave it held."""
    printed = run("""
        from concurrent.futures import Future

        real = Future.result
        interrupted = []

        def result(self, timeout=None):
            found = real(self, timeout)
            if not interrupted and hasattr(found, "fence"):
                interrupted.append(found)
                raise KeyboardInterrupt
            return found

        with Client(url, server.write_key) as client:
            client.create("printer")
            Future.result = result
            try:
                with client.lock("printer", "A4"):
                    print("never")
            except KeyboardInterrupt:
                print(interrupted[0].fence, len(server.store.places))
    """)
    assert printed == "1 0\n"


def test_stopped_reactor():
    """A thread that waits learns that the reactor was stopped."""
    printed = run("""
        client = Client(url, server.write_key)
        client.create("printer")
        held = client.lock("printer", "A4").__enter__()
        stop = lambda _: reactor.callLater(0, reactor.stop)
        try:
            with client.lock("printer", "A4", on_queued=stop):
                print("never")
        except Unreachable as error:
            print(error.code)
    """)
    assert printed == "stopped\n"


def test_where_it_cannot_block():
    """In the reactor's own thread it says that it cannot be used there; after a fork, that it cannot be used at all."""
    printed = run("""
        import os

        with Client(url, server.write_key) as client:
            try:
                in_reactor(client.close)
            except RuntimeError as error:
                print(error)
        child = os.fork()
        if not child:
            try:
                Client(url, server.write_key)
            except RuntimeError as error:
                print(error, flush=True)
            os._exit(0)
        os.waitpid(child, 0)
    """)
    assert [line[:24] for line in printed.splitlines()] == ["This would stop the reac", "The reactor's thread was"]


ASYNCIO = """
    import asyncio
    from resourced.client import Client, LockLost, NotAcquired, aio

    async def body(client, server):
    BODY

    async def main():
        aio.start()
        from twisted.internet import reactor
        from resourced.testing import MemoryServer
        server = MemoryServer(reactor, lease=1.0)
        async with aio.closing(Client(server.listen(), server.write_key)) as client:
            await aio.wait(client.create("printer"))
            await body(client, server)
        print("places", len(server.store.places))
        await aio.wait(server.close())

    asyncio.run(main())
"""


def run_in_asyncio(body: str) -> list[str]:
    """Run a coroutine of asyncio's; the last line is how many tickets the server has left."""
    program = textwrap.dedent(ASYNCIO).replace("BODY", textwrap.indent(textwrap.dedent(body), "    ").strip("\n"))
    return run("", "-c", program).splitlines()


def test_asyncio():
    """A task can do what a coroutine of Twisted's can."""
    printed = run_in_asyncio("""
        async def count():
            for _ in range(5):
                async with aio.locked(client.lock("printer", "A4")) as held:
                    await asyncio.sleep(0)
                    await aio.wait(held.write((held.data or 0) + 1))

        async with asyncio.TaskGroup() as tasks:
            for _ in range(20):
                tasks.create_task(count())
        print((await aio.wait(client.get("printer", "A4"))).data)
        print([resource.name async for resource in aio.each(client.resources())])
        async with aio.closing(client.watch("print")) as events:
            async with aio.locked(client.lock("printer", "A4")) as held:
                async for event in aio.each(events):
                    print(event.event, event.fence == held.fence)
                    break
    """)
    assert printed == ["100", "['printer']", "grant True", "places 0"]


def test_asyncio_loss():
    """The loss of a lock cancels what a task awaits, asyncio's or Twisted's, and comes out of the block; the task goes on."""
    printed = run_in_asyncio("""
        from twisted.internet.defer import Deferred

        for sleep in (lambda: asyncio.sleep(60), lambda: aio.wait(Deferred())):
            try:
                async with aio.locked(client.lock("printer", "A4")) as held:
                    await aio.wait(client.break_lock("printer", "A4", held.fence))
                    await sleep()
                    print("never")
            except LockLost as lost:
                print("lost", lost.fence, asyncio.current_task().cancelling())
            await asyncio.sleep(0)
        try:
            async with asyncio.timeout(0.2):
                async with aio.locked(client.lock("printer", "A4")) as held:
                    await asyncio.sleep(60)
        except TimeoutError:
            print("out of time", held.reason)
    """)
    assert printed == ["lost 1 0", "lost 2 0", "out of time None", "places 0"]


def test_asyncio_cancelled_wait():
    """A task that is cancelled while it waits has given up its place by the time it ends."""
    printed = run_in_asyncio("""
        async def wait(told):
            async with aio.locked(client.lock("printer", "A4", on_queued=lambda _: told.set())):
                print("never")

        async with aio.locked(client.lock("printer", "A4")):
            told = asyncio.Event()
            task = asyncio.create_task(wait(told))
            await told.wait()
            task.cancel()
            await asyncio.wait([task])
            print(task.cancelled(), (await aio.wait(client.state("printer", "A4"))).waiting)
    """)
    assert printed == ["True 0", "places 0"]


def test_asyncio_with_another_reactor():
    """If the process has another kind of reactor already, that is said."""
    printed = run("""
        import asyncio
        from twisted.internet import reactor
        from resourced.client import aio

        async def main():
            try:
                aio.start()
            except RuntimeError as error:
                print(error)

        asyncio.run(main())
    """)
    assert "EPollReactor already" in printed


FIXTURE = """
    import pytest
    from resourced.client import Client as Asynchronous
    from resourced.client import NotFound
    from resourced.client.blocking import Client


    @pytest.mark.parametrize("time", [1, 2])
    def test_fresh(resourced, time):
        with Client(resourced.url, resourced.write_key) as client:
            with pytest.raises(NotFound):
                client.get("printer", "A4")
            client.create("printer")
            with client.lock("printer", "A4") as held:
                held.write(time)
"""

TWISTED_FIXTURE = """
    from resourced.client import Client


    async def test_it(resourced):
        async with Client(resourced.url, resourced.write_key) as client:
            await client.create("printer")
            async with client.lock("printer", "A4") as held:
                await held.write(1)
            assert (await client.get("printer", "A4")).data == 1
"""


def test_fixture(tmp_path):
    """A suite without reactor and daemon has a server by asking for ``resourced``."""
    (tmp_path / "test_mine.py").write_text(textwrap.dedent(FIXTURE))
    printed = run("", "-m", "pytest", "-q", "-p", "no:twisted", "-p", "no:cacheprovider", folder=tmp_path)
    assert "2 passed" in printed


def test_fixture_with_twisted(tmp_path):
    """And so has one of coroutines, by pytest-twisted."""
    (tmp_path / "test_mine.py").write_text(textwrap.dedent(TWISTED_FIXTURE))
    printed = run("", "-m", "pytest", "-q", "-p", "no:cacheprovider", folder=tmp_path)
    assert "1 passed" in printed


def test_plugin_is_light():
    """pytest loads the plugin at each start: it brings neither a reactor nor the server with it."""
    run("""
        import sys
        import resourced.pytest_plugin

        assert not [name for name in sys.modules if name.startswith(("twisted", "treq", "klein"))]
    """)
