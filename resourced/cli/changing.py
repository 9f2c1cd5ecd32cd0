"""The commands for who looks after a server: ``create``, ``timeout`` and ``break``."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, NoReturn, TypeVar

import click

from resourced.cli.names import write_lock, write_name
from resourced.cli.options import LOCK, RESOURCE, CommonOptions, common_options
from resourced.cli.output import emit_json, emit_table, say
from resourced.cli.status import Status
from resourced.model import LockKey

if TYPE_CHECKING:
    from resourced.calls.api import Calls
    from resourced.calls.values import Definition

F = TypeVar("F", bound=Callable[..., Any])

_MORE: Final = (
    click.option("--group", metavar="NAME", help="What it is decided together with. [default: its own name]"),
    click.option(
        "--longest",
        type=click.IntRange(min=0),
        metavar="SECONDS",
        help="The longest lease to be asked for. [default: the timeout]",
    ),
    click.option("--slots", type=click.IntRange(min=0), metavar="N", help="Have the units 1 to N. [default: none]"),
)


def _more_options(command: F) -> F:
    """Give a command the options that say what a resource is, beside its timeout."""
    for option in reversed(_MORE):
        command = option(command)
    return command


@click.command()
@click.argument("resource", type=RESOURCE)
@click.option(
    "--timeout",
    type=click.IntRange(min=0),
    default=0,
    metavar="SECONDS",
    help="The lease of its locks. [default: the server's]",
)
@_more_options
@common_options
@click.pass_obj
def create(
    options: CommonOptions, resource: str, timeout: int, group: str | None, longest: int | None, slots: int | None
) -> NoReturn:
    """Create a resource."""

    async def work(client: Calls) -> int:
        _print_definition(
            options,
            await client.create(resource, timeout, group=group or "", longest=longest or 0, slots=slots or 0),
        )
        return Status.OK

    options.ask(work)


@click.command("timeout")
@click.argument("resource", type=RESOURCE)
@click.argument("seconds", type=click.IntRange(min=0), required=False)
@_more_options
@common_options
@click.pass_obj
def timeout_command(
    options: CommonOptions,
    resource: str,
    seconds: int | None,
    group: str | None,
    longest: int | None,
    slots: int | None,
) -> NoReturn:
    """
    Change the lease of a resource's locks, in SECONDS; 0 is the server's default. Or change what else it is.

    A lock that is held has it when it is next renewed.
    """
    if seconds is None and group is None and longest is None and slots is None:
        raise click.UsageError("It takes SECONDS, or an option that says what to change.")

    async def work(client: Calls) -> int:
        _print_definition(options, await client.change(resource, seconds, group=group, longest=longest, slots=slots))
        return Status.OK

    options.ask(work)


def _print_definition(options: CommonOptions, resource: Definition) -> None:
    """Say how a resource is defined now."""
    if options.json:
        emit_json(resource)
    else:
        row = (write_name(resource.name), resource.timeout or "default", resource.longest or "", resource.group)
        emit_table(("RESOURCE", "TIMEOUT", "LONGEST", "GROUP", "SLOTS"), [(*row, resource.slots or "")])


@click.command("break")
@click.argument("lock", type=LOCK)
@click.option(
    "--fence",
    type=click.IntRange(min=1),
    metavar="N",
    help="Only if it is held with this fence. [default: that of the present holder]",
)
@click.option("--reason", default="", metavar="TEXT", help="Why, for the history.")
@common_options
@click.pass_obj
def break_command(options: CommonOptions, lock: LockKey, fence: int | None, reason: str) -> NoReturn:
    """Take a lock from its holder; the next in the queue has it then."""

    async def work(client: Calls) -> int:
        if fence is None:
            holder = (await client.state(*lock, limit=1)).holder
            if holder is None:
                say(f"Nobody holds {write_lock(*lock)}.")
                return Status.CONFLICT
            seen = holder.fence
        else:
            seen = fence
        await client.break_lock(*lock, seen, reason)
        if options.json:
            emit_json({"resource": lock.resource, "selector": lock.selector, "fence": seen, "reason": reason})
        return Status.OK

    options.ask(work)
