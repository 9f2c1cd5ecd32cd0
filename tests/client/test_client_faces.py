"""The client as a program has it that is not Twisted's: in threads, in asyncio's tasks, and in a suite of tests."""

from __future__ import annotations

import os
import sys
import textwrap
from ipaddress import ip_address
from pathlib import Path

import pytest

from tests import preloaded
from tests.preloaded import PROGRAM

#: Seconds that a program may take.
PATIENCE = 60

#: A server in the thread of the reactor, for programs that block.
SERVER = """
    import threading, time
    from resourced.client import *
    from resourced.client.blocking import Client
    from resourced.client.process import THREAD
    from resourced.testing import MemoryServer
    from twisted.internet.defer import maybeDeferred

    def in_reactor(work):
        return THREAD.get().wait(lambda: maybeDeferred(work))

    server = in_reactor(lambda: MemoryServer(THREAD.get().reactor, lease=LEASE))
    # By its name, so that the reactor has to use threads of its own to look it up.
    url = in_reactor(server.listen).replace("127.0.0.1", "localhost")
"""


def run(program: str, *arguments: str, folder: Path | None = None, lease: float = 30.0) -> str:
    """Run a program to its end, which must be a good one, and return what it printed."""
    begin = textwrap.dedent(SERVER).replace("LEASE", str(lease)) if "url" in program else ""
    command = [sys.executable, "-W", "error", *arguments] if arguments else [*PROGRAM, begin + textwrap.dedent(program)]
    environ = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    outcome = preloaded.run(command, cwd=folder or Path.cwd(), env=environ, timeout=PATIENCE)
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
        lease=6.0,
    )
    assert printed.splitlines() == ["True 0.0 ticket_ended True", *["lost 1"] * 3, "at the end 1", "at the end 2"]


#: How Ctrl-C comes: to the thread that waits, and at a moment when that does not see it, for which it must look up by itself.
INTERRUPTS = ("os.kill(os.getpid(), signal.SIGINT)", "signal.pthread_kill(threading.get_ident(), signal.SIGINT)")


@pytest.mark.parametrize("interrupt", INTERRUPTS)
def test_interrupted_wait(interrupt: str):
    """Ctrl-C ends a wait, gives up the place, and leaves the client fit for use."""
    program = """
        import os, signal

        with Client(url, server.write_key) as client:
            client.create("printer")
            with client.lock("printer", "A4"):
                try:
                    with client.lock("printer", "A4", on_queued=lambda _: INTERRUPT):
                        print("never")
                except KeyboardInterrupt:
                    print("interrupted", client.state("printer", "A4").waiting)
            with client.lock("printer", "A4") as held:
                print(held.fence)
    """
    assert run(program.replace("INTERRUPT", interrupt)).splitlines() == ["interrupted 0", "2"]


def test_where_it_cannot_block():
    """In its own thread, where callbacks are called, it says that it cannot be used there."""
    printed = run("""
        with Client(url, server.write_key) as client:
            try:
                in_reactor(lambda: client.create("printer"))
            except RuntimeError as error:
                print(error)
    """)
    assert printed.startswith("This would wait for itself")


def test_generators():
    """A generator that holds a lock has released it when it is closed, thrown into or left by the loop over it."""
    printed = run("""
        def rows():
            with client.lock("printer", "A4"):
                yield 1
                yield 2

        def held():
            return client.state("printer", "A4").locked

        def throw(generator):
            try:
                generator.throw(ZeroDivisionError())
            except ZeroDivisionError:
                pass

        with Client(url, server.write_key) as client:
            client.create("printer")
            for _ in rows():
                print(held(), end=" ")
                break
            print(held())
            for end in (lambda generator: generator.close(), throw):
                generator = rows()
                next(generator)
                print(held(), end=" ")
                end(generator)
                print(held())
            generator = rows()
            next(generator)
            # The garbage collector may come by in any thread.
            in_reactor(generator.close)
            print(held())
    """)
    assert printed.splitlines() == ["True False"] * 3 + ["False"]


def test_lock_that_nobody_has():
    """A lock whose block can never end, because nobody has it any more, is not renewed."""
    printed = run(
        """
        import gc

        with Client(url, server.write_key) as client:
            client.create("printer")
            lock = client.lock("printer", "A4")
            lock.__enter__()
            time.sleep(7)
            print(client.state("printer", "A4").locked)
            del lock
            gc.collect()
            while client.state("printer", "A4").locked:
                time.sleep(0.1)
    """,
        lease=6.0,
    )
    assert printed == "True\n"


