"""Completion in shells: ``resourcectl completion``, and the names, which the server is asked for."""

from __future__ import annotations

import shlex
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import suppress
from threading import Thread
from typing import TYPE_CHECKING, Any, Final, TypeAlias, TypeVar
from urllib.parse import unquote

import click
from click.shell_completion import get_completion_class

from resourced.cli.names import write_lock, write_name
from resourced.cli.output import emit

if TYPE_CHECKING:
    from resourced.calls.api import Calls
    from resourced.cli.settings import Settings

T = TypeVar("T")

#: Seconds that all servers together have for their answer. Who presses a key waits no longer.
PATIENCE: Final = 0.8

#: How many names are shown, at most.
MOST: Final = 100

#: What bash takes for the end of a word beside spaces: a name with it cannot be completed.
_BREAKS: Final = frozenset(":=")

#: Returns what may follow of an argument that has begun.
Names: TypeAlias = "Callable[[Calls, str], Coroutine[Any, Any, list[str]]]"


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """
    Print what makes a shell complete commands, options and names.

    For bash, in ~/.bashrc: eval "$(resourcectl completion bash)". Names come from the server, if it answers within a second.
    """
    kind = get_completion_class(shell)
    if kind is None:
        raise click.UsageError(f"There is no completion for {shell}.")
    root = context.find_root()
    name = str(root.info_name)
    emit(kind(root.command, {}, name, f"_{name.upper()}_COMPLETE").source())


async def resources(client: Calls, begun: str) -> list[str]:
    """Return the resources whose names begin with what is there already, as they are written."""
    found = await _some(client.resources(unquote(begun), page=MOST))
    return _completing(begun, [write_name(each.name) for each in found])


async def locks(client: Calls, begun: str) -> list[str]:
    """
    Return what may follow of RESOURCE/SELECTOR: the selectors of a resource, as soon as there is no other.

    A resource that is one of several ends with its slash.
    """
    resource, slash, selector = begun.partition("/")
    if not slash:
        candidates = await resources(client, begun)
        if len(candidates) != 1:
            return [f"{name}/" for name in candidates]
        [resource] = candidates
    name = unquote(resource)
    found = await _some(client.selectors(name, unquote(selector), page=MOST))
    selectors = [write_lock(name, each.selector) for each in found]
    return _completing(begun, selectors) or ([] if slash else [f"{resource}/"])


async def resources_or_locks(client: Calls, begun: str) -> list[str]:
    """Return the resources, or the selectors of the one that is there already."""
    return await (locks(client, begun) if "/" in begun else resources(client, begun))


async def _some(items: AsyncIterator[T]) -> list[T]:
    """Return what a list begins with, in one answer."""
    found: list[T] = []
    async for item in items:
        found.append(item)
        if len(found) == MOST:
            break
    return found


def _completing(begun: str, candidates: Sequence[str]) -> list[str]:
    """Keep what goes on from what was typed, and means itself to a shell."""
    return [
        name for name in candidates if name.startswith(begun) and shlex.quote(name) == name and not _BREAKS & set(name)
    ]


def completed(load: Callable[[], Settings], names: Names, begun: str) -> list[str]:
    """
    Return names from the server; none if it cannot be asked, or does not answer in time.

    :param load: returns where it is.
    :param names: one of the functions above.
    """
    found: list[str] = []

    def look() -> None:
        # Whatever goes wrong, nobody wants to read of it in the middle of a command line.
        with suppress(Exception):
            from resourced.calls.plain import PlainClient, run

            settings = load()
            client = PlainClient(settings.urls, settings.key, timeout=PATIENCE, retry_timeout=0)
            found.extend(run(names(client, begun)))

    # All servers together have this long.
    looking = Thread(target=look, daemon=True)
    looking.start()
    looking.join(PATIENCE)
    return [] if looking.is_alive() else found
