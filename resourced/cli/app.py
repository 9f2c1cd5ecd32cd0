"""The command line as a whole: ``resourcectl`` and its commands."""

from __future__ import annotations

import sys

import click
from click.shell_completion import get_completion_class

from resourced.cli.changing import break_command, create, timeout_command
from resourced.cli.locking import lock_command, put, rm, unlock
from resourced.cli.looking import events, get, locks, ls, show, watch
from resourced.cli.nodes import drain, nodes
from resourced.cli.options import CommonOptions, common_options
from resourced.cli.output import emit, say
from resourced.cli.process import unwritten
from resourced.cli.run import run
from resourced.cli.status import Status
from resourced.cli.units import back, out, tag, usage
from resourced.errors import ConfigurationError

NAME = "resourcectl"


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="resourced", prog_name=NAME, message="%(prog)s %(version)s")
@common_options
@click.pass_context
def cli(context: click.Context) -> None:
    """
    Share named things with other programs, through a resourced server.

    A RESOURCE/SELECTOR is such as printer/A4; a slash in a name is written %2F, a percent sign %25.
    """
    context.ensure_object(CommonOptions)


@cli.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """
    Print what makes a shell complete the commands.

    For bash, in ~/.bashrc: eval "$(resourcectl completion bash)".
    """
    kind = get_completion_class(shell)
    if kind is None:
        raise click.UsageError(f"There is no completion for {shell}.")
    emit(kind(cli, {}, NAME, f"_{NAME.upper()}_COMPLETE").source())


for command in (
    run,
    lock_command,
    unlock,
    get,
    put,
    ls,
    show,
    locks,
    watch,
    events,
    create,
    timeout_command,
    rm,
    tag,
    out,
    back,
    usage,
    break_command,
    nodes,
    drain,
):
    cli.add_command(command)


def main() -> None:
    """Do what the command line says, and end with a status of ``Status`` or of the command that was run."""
    try:
        status = cli.main(prog_name=NAME, standalone_mode=False) or Status.OK
    except click.ClickException as error:
        error.show()
        status = Status.USAGE
    except ConfigurationError as error:
        say(error.sentence)
        status = Status.CONFIGURATION
    except OSError as error:
        status = unwritten(error)
    sys.exit(status)
