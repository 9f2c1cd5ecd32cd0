"""The commands that look: ``get``, ``ls``, ``show``, ``locks``, ``events`` and ``watch``."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, NoReturn, TypeVar

import click

from resourced.cli.names import write_any, write_lock, write_name
from resourced.cli.options import (
    LOCK,
    RESOURCE,
    RESOURCE_OR_LOCK,
    CommonOptions,
    common_options,
    common_options_without_owner,
)
from resourced.cli.output import clock_time, emit, emit_json, emit_table, escaped, say
from resourced.cli.status import Status
from resourced.model import LockKey

if TYPE_CHECKING:
    from resourced.calls.api import Calls
    from resourced.calls.values import Event, Gap, Holder, LockState, Selector, WaitingTicket
    from resourced.cli.process import CliProcess

T = TypeVar("T")

#: The most that a server gives in one answer.
PAGE = 1000

#: The columns of a holder, in a table of many.
HELD = ("OWNER", "KEY", "FENCE", "SINCE", "LEFT")

#: What an event is known by.
EVENT_ID = click.IntRange(0, 2**63 - 1)

limit_option = click.option(
    "--limit", type=click.IntRange(min=1), metavar="N", help="How many, at most. [default: all]"
)


async def first(found: AsyncIterator[T], limit: int | None) -> list[T]:
    """Return the first so many of what is found, or all."""
    taken: list[T] = []
    async for one in found:
        taken.append(one)
        if len(taken) == limit:
            break
    return taken


async def whole_state(client: Calls, lock: LockKey, limit: int | None, page: int = PAGE) -> LockState:
    """
    Tell how a lock stands, with all who wait for it, or so many of them.

    :param page: how many to ask for at a time.
    """
    state = await client.state(*lock, limit=page)
    queue, after = state.queue, state.next
    while after and (limit is None or len(queue) < limit):
        more = await client.state(*lock, after=after, limit=page)
        queue, after = queue + more.queue, more.next
    shown = queue[:limit]
    return replace(state, queue=shown, next=shown[-1].position if after or len(shown) < len(queue) else None)


@click.command()
@click.argument("lock", type=LOCK)
@common_options
@click.pass_obj
def get(options: CommonOptions, lock: LockKey) -> NoReturn:
    """Print the JSON text of a selector, without locking it."""

    async def work(client: Calls) -> int:
        document = await client.get(*lock)
        if options.json:
            # As it was written, because not all of it need be a value of Python's; but in one line.
            data = document.text.translate({ord("\n"): " ", ord("\r"): " "})
            names = json.dumps({"resource": lock.resource, "selector": lock.selector})
            emit(f'{names[:-1]}, "data": {data}, "etag": {json.dumps(document.etag)}}}')
        else:
            emit(escaped(document.text) if os.isatty(1) else document.text)
        return Status.OK

    options.ask(work)


@click.command()
@click.argument("resource", type=RESOURCE, required=False)
@click.option("--prefix", default="", help="Only names that begin with this.")
@limit_option
@common_options
@click.pass_obj
def ls(options: CommonOptions, resource: str | None, prefix: str, limit: int | None) -> NoReturn:
    """List the resources; or, of one of them, the selectors that have data or are locked."""
    page = min(limit or PAGE, PAGE)

    async def work(client: Calls) -> int:
        if resource is None:
            resources = await first(client.resources(prefix, page=page), limit)
            if options.json:
                emit_json(resources)
            else:
                rows = [(write_name(r.name), r.timeout or "default", r.held, r.waiting) for r in resources]
                emit_table(("RESOURCE", "TIMEOUT", "HELD", "WAITING"), rows)
        else:
            selectors = await first(client.selectors(resource, prefix, page=page), limit)
            if options.json:
                emit_json(selectors)
            else:
                lines = [(write_lock(resource, s.selector), _yes(s.data), _yes(s.held), s.waiting) for s in selectors]
                emit_table(("SELECTOR", "DATA", "HELD", "WAITING"), lines)
        return Status.OK

    options.ask(work)


@click.command()
@click.argument("what", type=RESOURCE_OR_LOCK)
@limit_option
@common_options
@click.pass_obj
def show(options: CommonOptions, what: LockKey, limit: int | None) -> NoReturn:
    """Show who holds a lock and who waits for it; or, of a whole resource, each selector with its holder."""

    async def work(client: Calls) -> int:
        await (_show_lock(client, what) if what.selector else _show_resource(client, what.resource))
        return Status.OK

    async def _show_lock(client: Calls, lock: LockKey) -> None:
        state = await whole_state(client, lock, limit)
        if options.json:
            emit_json(state)
            return
        rows: list[tuple[object, ...]] = [_held(state.holder)]
        rows += [(w.position, w.owner, w.key, "", clock_time(w.waited), clock_time(w.left)) for w in state.queue]
        emit_table(("POSITION", *HELD), rows)

    async def _show_resource(client: Calls, resource: str) -> None:
        selectors = await first(client.selectors(resource, page=min(limit or PAGE, PAGE)), limit)
        if options.json:
            emit_json(selectors)
        else:
            rows = [(write_lock(resource, s.selector), *_standing(s), s.waiting, _reason(s)) for s in selectors]
            emit_table(("SELECTOR", "STATE", *HELD, "WAITING", "OUT"), rows)

    options.ask(work)


@click.command()
@click.option("--owner", default="", metavar="TEXT", help="Only what this owner holds or waits for.")
@click.option("--resource", type=RESOURCE, help="Only what is of this resource.")
@click.option(
    "--sort",
    type=click.Choice(["held", "waiting"]),
    default="held",
    show_default=True,
    help="What is held, or who waits; the longest first.",
)
@limit_option
@common_options_without_owner
@click.pass_obj
def locks(options: CommonOptions, owner: str, resource: str | None, sort: str, limit: int | None) -> NoReturn:
    """List who holds what, everywhere, what is held for the longest first; or who waits for what."""
    page = min(limit or PAGE, PAGE)

    async def work(client: Calls) -> int:
        if sort == "held":
            held = await first(client.held_locks(resource or "", owner, page=page), limit)
            if options.json:
                emit_json(held)
            else:
                rows = [(write_lock(h.resource, h.selector), *_held(h.holder), h.waiting) for h in held]
                emit_table(("SELECTOR", "STATE", *HELD, "WAITING"), rows)
        else:
            tickets = await first(client.waiting_tickets(resource or "", owner, page=page), limit)
            if options.json:
                emit_json(tickets)
            else:
                lines = [
                    (_wanted(t), t.owner, t.key, clock_time(t.waited), clock_time(t.left), *_blocked(t))
                    for t in tickets
                ]
                emit_table(("WAITS FOR", "OWNER", "KEY", "SINCE", "LEFT", "HELD BY", "WAITING"), lines)
        return Status.OK

    options.ask(work)


@click.command()
@click.argument("what", type=RESOURCE_OR_LOCK)
@click.option("--before", type=EVENT_ID, metavar="ID", help="Only what came before this event.")
@click.option(
    "--limit", type=click.IntRange(min=1), metavar="N", default=100, show_default=True, help="How many, at most."
)
@common_options
@click.pass_obj
def events(options: CommonOptions, what: LockKey, before: int | None, limit: int) -> NoReturn:
    """Tell what happened to a lock and its data, or to a whole resource, the latest first."""

    async def work(client: Calls) -> int:
        found = await first(client.events(*what, before=before, page=min(limit, PAGE)), limit)
        if options.json:
            emit_json(found)
        else:
            # Of one lock everybody knows which it is.
            where = () if what.selector else ("SELECTOR",)
            rows = [
                (
                    *(e.id, e.at, e.event),
                    *(write_lock(e.resource, e.selector) for _ in where),
                    *(e.owner, e.key, e.fence, f"{e.seconds:.3f}", _broken(e)),
                )
                for e in found
            ]
            emit_table(("ID", "AT", "EVENT", *where, "OWNER", "KEY", "FENCE", "SECONDS", "BROKEN BY"), rows)
        return Status.OK

    options.ask(work)


@click.command()
@click.argument("what", type=RESOURCE_OR_LOCK, required=False)
@click.option("--prefix", default="", help="Only resources whose names begin with this.")
@click.option("--after", type=EVENT_ID, metavar="ID", help="Begin after this event. [default: now]")
@common_options
@click.pass_obj
def watch(options: CommonOptions, what: LockKey | None, prefix: str, after: int | None) -> NoReturn:
    """Follow what happens: everywhere, to a resource, or to one lock; with -o json in a line for each event."""
    if what and prefix:
        raise click.UsageError("It takes a resource or a --prefix, not both.")

    async def work(process: CliProcess) -> int:
        from resourced.calls.values import Gap

        async with process.client.watch(what.resource if what else prefix, after=after) as happenings:
            async for event in happenings:
                if isinstance(event, Gap):
                    _print_gap(event, options)
                elif what is None or _is_of(event, what):
                    _print_event(event, options)
        return Status.OK

    options.perform(work)


def _is_of(event: Event, what: LockKey) -> bool:
    return event.resource == what.resource and what.selector in {"", event.selector}


def _print_event(event: Event, options: CommonOptions) -> None:
    if options.json:
        emit_json(event)
    else:
        lock = write_lock(event.resource, event.selector)
        broken = f"  by {_broken(event)}" if event.by else ""
        emit(f"{event.at}  {event.event:<7}  {lock}  {event.owner}  {event.fence}  {event.seconds:.3f}{broken}")


def _broken(event: Event) -> str:
    """Tell who broke a lock, and why."""
    return f"{event.by}: {event.reason}" if event.reason else event.by


def _print_gap(gap: Gap, options: CommonOptions) -> None:
    if options.json:
        emit_json({"gap": gap.reason})
    else:
        say(f"Events are missing here: {gap.reason}")


def _held(holder: Holder | None) -> tuple[object, ...]:
    """Return how a lock stands, and the columns ``HELD``."""
    if holder is None:
        return ("free", "", "", "", "", "")
    standing = "holder" if holder.claimed else "next"
    return (standing, holder.owner, holder.key, holder.fence, clock_time(holder.held), clock_time(holder.left))


def _standing(selector: Selector) -> tuple[object, ...]:
    """Return the same of a selector, which may be a unit that nobody holds because it is out of service."""
    state, *held = _held(selector.holder)
    out = selector.holder is None and selector.card is not None and selector.card.out is not None
    return ("out" if out else state, *held)


def _reason(selector: Selector) -> str:
    """Return why a unit is out of service, if it is."""
    return escaped(selector.card.out or "") if selector.card else ""


def _wanted(ticket: WaitingTicket) -> str:
    """Write what a ticket waits for."""
    if not ticket.want:
        return write_lock(ticket.resource, ticket.selector)
    return " ".join(_want(**want) for want in ticket.want)


def _want(resource: str, selector: str = "", tags: Sequence[str] = (), count: object = 1) -> str:
    return write_lock(resource, selector) if selector else write_any(resource, tags, count)


def _blocked(ticket: WaitingTicket) -> tuple[object, ...]:
    """Return who holds what a ticket waits for, and how many wait for it."""
    return (ticket.holder.owner if ticket.holder else "", "" if ticket.want else ticket.waiting)


def _yes(fact: bool) -> str:
    return "yes" if fact else "no"
