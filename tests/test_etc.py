"""The files for operators, held against the code that they tell about."""

from __future__ import annotations

import configparser
import os
import re
import shutil
import subprocess
import tempfile
import unittest
from pathlib import Path

import pytest
from twisted.trial.unittest import SynchronousTestCase

from resourced.settings import SETTINGS

pytestmark = pytest.mark.trial

# Trial changes the directory before it runs the tests.
ROOT = Path(__file__).resolve().parent.parent
DEFAULTS = {setting.variable: setting.default for setting in SETTINGS}


def unit(name: str) -> dict[str, dict[str, list[str]]]:
    """Read a unit file, in which a name may come several times."""
    found: dict[str, dict[str, list[str]]] = {}
    section = ""
    for line in (ROOT / "etc" / name).read_text().splitlines():
        if line.startswith("["):
            section = line.strip("[]")
        elif line and not line.startswith("#"):
            key, _, value = line.partition("=")
            found.setdefault(section, {}).setdefault(key, []).append(value)
    return found


def seconds(text: str) -> float:
    return float(text.rstrip("s"))


LONGEST_STOP = float(DEFAULTS["RESOURCED_GRACE"]) + 2 * float(DEFAULTS["RESOURCED_STORE_TIMEOUT"])


class EnvironmentFileTests(SynchronousTestCase):
    def test_every_variable(self):
        """The file explains every variable there is and no other, each with its default."""
        text = (ROOT / "etc/default/resourced").read_text()
        self.assertEqual(dict(re.findall(r"^#([A-Z_]+)=(.*)$", text, re.MULTILINE)), DEFAULTS)

    def test_nothing_is_set(self):
        """As it comes it changes nothing."""
        text = (ROOT / "etc/default/resourced").read_text()
        self.assertEqual([line for line in text.splitlines() if line and not line.startswith("#")], [])


class UnitTests(SynchronousTestCase):
    def test_service(self):
        """systemd is told when the daemon is ready and alive, and how to reload; gives it time to end, and files enough for its connections."""
        service = unit("resourced.service")["Service"]
        self.assertEqual(service["Type"], ["notify"])
        self.assertEqual(service["DynamicUser"], ["yes"])
        self.assertEqual(service["StateDirectory"], ["resourced"])
        self.assertEqual(service["ExecReload"], ["kill -HUP $MAINPID"])
        self.assertEqual(service["EnvironmentFile"], ["-/etc/default/resourced"])
        self.assertGreater(float(service["WatchdogSec"][0]), 10)
        self.assertGreater(float(service["TimeoutStopSec"][0]), LONGEST_STOP)
        self.assertGreater(int(service["LimitNOFILE"][0]), int(DEFAULTS["RESOURCED_MAX_CONNECTIONS"]) + 100)

    def test_bounds(self):
        """A daemon that takes more than it may is ended before the machine suffers; what it may take fits in."""
        service = unit("resourced.service")["Service"]
        gib = int(service["MemoryMax"][0].removesuffix("G"))
        bodies = int(DEFAULTS["RESOURCED_MAX_BUFFERED"].removesuffix("M")) << 20
        self.assertGreater(gib << 30, (1 << 28) + bodies + 10_000 * int(DEFAULTS["RESOURCED_MAX_WAITING"]))
        self.assertGreater(int(service["TasksMax"][0]), 30)

    def test_credentials(self):
        """The drop-in hands over each file that it names in a variable, and no variable that does not exist."""
        service = unit("resourced.service.d/credentials.conf")["Service"]
        variables = dict(each.split("=", 1) for each in service["Environment"])
        self.assertEqual(set(variables) - set(DEFAULTS), set())
        named = set(re.findall(r"%d/([\w.]+)", " ".join(variables.values())))
        self.assertEqual(named, {each.partition(":")[0] for each in service["LoadCredential"]})

    @unittest.skipUnless(shutil.which("systemd-analyze"), "There is no systemd-analyze here.")
    def test_verified(self):
        """systemd itself has nothing to say against the units."""
        with tempfile.TemporaryDirectory() as folder:
            text = (ROOT / "etc/resourced.service").read_text().replace("/opt/resourced/bin/resourced", "/bin/true")
            (Path(folder) / "resourced.service").write_text(text)
            shutil.copytree(ROOT / "etc/resourced.service.d", Path(folder) / "resourced.service.d")
            done = subprocess.run(
                ["systemd-analyze", "verify", "resourced.service"],
                cwd=folder,
                env={**os.environ, "SYSTEMD_UNIT_PATH": f"{folder}:"},
                capture_output=True,
                text=True,
                check=False,
            )
        complaints = [line for line in done.stderr.splitlines() if "resourced" in line]
        self.assertEqual((done.returncode, complaints), (0, []), done.stderr)

    def test_socket(self):
        """The socket is on the daemon's usual port, and says how the daemon finds it."""
        [listen] = unit("resourced.socket")["Socket"]["ListenStream"]
        self.assertEqual(f"tcp:{listen}", DEFAULTS["RESOURCED_LISTEN"])
        named = "systemd:domain=INET6:name=resourced.socket"
        self.assertIn(f"RESOURCED_LISTEN={named}", (ROOT / "etc/resourced.socket").read_text())
        self.assertIn(named, (ROOT / "etc/default/resourced").read_text())


