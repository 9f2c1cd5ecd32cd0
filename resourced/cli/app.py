"""The command line as a whole: ``resourcectl`` and its commands."""

from __future__ import annotations

import sys
from types import MappingProxyType
from typing import Final

import click

from resourced.cli.changing import break_command, create, timeout_command
from resourced.cli.completing import completion
from resourced.cli.locking import lock_command, put, rm, unlock
from resourced.cli.looking import events, get, locks, ls, show, watch
from resourced.cli.nodes import drain, nodes
from resourced.cli.options import CommonOptions, common_options
from resourced.cli.output import say, unwritten
from resourced.cli.run import run
from resourced.cli.status import Status
from resourced.cli.units import back, out, tag, usage
from resourced.errors import ConfigurationError

NAME = "resourcectl"

#: The commands as the help shows them.
SECTIONS: Final = MappingProxyType(
    {
        "Hold locks": (run, lock_command, unlock),
        "Read and write data": (get, put, rm),
        "See who holds what": (ls, show, locks, events, watch, usage),
        "Look after resources and units": (create, timeout_command, tag, out, back, break_command),
        "See and drain the nodes of a cluster": (nodes, drain),
        "Set up the shell": (completion,),
    }
)


class _InSections(click.Group):
    """Shows its commands in sections."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - click's own
        width = max(map(len, self.commands))
        for title, commands in SECTIONS.items():
            with formatter.section(title):
                limit = formatter.width - 6 - width
                formatter.write_dl(
                    [(str(command.name).ljust(width), command.get_short_help_str(limit)) for command in commands]
                )


@click.group(cls=_InSections, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="resourced", prog_name=NAME, message="%(prog)s %(version)s")
@common_options
@click.pass_context
def cli(context: click.Context) -> None:
    """
    Share named things with other programs, through a resourced server.

    A RESOURCE/SELECTOR is such as printer/A4; a slash in a name is written %2F, a percent sign %25.
    """
    context.ensure_object(CommonOptions)


for each in SECTIONS.values():
    for command in each:
        cli.add_command(command)


def main() -> None:
    """Do what the command line says, and end with a status of ``Status`` or of the command that was run."""
    try:
        status = cli.main(prog_name=NAME, standalone_mode=False) or Status.OK
    except click.ClickException as error:
        # Click prints it to stdout if stderr is closed.
        if sys.stderr is not None:
            error.show()
        status = Status.USAGE
    except ConfigurationError as error:
        say(error.sentence)
        status = Status.CONFIGURATION
    except OSError as error:
        status = unwritten(error)
    sys.exit(status)