#: What a child of a fork does with what it has from its parent.
CHILD = """
    def child(held, block):
        print("child", held.left, held.lost.is_set(), held.reason.code)
        for use in (held.check, held.unlock, lambda: held.write(1)):
            try:
                use()
            except LockLost as lost:
                print(lost.code)
        client.create("of the child")
        with client.lock("of the child", "A4") as own:
            print("own", own.fence)
        try:
            with client.lock("printer", "A4", wait=0):
                print("never")
        except NotAcquired:
            print("the parent has it", flush=True)
"""


def test_fork():
    """
    A child has connections of its own with the same client; the lock of its parent counts as lost there, and the parent goes on.
    A client that was used can be sent to another process by pickle, too.
    """
    printed = run(
        CHILD
        + """
    import os, pickle, sys

    client = Client(url, server.write_key)
    client.create("printer")
    with client.lock("printer", "A4") as held:
        held.write("parent")
        pid = os.fork()
        if not pid:
            child(held, client)
            try:
                # It leaves the block, and does not wait for anything.
                sys.exit(7)
            except SystemExit as ending:
                os._exit(ending.code)
        print("status", os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
        time.sleep(7)
        held.write("parent still")
        print(held.fence, held.reason)
    print(client.get("printer", "A4").data, server.store.places)
    with pickle.loads(pickle.dumps(client)) as sent:
        print(sent.get("printer", "A4").data)
    client.close()
    """,
        lease=6.0,
    )
    assert printed.splitlines() == [
        *["child 0.0 True forked", "forked", "forked", "forked", "own 2", "the parent has it"],
        *["status 7", "1 None", "parent still {}", "parent still"],
    ]


def test_ends_of_a_child():
    """A child of a fork within a block ends as any program does; a block that goes on to its end there says that it held nothing."""
    printed = run("""
        import multiprocessing, os, sys

        def leave():
            with client.lock("printer", "A3"):
                sys.exit(5)

        def fork(work):
            sys.stdout.flush()
            pid = os.fork()
            if pid:
                return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
            work()

        client = Client(url, server.write_key)
        client.create("printer")
        for end in (lambda: sys.exit(3), lambda: os._exit(4), lambda: None):
            parent = os.getpid()
            try:
                with client.lock("printer", "A4") as held:
                    print(fork(end))
            except LockLost as lost:
                print(lost.code, os.getpid() != parent, flush=True)
                os._exit(6)
        # Those that multiprocessing makes do not end as programs do.
        worker = multiprocessing.get_context("fork").Process(target=leave)
        with client.lock("printer", "A4"):
            worker.start()
            worker.join()
        print(worker.exitcode, server.store.places)
        client.close()
    """)
    assert printed.splitlines() == ["3", "4", "None", "forked True", "6", "5 {}"]


def test_asyncio_in_a_child():
    """A child of a fork can run a loop of its own with a client of its parent, which is not disturbed."""
    printed = run("""
        import asyncio, os
        from resourced import client as twisted
        from resourced.client import aio

        shared = twisted.Client(url, server.write_key)

        async def count():
            async with aio.closing(shared), aio.locked(shared.lock("printer", "A4")) as held:
                await aio.wait(held.write((held.data or 0) + 1))
                return held.data

        with Client(url, server.write_key) as client:
            client.create("printer")
        print(asyncio.run(count()), flush=True)
        pid = os.fork()
        if not pid:
            print(asyncio.run(count()), flush=True)
            os._exit(0)
        os.waitpid(pid, 0)
        print(asyncio.run(count()), server.store.places)
    """)
    assert printed.splitlines() == ["1", "2", "3 {}"]


#: What shows, when a program ends, whose locks are left.
LEFT = """
    import atexit
    from resourced.client import process

    # It is done after what the client does, which is said when it is imported.
    atexit.unregister(process.THREAD.end)
    atexit.register(lambda: print([place.key.selector for place in server.store.places.values()], flush=True))
    atexit.register(process.THREAD.end)

    def rows():
        with client.lock("printer", "A4") as held:
            yield held.fence

    client = Client(url, server.write_key)
    client.create("printer")
"""


