"""The commands about the units of pools: ``tag``, ``out``, ``back`` and ``usage``."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

import click

from resourced.cli.looking import first
from resourced.cli.names import write_lock, write_name
from resourced.cli.options import LOCK, RESOURCE, CommonOptions, common_options
from resourced.cli.output import clock_time, emit, emit_json, emit_table
from resourced.cli.status import Status
from resourced.model import LockKey

if TYPE_CHECKING:
    from resourced.calls.api import Calls
    from resourced.calls.values import Card, Use


@click.command()
@click.argument("unit", type=LOCK)
@click.argument("tags", nargs=-1, metavar="[TAG]...")
@click.option("--note", metavar="TEXT", help="For people; an empty one takes it away.")
@click.option("--remove", is_flag=True, help="Take the unit out of the pool instead. Its holder goes on.")
@common_options
@click.pass_obj
def tag(options: CommonOptions, unit: LockKey, tags: tuple[str, ...], note: str | None, remove: bool) -> NoReturn:
    """
    Make a selector a unit of its resource's pool, and say what it can do.

    The tags are those that it has from then on. With --note and no tag they stay as they are.
    """
    if remove and (tags or note is not None):
        raise click.UsageError("With --remove it takes neither tags nor a note.")

    async def work(client: Calls) -> int:
        if remove:
            await client.remove_card(*unit)
        else:
            kept = None if note is not None and not tags else tags
            _print_card(options, unit, await client.card(*unit, tags=kept, note=note))
        return Status.OK

    options.ask(work)


@click.command()
@click.argument("unit", type=LOCK)
@click.argument("reason")
@common_options
@click.pass_obj
def out(options: CommonOptions, unit: LockKey, reason: str) -> NoReturn:
    """Take a unit out of service, and say why. Its holder goes on; nobody else gets it."""
    if not reason:
        raise click.UsageError("The reason is empty.")

    async def work(client: Calls) -> int:
        _print_card(options, unit, await client.card(*unit, out=reason))
        return Status.OK

    options.ask(work)


@click.command()
@click.argument("unit", type=LOCK)
@common_options
@click.pass_obj
def back(options: CommonOptions, unit: LockKey) -> NoReturn:
    """Bring a unit back into service. The next waiter has it at once."""

    async def work(client: Calls) -> int:
        from resourced.calls.errors import NotFound

        found = await first(client.selectors(unit.resource, unit.selector, page=1), 1)
        if not found or found[0].selector != unit.selector or found[0].card is None:
            # To change its card would give it one: a name that is misspelt would become a unit, which the next waiter gets.
            raise NotFound(f"{write_lock(*unit)} is no unit.", "no_card")
        _print_card(options, unit, await client.card(*unit, out=""))
        return Status.OK

    options.ask(work)


@click.command()
@click.argument("resource", type=RESOURCE)
@click.option("--days", type=click.IntRange(1), default=30, show_default=True, help="Of how many days, today included.")
@common_options
@click.pass_obj
def usage(options: CommonOptions, resource: str, days: int) -> NoReturn:
    """Tell what was used of a resource, by selector and by owner, what was held longest first."""

    async def work(client: Calls) -> int:
        found = await client.usage(resource, days)
        if options.json:
            emit_json(found)
        else:
            units = [(write_lock(resource, use.name) if use.name else "others", *_columns(use)) for use in found.units]
            emit_table(("SELECTOR", *_USE), units)
            emit("")
            emit_table(("OWNER", *_USE), [(use.name or "others", *_columns(use)) for use in found.owners])
        return Status.OK

    options.ask(work)


_USE = ("GRANTS", "HELD", "EXPIRIES", "BREAKS", "WAIT", "WAIT P95")


def _columns(use: Use) -> tuple[object, ...]:
    waits = ("" if seconds is None else clock_time(seconds) for seconds in (use.wait_mean, use.wait_p95))
    return (use.grants, clock_time(use.held), use.expiries, use.breaks, *waits)


def _print_card(options: CommonOptions, unit: LockKey, card: Card) -> None:
    if options.json:
        emit_json(card)
    else:
        row = (write_lock(*unit), " ".join(map(write_name, card.tags)), card.note, card.out or "")
        emit_table(("SELECTOR", "TAGS", "NOTE", "OUT"), [row])
