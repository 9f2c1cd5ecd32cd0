"""``resourcectl run``: a command that runs while its lock is held, and no longer."""

from __future__ import annotations

import errno
import os
import shutil
import stat
from contextlib import suppress
from pathlib import Path
from signal import Signals
from typing import Any, Final, NoReturn

import click
from twisted.internet.defer import Deferred, DeferredList

from resourced.cli.job import Job
from resourced.cli.locking import RETRY_TIMEOUT, acquire, wait_option
from resourced.cli.names import write_lock
from resourced.cli.nesting import Around
from resourced.cli.options import LOCK, SECONDS, CommonOptions, common_options
from resourced.cli.output import say
from resourced.cli.process import CliProcess
from resourced.cli.signals import PASSED_ON
from resourced.cli.status import Status
from resourced.cli.suspend import Wakes
from resourced.client import ClientError, Conflict, Held, LockLost, NotFound
from resourced.client.held_ticket import RELEASED
from resourced.clock import elapsed
from resourced.model import LockKey

#: The longest variable that Linux gives to a program, with its name and its end.
_LONGEST_VARIABLE: Final = 128 * 1024


class _WithCommand(click.Command):
    """Takes everything after ``--`` as a command, whose options are not its own."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        own, command = args, []
        if "--" in args:
            own, command = args[: args.index("--")], args[args.index("--") + 1 :]
        try:
            rest = super().parse_args(ctx, own)
        except click.MissingParameter:
            raise
        except click.UsageError as error:
            if "--" in args:
                raise
            hint = "A command stands after --, with all its options, such as: run printer/A4 -- ls -l"
            raise click.UsageError(f"{error.format_message()} {hint}", ctx) from None
        if not command and not ctx.resilient_parsing:
            raise click.UsageError("It takes a command after --, such as: -- make flash", ctx)
        ctx.params["command"] = tuple(command)
        return rest

    def collect_usage_pieces(self, ctx: click.Context) -> list[str]:
        return [*super().collect_usage_pieces(ctx), "-- COMMAND [ARGUMENTS]..."]


@click.command(cls=_WithCommand)
@click.argument("lock", type=LOCK)
@wait_option
@click.option(
    "--grace",
    type=SECONDS,
    default="10",
    show_default=True,
    metavar="SECONDS",
    help="If the lock is lost: from SIGTERM to SIGKILL.",
)
@click.option("--create", is_flag=True, help="Create the resource if it is not there.")
@click.option(
    "--lease",
    type=click.IntRange(0),
    default=0,
    metavar="SECONDS",
    help="How long the server may hear nothing before it passes the lock on, up to the longest of the resource. [default: the timeout]",
)
@click.option(
    "--priority",
    type=click.IntRange(-9, 9),
    default=0,
    help="The highest comes first; above 0 only as far as the key may. [default: 0]",
)
@common_options
@click.pass_obj
def run(
    options: CommonOptions,
    lock: LockKey,
    wait: float | None,
    grace: float,
    create: bool,
    lease: int,
    priority: int,
    command: tuple[str, ...],
) -> NoReturn:
    """
    Run a command while a lock is held.

    The command finds RESOURCED_LOCK, RESOURCED_TICKET, RESOURCED_FENCE and RESOURCED_DATA in its environment. Its exit
    status is passed on; 79 means that the lock was lost and the command was ended, 75 that --wait was over. A run within
    a run enters what is held already at once.
    """
    # Rather than after a long wait.
    if (why := why_not(command[0])) is not None:
        raise SystemExit(_cannot_run(command[0], why))

    async def work(process: CliProcess) -> int:
        around = await options.around.checked(process.client)
        entered = await _enter(process, around, lock)
        held = entered or await _acquire(process, around, lock, wait, create=create, lease=lease, priority=priority)
        status = await _run(process, held, command, _environment(held, around.with_lock(held)), grace)
        if held.reason is not None:
            return status if _let_go(held.reason) or status == Status.GOES_ON else Status.LOST
        if entered:
            held.stop()
            return status
        try:
            await held.unlock()
        except LockLost as lost:
            if not _let_go(lost):
                raise
        except ClientError as error:
            say(f"{write_lock(*lock)} could not be let go of, and ends with its lease. {error.sentence}")
        return status

    options.perform(work, RETRY_TIMEOUT)


def why_not(name: str) -> OSError | None:
    """Return why there can be no command of a name, if that is so."""
    if "/" not in name:
        return None if shutil.which(name, os.F_OK) else FileNotFoundError()
    try:
        is_folder = stat.S_ISDIR(Path(name).stat().st_mode)
    except OSError as error:
        return error
    return IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR)) if is_folder else None


def _cannot_run(name: str, why: OSError) -> Status:
    """Tell why a command cannot be run, and return the status that a shell has for that."""
    if isinstance(why, FileNotFoundError):
        say(f"{name}: there is no such command.")
        return Status.NO_COMMAND
    say(f"{name} cannot be run: {why.strerror}.")
    return Status.CANNOT_RUN


async def _enter(process: CliProcess, around: Around, key: LockKey) -> Held | None:
    """Return the lock if it is held around this process already, and goes on to be so afterwards; else nothing."""
    outer = around.at(key)
    if outer is None:
        return None
    try:
        return await process.client.keep(*key, outer.ticket, outer.fence)
    except (LockLost, NotFound):
        return None


async def _acquire(
    process: CliProcess, around: Around, key: LockKey, wait: float | None, *, create: bool, lease: int, priority: int
) -> Held:
    try:
        return await acquire(process, around, key, wait, creates="say --create.", lease=lease, priority=priority)
    except NotFound:
        if not create:
            raise
    # Somebody else may be quicker.
    with suppress(Conflict):
        await process.client.create(key.resource)
    return await acquire(process, around, key, wait, lease=lease, priority=priority)


async def _run(
    process: CliProcess, held: Held, command: tuple[str, ...], environ: dict[bytes, bytes], grace: float
) -> int:
    """Run a command until it ends, or is ended because the lock is lost; return its status."""
    job = Job(process.reactor)
    process.route((Signals.SIGCHLD,), lambda _: job.look())
    process.route(PASSED_ON, job.receive)
    try:
        job.start(command, environ)
    except OSError as error:
        process.end_by_signals()
        return _cannot_run(command[0], error)
    lost = held.lost()
    watching = Wakes(process.reactor, elapsed, held.look)
    ends: list[Deferred[Any]] = [job.ended, lost]
    await DeferredList(ends, fireOnOneCallback=True, consumeErrors=True)
    watching.stop()
    if held.reason is not None and not _let_go(held.reason):
        say(held.reason.sentence)
        if not await job.end(grace):
            say(f"{command[0]} runs as another user and cannot be ended: it goes on without the lock.")
            return Status.GOES_ON
    await job.ended
    lost.cancel()
    process.end_by_signals()
    return job.status


def _let_go(lost: LockLost) -> bool:
    """Whether the command itself, which has the ticket, has let go of the lock."""
    return lost.code == RELEASED


def _environment(held: Held, locks: str) -> dict[bytes, bytes]:
    """
    Return what the command finds in its environment: the variables of this process, and the lock.

    :param locks: this lock and those that are held around it.
    """
    lock = write_lock(held.resource, held.selector)
    about = {"LOCK": lock, "TICKET": held.ticket, "FENCE": str(held.fence), "DATA": held.text, "LOCKS": locks}
    # What is there may be of another lock.
    environ = {name: value for name, value in os.environb.items() if name != b"RESOURCED_DATA"}
    for name, value in about.items():
        variable, text = f"RESOURCED_{name}".encode(), (value or "").encode()
        if len(variable) + len(text) + 2 > _LONGEST_VARIABLE:
            say(f"RESOURCED_{name} of {lock} is too long for a variable, and is left out.")
        elif value is not None:
            environ[variable] = text
    return environ