def test_end_of_the_program():
    """A program ends while a generator holds a lock, and while a client is still to be closed; the lock is released in time."""
    printed = run(
        LEFT
        + """
    class Owner:
        def __init__(self, client):
            self.client = client

        def __del__(self):
            self.client.close()

    def late():
        try:
            client.get("printer", "A4")
        except Unreachable as error:
            print(error.code, flush=True)

    atexit.unregister(process.THREAD.end)
    atexit.register(late)
    atexit.register(process.THREAD.end)
    owner = Owner(client)
    generator = rows()
    print(next(generator))
    """
    )
    assert printed.splitlines() == ["1", "stopped", "[]"]


def test_end_of_the_program_within_a_block():
    """A thread that does not keep the program from its end may still be at work in its block: its lock ends with its lease."""
    printed = run(
        LEFT
        + """
    def stay():
        with client.lock("printer", "A3"):
            entered.set()
            time.sleep(3600)

    entered = threading.Event()
    threading.Thread(target=stay, daemon=True).start()
    entered.wait()
    generator = rows()
    print(next(generator))
    """
    )
    assert printed.splitlines() == ["2", "['A3']"]


def test_end_of_the_program_without_a_server():
    """A program ends in time also when no server answers any more."""
    printed = run(
        LEFT
        + """
    generator = rows()
    print(next(generator))
    in_reactor(server.close)
    """
    )
    assert printed.splitlines() == ["1", "['A4']"]


def test_without_the_reactor_of_the_process():
    """The process's own reactor is not used, and a program may run it as ever, before and after and in the same thread."""
    printed = run("""
        import asyncio
        from resourced import client as twisted
        from resourced.client import aio
        from twisted.internet import reactor

        async def ask(client):
            async with aio.closing(client):
                return [resource.name async for resource in aio.each(client.resources())]

        def block():
            with client.lock("printer", "A4") as held:
                print(len(held.data))
            reactor.stop()

        with Client(url, server.write_key) as client:
            client.create("printer")
            with client.lock("printer", "A4") as held:
                held.write([1] * 10000)
            print(asyncio.run(ask(twisted.Client(url, server.write_key))))
            print(reactor.running, reactor.getDelayedCalls(), reactor.threadpool)
            reactor.callWhenRunning(block)
            reactor.run()
    """)
    assert printed.splitlines() == ["['printer']", "False [] None", "10000"]


#: How a server in the thread of the clients speaks TLS, with a certificate that is trusted by OpenSSL's variable.
TLS = """
    import datetime, ipaddress, os, sys, warnings
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from twisted.internet.ssl import PrivateCertificate
    from twisted.protocols.tls import TLSMemoryBIOFactory

    # It is Twisted's server that is warned.
    warnings.filterwarnings("ignore", "Passing pyOpenSSL")
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "resourced")])
    now = datetime.datetime.now(datetime.timezone.utc)
    names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("::1"))]
    certificate = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
        .serial_number(1).not_valid_before(now).not_valid_after(now + datetime.timedelta(1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    ).public_bytes(serialization.Encoding.PEM)
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    with open("trusted.pem", "wb") as file:
        file.write(certificate)
    os.environ["SSL_CERT_FILE"] = "trusted.pem"

    def serve(site, interface=""):
        reactor = THREAD.get().reactor
        options = PrivateCertificate.loadPEM(certificate + secret).options()
        factory = TLSMemoryBIOFactory(options, False, site, clock=reactor)
        return in_reactor(lambda: reactor.listenTCP(0, factory, interface=interface)).getHost().port
"""


def test_tls(tmp_path):
    """Over TLS all is the same, also to an address, and a server that nobody vouches for is not spoken to."""
    printed = run(
        TLS
        + """
    import asyncio
    from resourced import client as twisted
    from resourced.client import aio

    def urls():
        yield f"https://localhost:{serve(server.site)}"
        yield f"https://[::1]:{serve(server.site, '::1')}"

    async def read(client):
        async with aio.closing(client):
            return len((await aio.wait(client.get("printer", "A4"))).data)

    for number, where in enumerate(urls()):
        with Client(where, server.write_key, retry_timeout=0) as client:
            if not number:
                client.create("printer")
            with client.lock("printer", "A4") as held:
                held.write([number] * 10000)
            print(asyncio.run(read(twisted.Client(where, server.write_key))))
    del os.environ["SSL_CERT_FILE"]
    with Client(where, server.write_key, retry_timeout=0) as client:
        try:
            client.get("printer", "A4")
        except Unreachable as error:
            print("verify failed" in str(error))
    """,
        folder=tmp_path,
    )
    assert printed.splitlines() == ["10000", "10000", "True"]


