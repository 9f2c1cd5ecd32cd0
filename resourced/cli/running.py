"""What ``resourcectl run`` does: a command runs while its lock is held, and no longer."""

from __future__ import annotations

import errno
import os
import shutil
import stat
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from signal import Signals
from typing import Any, Final, Literal, NoReturn

import click
from twisted.internet.defer import Deferred, DeferredList

from resourced.cli.job import Job
from resourced.cli.locking import RETRY_TIMEOUT
from resourced.cli.nesting import Around
from resourced.cli.options import CommonOptions
from resourced.cli.output import say
from resourced.cli.process import CliProcess
from resourced.cli.signals import PASSED_ON
from resourced.cli.status import Status
from resourced.cli.suspend import Wakes
from resourced.cli.taking import Asking, take
from resourced.cli.wanting import Taken, Wanted
from resourced.client import ClientError, LockLost, NotFound, Want
from resourced.client.held_ticket import RELEASED
from resourced.clock import elapsed
from resourced.model import LockKey

#: The longest variable that Linux gives to a program, with its name and its end.
_LONGEST_VARIABLE: Final = 128 * 1024


def run_with(
    options: CommonOptions,
    locks: tuple[LockKey, ...],
    units: tuple[Want, ...],
    tags: tuple[str, ...],
    count: int | Literal["all"] | None,
    how: Mapping[str, Any],
    command: tuple[str, ...],
    *,
    grace: float,
    out_on: int | None,
) -> NoReturn:
    """
    Run a command while what is asked for is held, and end with its status.

    :param how: the fields of ``Asking``.
    :raises click.UsageError: the arguments do not go together.
    """
    wanted = _wanted(locks, units, tags, count)
    asking = Asking(**how)
    if asking.create and wanted.only_lock is None:
        raise click.UsageError("--create is for one RESOURCE/SELECTOR.")
    if out_on is not None and not wanted.is_one:
        raise click.UsageError("--out-on is for one unit. Of several the command says which: resourcectl unlock --out.")
    # Rather than after a long wait.
    if (why := why_not(command[0])) is not None:
        raise SystemExit(_cannot_run(command[0], why))

    async def work(process: CliProcess) -> int:
        around = await options.around.checked(process.client)
        taken = await take(process, around, wanted, asking)
        status = await _run(process, taken, command, _environment(taken, around), grace)
        if taken.reason is not None:
            await _leave_rest(taken)
            return status if _let_go(taken.reason) or status == Status.GOES_ON else Status.LOST
        try:
            await taken.leave(f"{command[0]} ended with status {status}."[:255] if status == out_on else "")
        except LockLost as lost:
            if not _let_go(lost):
                raise
        except NotFound as error:
            say(error.sentence)
        except ClientError as error:
            say(f"{' '.join(taken.names)} could not be let go of, and ends with its lease. {error.sentence}")
        return status

    options.perform(work, RETRY_TIMEOUT)


def _wanted(
    locks: tuple[LockKey, ...], units: tuple[Want, ...], tags: tuple[str, ...], count: int | Literal["all"] | None
) -> Wanted:
    """
    Return what the command line asks for.

    :raises click.UsageError: it does not say.
    """
    if not locks and not units:
        raise click.UsageError("It takes a RESOURCE/SELECTOR, or --any with a resource.")
    if tags or count is not None:
        if len(units) != 1:
            raise click.UsageError("--tag and --count go with one --any. Write several as --any 'phones[android]*2'.")
        [unit] = units
        units = (replace(unit, tags=(*unit.tags, *tags), count=unit.count if count is None else count),)
    return Wanted(tuple(dict.fromkeys(locks)), units)


async def _leave_rest(taken: Taken) -> None:
    """Give back what is still held after a part was lost."""
    with suppress(ClientError):
        if taken.own is not None:
            await taken.own.release()


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


async def _run(
    process: CliProcess, taken: Taken, command: tuple[str, ...], environ: dict[bytes, bytes], grace: float
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
    lost = [holding.lost() for holding in taken.holdings]
    watching = Wakes(process.reactor, elapsed, taken.look)
    ends: list[Deferred[Any]] = [job.ended, *lost]
    await DeferredList(ends, fireOnOneCallback=True, consumeErrors=True)
    watching.stop()
    if taken.reason is not None and not _let_go(taken.reason):
        say(taken.reason.sentence)
        if not await job.end(grace):
            say(f"{command[0]} runs as another user and cannot be ended: it goes on without the lock.")
            return Status.GOES_ON
    await job.ended
    for waiter in lost:
        waiter.cancel()
    process.end_by_signals()
    return job.status


def _let_go(lost: LockLost) -> bool:
    """Whether the command itself, which has the ticket, has let go of the lock."""
    return lost.code == RELEASED


def _environment(taken: Taken, around: Around) -> dict[bytes, bytes]:
    """
    Return what the command finds in its environment: the variables of this process, and what is held.

    :param around: the locks that are held around it.
    """
    units = taken.units
    about: dict[str, str | None] = {"LOCK": "\n".join(taken.names), "LOCKS": around.with_units(units)}
    if len({ticket for ticket, _ in units}) == 1:
        about["TICKET"] = units[0][0]
    if len(units) == 1:
        about |= {"FENCE": str(units[0][1].fence), "DATA": units[0][1].text}
    # What is there may be of another lock.
    others = {b"RESOURCED_DATA", b"RESOURCED_FENCE", b"RESOURCED_TICKET"}
    environ = {name: value for name, value in os.environb.items() if name not in others}
    for name, value in about.items():
        variable, text = f"RESOURCED_{name}".encode(), (value or "").encode()
        if len(variable) + len(text) + 2 > _LONGEST_VARIABLE:
            say(f"RESOURCED_{name} of {' '.join(taken.names)} is too long for a variable, and is left out.")
        elif value is not None:
            environ[variable] = text
    return environ
