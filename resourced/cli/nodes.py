"""The commands about the nodes of a cluster: ``nodes`` and ``drain``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, NoReturn

import click

from resourced.cli.options import CommonOptions, common_options_without_owner
from resourced.cli.output import emit_json, emit_table, say
from resourced.cli.status import Status

if TYPE_CHECKING:
    from resourced.calls.api import Calls
    from resourced.calls.values import Node

#: Seconds between two looks at a node that gives its partitions away.
LOOK: Final = 0.5


@click.command()
@common_options_without_owner
@click.pass_obj
def nodes(options: CommonOptions) -> NoReturn:
    """List the nodes of the cluster: which are up, and how many of the partitions each owns."""

    async def work(client: Calls) -> int:
        cluster = await client.cluster()
        if options.json:
            emit_json(cluster)
        else:
            _print(cluster.nodes)
            if cluster.moving:
                say(f"{cluster.moving} partitions have no owner at this moment.")
        return Status.OK

    options.ask(work)


@click.command()
@click.argument("node", type=click.IntRange(min=1))
@click.option("--undo", is_flag=True, help="Let the node have partitions again.")
@common_options_without_owner
@click.pass_obj
def drain(options: CommonOptions, node: int, undo: bool) -> NoReturn:
    """Let a NODE give its partitions to the others, and wait until it owns none: it can be stopped then without a pause."""

    async def work(client: Calls) -> int:
        from resourced.calls.plain import sleep

        shown = await (client.undrain(node) if undo else client.drain(node))
        while shown.partitions and not undo:
            await sleep(LOOK)
            shown = next(found for found in (await client.cluster()).nodes if found.id == node)
        if options.json:
            emit_json(shown)
        else:
            _print([shown])
        return Status.OK

    options.ask(work)


def _print(shown: Sequence[Node]) -> None:
    rows = [
        (
            node.id,
            "draining" if node.draining and node.state == "up" else node.state,
            node.partitions,
            node.term,
            node.beat,
            f"{node.still:.1f}",
            node.url or "here",
        )
        for node in shown
    ]
    emit_table(("NODE", "STATE", "PARTITIONS", "TERM", "BEAT", "STILL", "URL"), rows)
