"""
A flame graph of the daemon under load.

    .venv/bin/python -m bench.profile [cycle | read | put | shared] [--store volatile | sqlite | mariadb] [--output profile.svg]

py-spy looks at the process from outside, as it was installed, a few hundred times a second; it has to be root, or the
system has to let it look at processes of its own user.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

from bench.clients import KINDS
from bench.servers import Servers


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", nargs="?", default="cycle", choices=[kind for kind in KINDS if kind != "leaf"])
    parser.add_argument("--store", default="volatile", choices=["volatile", "sqlite", "mariadb"])
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--seconds", type=int, default=5)
    parser.add_argument("--output", type=Path, default=Path("profile.svg"))
    parser.add_argument("options", nargs="*", help="more options of the daemon, after --")
    arguments = parser.parse_args()
    with ExitStack() as stack:
        servers = Servers(stack, tuple(arguments.options))
        port = servers.port(arguments.store)
        load = [sys.executable, "-m", "bench.load", arguments.kind, "--port", str(port)]
        load += ["--clients", str(arguments.clients), "--seconds", str(arguments.seconds + 2)]
        generator = stack.enter_context(subprocess.Popen(load, stdout=subprocess.DEVNULL))
        spy = ["py-spy", "record", "--gil", "--threads", "--rate", "400"]
        spy += [
            "--duration",
            str(arguments.seconds),
            "--output",
            arguments.output.name,
            "--pid",
            str(servers.pids[arguments.store]),
        ]
        try:
            # The command is the title of the picture, so it has no path of this machine.
            subprocess.run(
                spy, executable=Path(sys.executable).with_name("py-spy"), cwd=arguments.output.parent, check=True
            )
        finally:
            generator.kill()


if __name__ == "__main__":
    main()
