"""The commands that lock: ``lock`` and ``unlock``, and ``put`` and ``rm``, which lock for a moment."""

from __future__ import annotations

import json
import os
import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import click

from resourced.cli.names import write_lock
from resourced.cli.options import LOCK, RESOURCE_OR_LOCK, SECONDS, CommonOptions, common_options
from resourced.cli.output import emit, emit_json, say
from resourced.cli.status import Status
from resourced.model import LockKey

if TYPE_CHECKING:
    from resourced.calls.api import Calls
    from resourced.cli.process import CliProcess

#: Seconds to go on trying while no server answers, for what may wait for long anyway.
RETRY_TIMEOUT = 60.0

wait_option = click.option(
    "--wait", type=SECONDS, metavar="SECONDS", help="How long to wait for the lock; 0 to try once. [default: forever]"
)
lease_option = click.option(
    "--lease",
    type=click.IntRange(0),
    default=0,
    metavar="SECONDS",
    help="How long the server may hear nothing before it passes the lock on, up to the longest of the resource. [default: the timeout]",
)
priority_option = click.option(
    "--priority",
    type=click.IntRange(-9, 9),
    default=0,
    help="The highest comes first; above 0 only as far as the key may. [default: 0]",
)
ticket_option = click.option(
    "--ticket",
    default="",
    help="A lock that you have. [that of the run or lock which this is part of]",
)


def ticket_of(options: CommonOptions, key: LockKey, given: str) -> str:
    """Return the ticket that is to be used: the one that was given, or that of a ``run`` which this is part of."""
    if given:
        return given
    if os.environ.get("RESOURCED_LOCK") == write_lock(*key) and (ticket := os.environ.get("RESOURCED_TICKET")):
        return ticket
    outer = options.around.at(key)
    return outer.ticket if outer else ""


@click.command("lock")
@click.argument("lock", type=LOCK)
@wait_option
@click.option("--ticket", default="", help="A lock that you have, to renew it.")
@lease_option
@priority_option
@common_options
@click.pass_obj
def lock_command(
    options: CommonOptions, lock: LockKey, wait: float | None, ticket: str, lease: int, priority: int
) -> NoReturn:
    """
    Take a lock and keep it.

    Its ticket, fence and lease are printed, to be used as eval "$(resourcectl lock printer/A4)". It ends with its lease
    unless it is used or taken once more with --ticket.
    """

    async def work(process: CliProcess) -> int:
        from resourced.cli.nesting import VARIABLE
        from resourced.cli.taking import acquire

        around = await options.around.checked(process.client)
        held = taken = await acquire(process, around, lock, wait, ticket, lease=lease, priority=priority)
        try:
            if held.text is None:
                # Where there are no data the lock is given for a short time only, until it is used.
                held = await acquire(process, around, lock, wait, held.ticket)
            if options.json:
                found = {"ticket": held.ticket, "fence": held.fence, "lease": held.lease}
                emit_json({"resource": lock.resource, "selector": lock.selector, **found})
            else:
                emit(f"export RESOURCED_LOCK={shlex.quote(write_lock(*lock))}")
                emit(f"export RESOURCED_TICKET={held.ticket}")
                emit(f"export RESOURCED_FENCE={held.fence}")
                emit(f"export RESOURCED_LEASE={held.lease}")
                emit(f"export {VARIABLE}={shlex.quote(around.with_units([(held.ticket, held)]))}")
        except BaseException:
            # Nobody knows the ticket.
            await taken.release()
            raise
        return Status.OK

    options.perform(work, RETRY_TIMEOUT)


@click.command()
@click.argument("lock", type=LOCK)
@ticket_option
@click.option(
    "--out", default="", metavar="REASON", help="Give the unit back as broken: nobody gets it, for this reason."
)
@common_options
@click.pass_obj
def unlock(options: CommonOptions, lock: LockKey, ticket: str, out: str) -> NoReturn:
    """Let go of a lock. That it was lost before is status 79."""
    used = ticket_of(options, lock, ticket)
    if not used:
        raise click.UsageError("It takes a --ticket.")

    async def work(client: Calls) -> int:
        unlocked = await client.unlock(*lock, used, out=out)
        if options.json:
            emit_json({"unlocked": unlocked})
        elif not unlocked:
            say(f"{write_lock(*lock)} was not held with this ticket any more.")
        return Status.OK if unlocked else Status.LOST

    options.ask(work)


