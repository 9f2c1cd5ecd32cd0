"""Completion in shells: ``resourcectl completion``, and the names, which the server is asked for."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Sequence
from contextlib import suppress
from threading import Thread
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, unquote, urlencode, urlsplit

import click
from click.shell_completion import get_completion_class

from resourced.cli.names import write_lock, write_name
from resourced.cli.output import emit

if TYPE_CHECKING:
    from resourced.cli.settings import Settings

#: Seconds that all servers together have for their answer. Who presses a key waits no longer.
PATIENCE: Final = 0.8

#: How many names are shown, at most.
MOST: Final = 100

#: What bash takes for the end of a word beside spaces: a name with it cannot be completed.
_BREAKS: Final = frozenset(":=")

#: Asks a server for a path and returns what the JSON object in the answer has in it; nothing if there is no such answer.
Ask = Callable[[str], dict[str, Any]]


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


def resources(ask: Ask, begun: str) -> list[str]:
    """Return the resources whose names begin with what is there already, as they are written."""
    found = ask(f"/resource?{urlencode({'prefix': unquote(begun), 'limit': MOST})}")
    return _completing(begun, [write_name(each["name"]) for each in found.get("resources", ())])


def locks(ask: Ask, begun: str) -> list[str]:
    """
    Return what may follow of RESOURCE/SELECTOR: the selectors of a resource, as soon as there is no other.

    A resource that is one of several ends with its slash.
    """
    resource, slash, selector = begun.partition("/")
    if not slash:
        candidates = resources(ask, begun)
        if len(candidates) != 1:
            return [f"{name}/" for name in candidates]
        [resource] = candidates
    name = unquote(resource)
    found = ask(f"/resource/{quote(name, safe='')}?{urlencode({'prefix': unquote(selector), 'limit': MOST})}")
    selectors = [write_lock(name, each["selector"]) for each in found.get("selectors", ())]
    return _completing(begun, selectors) or ([] if slash else [f"{resource}/"])


def resources_or_locks(ask: Ask, begun: str) -> list[str]:
    """Return the resources, or the selectors of the one that is there already."""
    return locks(ask, begun) if "/" in begun else resources(ask, begun)


def _completing(begun: str, candidates: Sequence[str]) -> list[str]:
    """Keep what goes on from what was typed, and means itself to a shell."""
    return [
        name for name in candidates if name.startswith(begun) and shlex.quote(name) == name and not _BREAKS & set(name)
    ]


def completed(load: Callable[[], Settings], names: Callable[[Ask, str], list[str]], begun: str) -> list[str]:
    """
    Return names from the server; none if it cannot be asked, or does not answer in time.

    :param load: returns where it is.
    :param names: one of the functions above.
    """
    found: list[str] = []

    def look() -> None:
        # Whatever goes wrong, nobody wants to read of it in the middle of a command line.
        with suppress(Exception):
            settings = load()
            found.extend(names(lambda path: _ask(settings, path), begun))

    # How long a name server takes is out of anybody's hands but by going on without it.
    looking = Thread(target=look, daemon=True)
    looking.start()
    looking.join(PATIENCE)
    return [] if looking.is_alive() else found


def _ask(settings: Settings, path: str) -> dict[str, Any]:
    """Ask each server until one answers."""
    import http.client

    for url in settings.urls:
        with suppress(OSError, http.client.HTTPException):
            where = urlsplit(url)
            kind = http.client.HTTPSConnection if where.scheme == "https" else http.client.HTTPConnection
            connection = kind(str(where.hostname), where.port, timeout=PATIENCE)
            connection.request("GET", where.path.rstrip("/") + path, headers={"x-api-key": settings.key})
            answer = connection.getresponse()
            if answer.status == http.client.OK:
                found = json.load(answer)
                return found if isinstance(found, dict) else {}
    return {}
