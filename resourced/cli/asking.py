"""A command that asks something and ends: it holds nothing, so that any signal may end it at any time."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, NoReturn

from resourced.calls.api import Calls
from resourced.calls.errors import ClientError
from resourced.calls.plain import PlainClient, run
from resourced.cli.output import say, unwritten
from resourced.cli.settings import Settings
from resourced.cli.status import exit_status


def ask(settings: Settings, retry_timeout: float, work: Callable[[Calls], Coroutine[Any, Any, int]]) -> NoReturn:
    """
    Do work with a client, and end the process with the status that it returns, or that its error stands for.

    :param retry_timeout: seconds to go on trying while no server answers.
    """
    client = PlainClient(settings.urls, settings.key, owner=settings.owner, retry_timeout=retry_timeout)
    try:
        status = run(work(client))
    except ClientError as error:
        say(error.sentence)
        status = exit_status(error)
    except OSError as error:
        status = unwritten(error)
    raise SystemExit(status)