class _WithValue(click.Command):
    """Takes a value, which may be a negative number, and tells how to write that."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            if not re.match(r"-[0-9.]", error.option_name):
                raise
            hint = "A value that begins with a dash stands after --, such as: put printer/A4 -- -1"
            raise click.UsageError(f"{error.format_message()} {hint}", ctx) from None


@click.command(cls=_WithValue)
@click.argument("lock", type=LOCK)
@click.argument("value", required=False)
@click.option("--file", "-f", metavar="FILE", help="Where the value is.")
@wait_option
@ticket_option
@common_options
@click.pass_obj
def put(
    options: CommonOptions, lock: LockKey, value: str | None, file: str | None, wait: float | None, ticket: str
) -> NoReturn:
    """
    Write a JSON text: VALUE, or what a file has in it, or else stdin.

    It locks for that, unless there is a ticket.
    """
    if file is not None and value is not None:
        raise click.UsageError("It takes a value or a --file, not both.")
    try:
        text = value if value not in {None, "-"} else _read_value(file)
    except OSError as error:
        say(f"{file or 'stdin'} cannot be read: {error.strerror}.")
        raise SystemExit(Status.NOT_FOUND) from None
    except UnicodeDecodeError:
        say(f"{file or 'stdin'} is not UTF-8.")
        raise SystemExit(Status.REJECTED) from None
    # Rather than after a long wait.
    if fault := not_json(text):
        say(f"The value is not JSON: {fault}.")
        raise SystemExit(Status.REJECTED)

    def done() -> Status:
        if options.json:
            emit_json({"resource": lock.resource, "selector": lock.selector})
        return Status.OK

    async def write(client: Calls) -> int:
        await client.write_text(*lock, text, used)
        return done()

    async def lock_and_write(process: CliProcess) -> int:
        from resourced.cli.taking import acquire

        around = await options.around.checked(process.client)
        held = await acquire(process, around, lock, wait)
        try:
            await held.write_text(text, unlock=True)
        finally:
            await held.release()
        return done()

    if used := ticket_of(options, lock, ticket):
        options.ask(write)
    options.perform(lock_and_write)


@click.command()
@click.argument("what", type=RESOURCE_OR_LOCK)
@wait_option
@ticket_option
@common_options
@click.pass_obj
def rm(options: CommonOptions, what: LockKey, wait: float | None, ticket: str) -> NoReturn:
    """
    Delete the data of a selector, or a whole resource that nobody holds anything of.

    For the data it locks, unless there is a ticket.
    """

    def done() -> Status:
        if options.json:
            emit_json({"resource": what.resource, **({"selector": what.selector} if what.selector else {})})
        return Status.OK

    async def delete(client: Calls) -> int:
        await (client.delete(*what, used) if what.selector else client.remove(what.resource))
        return done()

    async def lock_and_delete(process: CliProcess) -> int:
        from resourced.cli.taking import acquire

        around = await options.around.checked(process.client)
        held = await acquire(process, around, what, wait)
        try:
            await held.delete(unlock=True)
        finally:
            await held.release()
        return done()

    used = ticket_of(options, what, ticket) if what.selector else ""
    if used or not what.selector:
        options.ask(delete)
    options.perform(lock_and_delete)


def _read_value(file: str | None) -> str:
    if file not in {None, "-"}:
        return Path(file).read_bytes().decode()
    # Not by ``sys.stdin``, which is not there if it is closed.
    with open(0, "rb", closefd=False) as stdin:
        return stdin.read().decode()


def not_json(text: str) -> str:
    """Return why a text is not JSON; nothing if it is."""

    def refuse(constant: str) -> NoReturn:
        raise ValueError(f"{constant} is no number")

    try:
        # How long a number may be is not for Python to say.
        json.loads(text, parse_constant=refuse, parse_int=float)
    except RecursionError:
        return "it is nested too deeply"
    except ValueError as error:
        return str(error)
    return ""