def links() -> list[str]:
    """The addresses of this machine that mean something on one link only, with the name of that: for example fe80::1%eth0."""
    lines = [line.split() for line in Path("/proc/net/if_inet6").read_text().splitlines()]
    return [
        f"{ip_address(bytes.fromhex(address))}%{name}"
        for address, _, _, scope, flags, name in lines
        if scope == "20" and not int(flags, 16) & 0x40
    ]


@pytest.mark.parametrize("face", ["blocking", "asyncio"])
def test_ipv6(face: str):
    """A server may be given by an address of IPv6, also by one with a scope."""
    program = """
        import asyncio
        from resourced import client as twisted
        from resourced.client import aio

        async def names(client):
            async with aio.closing(client):
                return [resource.name async for resource in aio.each(client.resources())]

        def ask(url):
            if FACE == "asyncio":
                return asyncio.run(names(twisted.Client(url, server.write_key, retry_timeout=0)))
            with Client(url, server.write_key, retry_timeout=0) as client:
                return [resource.name for resource in client.resources()]

        with Client(url, server.write_key) as client:
            client.create("printer")
        for address in ADDRESSES:
            listen = lambda: THREAD.get().reactor.listenTCP(0, server.site, interface=address)
            port = in_reactor(listen).getHost().port
            for written in {address, address.replace("%", "%25")}:
                print(ask(f"http://[{written}]:{port}"))
    """
    addresses = ["::1", *links()[:1]]
    printed = run(program.replace("FACE", repr(face)).replace("ADDRESSES", repr(addresses)))
    assert printed.splitlines() == ["['printer']"] * (1 if len(addresses) == 1 else 3)


ASYNCIO = """
    import asyncio
    from resourced.client import Client, LockLost, NotAcquired, aio

    async def body(client, server):
    BODY

    async def main():
        from resourced.client.loop import LoopReactor
        from resourced.testing import MemoryServer
        server = MemoryServer(LoopReactor(asyncio.get_running_loop()), lease=6.0)
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
    return run(program).splitlines()


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
            async with asyncio.timeout(None) as limit:
                async with aio.locked(client.lock("printer", "A4")) as held:
                    limit.reschedule(asyncio.get_running_loop().time() + 0.1)
                    await asyncio.sleep(3600)
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


def test_several_loops():
    """A client can be used on one loop after the other, and on several at the same time."""
    printed = run("""
        import asyncio
        from resourced import client as twisted
        from resourced.client import aio

        shared = twisted.Client(url, server.write_key)

        async def count(client, times):
            async with aio.closing(client):
                for _ in range(times):
                    async with aio.locked(client.lock("printer", "A4")) as held:
                        await aio.wait(held.write((held.data or 0) + 1))

        with Client(url, server.write_key) as client:
            client.create("printer")
            for _ in range(3):
                asyncio.run(count(shared, 2))
            def work():
                asyncio.run(count(twisted.Client(url, server.write_key), 10))
            threads = [threading.Thread(target=work) for _ in range(3)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            print(client.get("printer", "A4").data, server.store.places)
    """)
    assert printed == "36 {}\n"


FIXTURE = """
    import asyncio

    import pytest
    from resourced.client import aio
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

        async def read():
            async with aio.closing(Asynchronous(resourced.url, resourced.read_key)) as client:
                return (await aio.wait(client.get("printer", "A4"))).data

        assert asyncio.run(read()) == time
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
    """A suite has a server by asking for ``resourced``, for what blocks and for asyncio's tasks; pytest-twisted may be there."""
    (tmp_path / "test_mine.py").write_text(textwrap.dedent(FIXTURE))
    for option in ("no:twisted", "no:cacheprovider"):
        printed = run("", "-m", "pytest", "-q", "-p", option, "-p", "no:cacheprovider", folder=tmp_path)
        assert "2 passed" in printed


def test_fixture_with_twisted(tmp_path):
    """And so has one of coroutines, by pytest-twisted."""
    (tmp_path / "test_mine.py").write_text(textwrap.dedent(TWISTED_FIXTURE))
    printed = run("", "-m", "pytest", "-q", "-p", "no:cacheprovider", folder=tmp_path)
    assert "1 passed" in printed


def test_plugin_is_light():
    """pytest loads the plugin at each start: it brings neither a reactor nor the server with it."""
    program = """
        import sys
        import resourced.pytest_plugin

        assert not [name for name in sys.modules if name.startswith(("twisted", "treq", "klein"))]
    """
    run("", "-c", textwrap.dedent(program))