class OtherManagersTests(SynchronousTestCase):
    def test_supervisor(self):
        """Supervisor starts the daemon again whatever it died of, and gives it time to end."""
        config = configparser.ConfigParser(comment_prefixes=(";",), interpolation=None)
        config.read(ROOT / "etc/supervisor.conf")
        program = config["program:resourced"]
        self.assertEqual(program["stopsignal"], "TERM")
        self.assertEqual(program["autorestart"], "true")
        self.assertGreater(float(program["stopwaitsecs"]), LONGEST_STOP)
        named = set(re.findall(r"([A-Z_]+)=", program["environment"]))
        self.assertEqual(named - set(DEFAULTS), set())

    def test_compose(self):
        """The compose file names variables that there are, and gives the daemon time to end."""
        text = (ROOT / "etc/compose.yaml").read_text()
        daemon = text.partition("\n  mysql:")[0]
        named = set(re.findall(r"^      ([A-Z_]+):", daemon, re.MULTILINE))
        self.assertEqual(named - set(DEFAULTS), set())
        [grace] = re.findall(r"stop_grace_period: (\S+)", daemon)
        self.assertGreater(seconds(grace), LONGEST_STOP)

    def test_dockerfile(self):
        """The image runs as a user that is not root, is told to end as the daemon expects it, and is made of the wheel only."""
        text = (ROOT / "etc/Dockerfile").read_text()
        [user] = re.findall(r"^USER (\S+)$", text, re.MULTILINE)
        self.assertNotIn(user.partition(":")[0], {"root", "0"})
        self.assertIn("\nSTOPSIGNAL SIGTERM\n", text)
        self.assertIn("\nHEALTHCHECK ", text)
        copied = [
            name for names in re.findall(r"^COPY (?!--from)(.+) \S+$", text, re.MULTILINE) for name in names.split()
        ]
        # Of the repository there is the wheel in it, and nothing else.
        self.assertEqual(copied, ["dist/*.whl"])
        ignored = (ROOT / "etc/Dockerfile.dockerignore").read_text().splitlines()
        self.assertEqual(ignored[-2:], ["*", "!dist/*.whl"])
        named = set(re.findall(r"(RESOURCED?_[A-Z_]+)=", text))
        self.assertEqual(named - set(DEFAULTS), set())

    def test_proxy(self):
        """The proxy waits longer for an answer than a request may wait for a lock, and takes bodies as large as the daemon does."""
        text = (ROOT / "etc/nginx.conf").read_text()
        [wait] = re.findall(r"proxy_read_timeout (\S+);", text)
        self.assertGreater(seconds(wait), float(DEFAULTS["RESOURCED_MAX_WAIT"]) + 5)
        [body] = re.findall(r"client_max_body_size (\d+)m;", text)
        self.assertEqual(int(body) << 20, int(DEFAULTS["RESOURCED_MAX_BODY"]))
