"""``resourcectl run`` as it is written on the command line; ``running`` does it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import click

from resourced.cli.locking import lease_option, priority_option, wait_option
from resourced.cli.options import ANY, COUNT, LOCK, SECONDS, CommonOptions, common_options

if TYPE_CHECKING:
    from resourced.client import Want
    from resourced.model import LockKey


class _WithCommand(click.Command):
    """Takes everything after ``--`` as a command, whose options are not its own."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        own, command = args, []
        if "--" in args:
            own, command = args[: args.index("--")], args[args.index("--") + 1 :]
        try:
            rest = super().parse_args(ctx, own)
        except click.MissingParameter:
            raise
        except click.UsageError as error:
            if "--" in args:
                raise
            hint = "A command stands after --, with all its options, such as: run printer/A4 -- ls -l"
            raise click.UsageError(f"{error.format_message()} {hint}", ctx) from None
        if not command and not ctx.resilient_parsing:
            raise click.UsageError("It takes a command after --, such as: -- make flash", ctx)
        ctx.params["command"] = tuple(command)
        return rest

    def collect_usage_pieces(self, ctx: click.Context) -> list[str]:
        return [*super().collect_usage_pieces(ctx), "-- COMMAND [ARGUMENTS]..."]


@click.command(cls=_WithCommand)
@click.argument("locks", type=LOCK, nargs=-1, metavar="[RESOURCE/SELECTOR]...")
@click.option(
    "--any",
    "units",
    type=ANY,
    multiple=True,
    metavar="RESOURCE",
    help="Any unit of this resource; also as phones[android]*2, and once more for more.",
)
@click.option("--tag", "tags", multiple=True, help="A tag that the unit of --any must have; once more for more.")
@click.option("--count", type=COUNT, help="How many units of --any; or all. [default: 1]")
@click.option("--yield", "yields", is_flag=True, help="Have nothing kept while it waits for several things.")
@wait_option
@click.option(
    "--grace",
    type=SECONDS,
    default="10",
    show_default=True,
    metavar="SECONDS",
    help="If the lock is lost: from SIGTERM to SIGKILL.",
)
@click.option("--create", is_flag=True, help="Create the resource if it is not there.")
@lease_option
@priority_option
@click.option(
    "--out-on",
    type=click.IntRange(1, 255),
    metavar="STATUS",
    help="Give the unit back as broken if this is the status.",
)
@common_options
@click.pass_obj
def run(
    options: CommonOptions,
    /,
    locks: tuple[LockKey, ...],
    units: tuple[Want, ...],
    tags: tuple[str, ...],
    count: int | Literal["all"] | None,
    grace: float,
    out_on: int | None,
    command: tuple[str, ...],
    **how: Any,
) -> None:
    """
    Run a command while a lock is held, or several at once.

    The command finds RESOURCED_LOCK, RESOURCED_TICKET, RESOURCED_FENCE and RESOURCED_DATA in its environment. Its exit
    status is passed on; 79 means that the lock was lost and the command was ended, 75 that --wait was over. A run within
    a run enters what is held already at once.
    """
    from resourced.cli.running import run_with

    run_with(options, locks, units, tags, count, how, command, grace=grace, out_on=out_on)
