"""What all commands have in common on the command line: the options that say where and how, and how a lock is named."""

from __future__ import annotations

import os
import pwd
import re
import socket
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, NoReturn, TypeVar

import click
from click.shell_completion import CompletionItem

from resourced.cli import completing, names
from resourced.cli.output import say
from resourced.cli.settings import Settings, load

if TYPE_CHECKING:
    from resourced.calls.api import Calls
    from resourced.cli.nesting import Around
    from resourced.cli.process import CliProcess
    from resourced.client import Want

#: Seconds to go on trying while no server answers, for what only asks.
ASKING_RETRY_TIMEOUT: Final = 5.0

F = TypeVar("F", bound=Callable[..., Any])


@dataclass
class CommonOptions:
    """
    The common options, as they were given before the command or after it.

    :ivar retry_timeout: seconds, or None for what suits the command.
    """

    url: tuple[str, ...] = ()
    key: str = ""
    owner: str = ""
    config: str = ""
    retry_timeout: float | None = None
    output: str = "table"
    quiet: bool = False

    @property
    def json(self) -> bool:
        """Whether the results are to be JSON."""
        return self.output == "json"

    def perform(
        self, work: Callable[[CliProcess], Coroutine[Any, Any, int]], retry_timeout: float = ASKING_RETRY_TIMEOUT
    ) -> NoReturn:
        """
        Do work with a client in the reactor, as all do that hold something, and end with its status.

        :param retry_timeout: seconds to go on trying while no server answers, if the user does not say.
        :raises ConfigurationError: something in the settings is missing or wrong.
        """
        from resourced.cli.process import perform

        settings = self._told_settings()
        perform(settings, retry_timeout if self.retry_timeout is None else self.retry_timeout, work, quiet=self.quiet)

    def ask(self, work: Callable[[Calls], Coroutine[Any, Any, int]]) -> NoReturn:
        """Do work that holds nothing, with a client that needs no reactor; else as ``perform``."""
        from resourced.cli.asking import ask

        ask(self._told_settings(), ASKING_RETRY_TIMEOUT if self.retry_timeout is None else self.retry_timeout, work)

    def _told_settings(self) -> Settings:
        """Return the settings, and tell what their user should know."""
        settings = self.settings
        if settings.warning:
            say(settings.warning)
        return settings if settings.owner else replace(settings, owner=_who())

    @cached_property
    def around(self) -> Around:
        """
        The locks that are held around this process.

        :raises ConfigurationError: something in the settings is missing or wrong.
        """
        from resourced.cli.nesting import VARIABLE, Around, around

        urls = self.settings.urls
        try:
            return around(os.environ, urls)
        except ValueError as error:
            say(f"{VARIABLE} is ignored: {error}.")
            return Around(urls)

    @cached_property
    def settings(self) -> Settings:
        """
        Where the server is, and who asks.

        :raises ConfigurationError: something is missing or wrong.
        """
        return load(os.environ, urls=self.url, key=self.key, owner=self.owner, config=self.config)


class _Argument(click.ParamType[Any]):
    """What is written in one way only; ``parse`` raises ``ValueError``."""

    def __init__(self, name: str, parse: Callable[[str], Any], complete: completing.Names | None = None) -> None:
        self.name = name
        self._parse = parse
        self._complete = complete

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        try:
            return self._parse(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)

    def shell_complete(
        self,
        ctx: click.Context,
        param: click.Parameter,  # noqa: ARG002 - click's own
        incomplete: str,
    ) -> list[CompletionItem]:
        if self._complete is None:
            return []
        options = ctx.find_root().ensure_object(CommonOptions)
        found = completing.completed(lambda: options.settings, self._complete, incomplete)
        return [CompletionItem(name) for name in found]


def _parse_seconds(argument: str) -> float:
    # The pattern also keeps out what float() would take: signs, exponents, inf and nan.
    if re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9})?", argument) is None:
        raise ValueError("It takes a number of seconds, such as 60 or 0.5.")
    return float(argument)


def _parse_any(argument: str) -> Want:
    from resourced.cli.wanting import parse_any

    return parse_any(argument)


#: The types of arguments: a name; a ``LockKey``; either, as a ``LockKey`` whose selector may be empty; any units, as a ``Want``; how many; and
#: seconds, also in parts.
RESOURCE: Final = _Argument("resource", names.parse_name, completing.resources)
LOCK: Final = _Argument("resource/selector", names.parse_lock, completing.locks)
RESOURCE_OR_LOCK: Final = _Argument("resource[/selector]", names.parse_either, completing.resources_or_locks)
ANY: Final = _Argument("resource[tags]*count", _parse_any, completing.resources)
COUNT: Final = _Argument("count", names.parse_count)
SECONDS: Final = _Argument("seconds", _parse_seconds)


def _who() -> str:
    """Return who runs this, and where, for people who look at locks."""
    try:
        user = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}"


def _keep(context: click.Context, parameter: click.Parameter, value: Any) -> None:
    if value not in {None, ()}:
        setattr(context.find_root().ensure_object(CommonOptions), str(parameter.name), value)


def _option(*names: str, help: str, **more: Any) -> Callable[[F], F]:  # noqa: A002 - click's own word
    return click.option(*names, help=help, callback=_keep, expose_value=False, **more)


_OWNER: Final = _option("--owner", metavar="TEXT", help="Who you are, for people who look at locks. [RESOURCED_OWNER]")

_COMMON: Final = (
    _option("--url", multiple=True, help="The server; once more for each that stands by. [RESOURCED_URL]"),
    _option("--key", help="The API key. ps shows it: prefer the variable, or the file. [RESOURCED_KEY]"),
    _OWNER,
    _option("--config", metavar="FILE", help="The file of settings, if not ~/.config/resourced/ctl.toml."),
    _option("--retry-timeout", type=SECONDS, metavar="SECONDS", help="How long to go on trying if no server answers."),
    _option("-q", "--quiet", is_flag=True, default=None, help="Say nothing of a wait, nor that it was in vain."),
    _option("-o", "--output", type=click.Choice(["table", "json"]), help="How results are printed."),
)


def common_options(command: F) -> F:
    """Give a command the options that all have; what stands after the command wins over what stands before it."""
    for option in reversed(_COMMON):
        command = option(command)
    return command


def common_options_without_owner(command: F) -> F:
    """Give a command the options that all have, but for the one to which it gives a meaning of its own."""
    for option in reversed(_COMMON):
        command = command if option is _OWNER else option(command)
    return command
