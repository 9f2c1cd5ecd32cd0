"""What the documents show, done as it stands there, against a real daemon."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from itertools import count
from pathlib import Path

import pytest
from docutils.utils import SystemMessage

from docs.operations import operations_as_text
from resourced import client, pytest_plugin
from resourced.api.openapi import description
from resourced.client import aio, blocking
from tests.daemon import PATIENCE, Daemon, eventually
from tests.documents import CRONTAB, FIRST, Block, Reader, as_pattern, read_blocks
from tests.galera import Galera, require
from tests.mariadb import MariaDB
from tests.ports import free_port
from tests.resourcectl import RESOURCECTL

ROOT = Path(__file__).parent.parent
TUTORIAL = "docs/tutorial/printer.rst"
RECIPES = "docs/how-to/recipes.rst"
CI = "docs/how-to/ci.rst"
#: What is done on one server, in this order.
PAGES = (
    "README.rst",
    "docs/tutorial/http.rst",
    "docs/how-to/install.rst",
    "docs/how-to/docker.rst",
    "docs/how-to/proxy.rst",
    "docs/how-to/protect.rst",
    "docs/how-to/keys.rst",
    "docs/how-to/mysql.rst",
    "docs/how-to/monitor.rst",
    "docs/reference/http.rst",
    "docs/how-to/python.rst",
    "docs/how-to/page.rst",
)
#: Those of ``make run``.
KEYS = {"RESOURCE_READ": "read-key", "RESOURCE_READ_LOCK": "lock-key", "RESOURCE_WRITE": "write-key"}


def read(document: str) -> list[Block]:
    return read_blocks((ROOT / document).read_text(), document)


def a_reader(folder: Path, port: int, **environ: str) -> Reader:
    """Make a reader whose server is on a port, and who has the pytest of a user: without the plugins of this project."""
    about = {
        "PATH": f"{Path(RESOURCECTL).parent}:{os.environ['PATH']}",
        "PYTEST_ADDOPTS": "-p no:twisted",
        "RESOURCED_URL": f"http://127.0.0.1:{port}",
    }
    return Reader(folder, port, about | environ, checkout=ROOT)


def as_programs(blocks: list[Block]) -> list[Block]:
    """Give each program a file, and have it run; and each stream, which does not end, a terminal of its own."""
    done: list[Block] = []
    numbers = count(1)
    for block in blocks:
        done.append(block)
        if block.language == "python":
            name = f"test_{next(numbers)}.py"
            command = "pytest -q" if "\ndef test_" in block.text else "python3"
            done[-1:] = [replace(block, caption=name), replace(block, language="shell", text=f"{command} {name}")]
        elif block.text.startswith("curl -N"):
            done[-1] = replace(block, caption=f"Stream {next(numbers)}")
            done.append(replace(done[-1], language="text", text="id: ..."))
    return done


@pytest.fixture
def daemon(tmp_path):
    folder = tmp_path / "daemon"
    folder.mkdir()
    with Daemon(folder, KEYS) as daemon:
        yield daemon


def test_tutorial(tmp_path):
    """Whoever does what the tutorial says sees what it shows, from the start of the server on."""
    port = free_port()
    listen = f"tcp:{port}:interface=127.0.0.1"
    with a_reader(tmp_path, port, RESOURCED_LISTEN=listen, RESOURCED_STORE=f"sqlite:{tmp_path}/store") as reader:
        reader.follow(read(TUTORIAL))


def test_no_collision():
    """Whoever follows the pages on one server, in any order, finds no resource there that another page made."""
    made = {
        document: set(re.findall(r"""(?:resourcectl create |-d '{"name": ")([\w-]+)""", (ROOT / document).read_text()))
        for document in ("README.rst", TUTORIAL, "docs/tutorial/http.rst")
    }
    assert all(made.values())
    assert len(set().union(*made.values())) == sum(map(len, made.values()))
    # Nor a fence that only a new server would give.
    assert re.findall(r"--fence \d", (ROOT / TUTORIAL).read_text()) == []


def test_every_page():
    """Each page that has a block of code is tried by a test."""
    tried = {
        *PAGES,
        TUTORIAL,
        RECIPES,
        CI,
        *(f"docs/how-to/{name}.rst" for name in ("backup", "cluster", "galera", "migrate", "upgrade")),
    }
    with_code = {
        str(path.relative_to(ROOT))
        for path in (ROOT / "README.rst", *(ROOT / "docs").rglob("*.rst"))
        if re.search(r"^ *\.\. code", path.read_text(), re.MULTILINE)
    }
    assert with_code - tried == set()
    assert tried - with_code == {"docs/how-to/protect.rst"} - with_code


def test_cluster(tmp_path):
    """Whoever does what the page on nodes says has three of them, and more on one port; all of it on one machine."""
    ports = {f"{known}": str(free_port()) for known in (9501, 9502, 9503)}
    # The workers have the two ports behind their own.
    first = free_port()
    assert [free_port(), free_port()] == [first + 1, first + 2]
    ports |= {f"{9511 + number}": str(first + number) for number in range(3)}

    def here(text: str) -> str:
        return re.sub("|".join(ports), lambda found: ports[found[0]], text.replace("localhost:950...", "localhost:..."))

    with MariaDB() as server, a_reader(tmp_path, 0, MYSQL_PORT=str(server.port), MYSQL_PASSWORD="") as reader:
        blocks = read("docs/how-to/cluster.rst")
        reader.follow([replace(block, text=here(block.text)) for block in blocks])


@pytest.mark.skipif("HOWTOS" not in os.environ, reason="it takes a minute; HOWTOS=1 does it")
def test_galera(tmp_path):
    """Who does what the page on Galera says sees what it says of the loss of a node, and of one of the database."""
    require()
    names = (9500, 9501, 9502, 9503, 9590, 3306, 3307, 3308)
    with Galera(3) as cluster:
        ports = dict(
            zip(
                map(str, names),
                [*(str(free_port()) for _ in range(5)), *(str(node.port) for node in cluster.nodes)],
                strict=True,
            )
        )

        def here(text: str) -> str:
            return re.sub("|".join(ports), lambda found: ports[found[0]], text)

        with a_reader(tmp_path, 0, MYSQL_PASSWORD="") as reader:
            blocks = read("docs/how-to/galera.rst")
            reader.follow([replace(block, text=here(block.text)) for block in blocks])


def test_recipes(tmp_path, daemon):
    """Each program of the recipes does what it promises, with all its users at once."""
    with a_reader(tmp_path, daemon.port) as reader:
        reader.follow(read(RECIPES))
        seen = reader.seen(FIRST)
    assert seen.count("Cleaning up.") == 1, seen
    assert seen.count("Testing with the ") == 4, seen
    assert seen.count("Compiling with licence ") == 4, seen


def test_nightly_failure(tmp_path, daemon):
    """If the work of the night fails on one machine, another one does it, and the third leaves it alone."""
    blocks = read(RECIPES)
    end = 1 + next(number for number, block in enumerate(blocks) if block.caption == CRONTAB)
    work = "echo 'Cleaning up.'"
    failing = f"echo 'Trying.'\nmkdir tried 2>/dev/null && false\n{work}"
    blocks = [replace(block, text=block.text.replace(work, failing)) for block in blocks]
    with a_reader(tmp_path, daemon.port) as reader:
        reader.follow(blocks[:end])
        seen = reader.seen(FIRST)
    assert (seen.count("Trying."), seen.count("Cleaning up.")) == (2, 1), seen


#: What of the pages is done elsewhere, by how it begins: what starts the server, what is for root on a machine of its own, and what
#: is no command.
ELSEWHERE = {
    "make run": "test_tutorial",
    "apt-get install --yes python3-venv": "test_packaging.py",
    "install -m 644 etc/resourced.service": "test_setup_by_root",
    "install -d /etc/resourced": "test_setup_by_root",
    "install -d /etc/systemd/system/resourced.service.d": "test_etc.py",
    "install -m 644 etc/fail2ban": "test_fail2ban.py",
    "resourced key nightly --role lock": "test_setup_by_root",
    "install -m 644 etc/prometheus": "test_metrics.py",
    "RESOURCE_WRITE=a-key MYSQL_PASSWORD=a-password docker compose": "test_etc.py",
    "make dist": "test_etc.py",
    "make deb": "test_packaging.py",
    "install -m 644 etc/nginx.conf": "test_proxies.py",
    "install -m 644 etc/haproxy.cfg": "test_proxies.py",
    "RESOURCED_LISTEN=tcp:": "test_proxies.py",
    "RESOURCED_LISTEN=ssl:": "test_tls",
    "[[key]]": "test_setup_by_root",
    "CREATE DATABASE": "test_takeover.py",
    '{"id": 8': "test_timeline.py",
    "id: 7": "test_streams.py",
}


@pytest.fixture(scope="module")
def pages() -> list[Block]:
    return [block for page in PAGES for block in read(page)]


def begins(block: Block) -> str:
    """Return which of the blocks that are tried elsewhere this is, if it is one."""
    return next((beginning for beginning in ELSEWHERE if block.text.startswith(beginning)), "")


def one(blocks: list[Block], beginning: str) -> str:
    """Return the text of the one block that begins like this."""
    [block] = [block for block in blocks if block.text.startswith(beginning)]
    return block.text


def test_pages(tmp_path, daemon, pages):
    """Each command and program of the pages does what it says, one after the other."""
    assert {begins(block) for block in pages} - {""} == set(ELSEWHERE)
    with a_reader(tmp_path, daemon.port) as reader:
        reader.follow(as_programs([block for block in pages if not begins(block)]))
        seen = reader.seen(FIRST)
    # The one that waits is answered when the other one lets go, before or after that.
    statuses = re.findall(r"HTTP/1.1 (\d+)", seen)
    assert statuses[:4] == ["201", "200", "200", "200"], seen
    assert [unit["selector"] for unit in json.loads(re.findall(r'\{"locked": true, "got": .*\}', seen)[0])["got"]] == [
        "left",
        "right",
    ]
    assert statuses[4:12] == ["201", "404", "204", "202", "200", "200", "200", "200"], seen
    assert all(status < "400" for status in statuses[12:]), seen
    assert seen.count('{"unlocked": true}') == 3, seen
    assert "scanning with fence " in seen
    assert "{'pages': 2}" in seen
    assert re.findall(r"^\d+ (\{.*\})$", seen, re.MULTILINE) == [
        "{'status': 'ready'}",
        "{'status': 'busy'}",
        "{'status': 'ready'}",
    ]
    assert "1 passed" in seen


def in_a_root(text: str, root: Path) -> str:
    """Let what a block says happen in a directory instead of the machine's own, and with the programs that are tested."""
    text = text.replace("/opt/resourced/bin/", f"{Path(RESOURCECTL).parent}/")
    return re.sub(r"(?<![\w.])/etc/", f"{root}/etc/", text)


def test_setup_by_root(tmp_path, pages):
    """What root does to set the service up leaves settings with which a daemon knows the keys that were made."""
    (tmp_path / "etc/systemd/system").mkdir(parents=True)
    (tmp_path / "etc/default").mkdir()
    folder = tmp_path / "daemon"
    folder.mkdir()
    with Daemon(folder, KEYS) as daemon:
        setup = one(pages, "install -m 644 etc/resourced.service").replace("localhost:9501", f"127.0.0.1:{daemon.port}")
        key = one(pages, "install -d /etc/resourced")
        script = in_a_root(f"{setup}\n{key}", tmp_path)
        # There is no systemd here: what it is told is noted down.
        told = f'systemctl() {{ echo "$@" >> {tmp_path}/told; }}'
        environ = {"PATH": os.environ["PATH"]}
        printed = subprocess.run(
            ["bash", "-euc", f"{told}\n{script}"], cwd=ROOT, env=environ, stdout=subprocess.PIPE, text=True, check=True
        ).stdout
        limited = in_a_root(one(pages, "resourced key nightly --role lock"), tmp_path)
        programs = {"PATH": f"{Path(RESOURCECTL).parent}:{os.environ['PATH']}"}
        subprocess.run(["bash", "-euc", limited], env=programs, stdout=subprocess.DEVNULL, check=True)
        daemon.terminate()
        assert (tmp_path / "told").read_text().splitlines() == [
            "daemon-reload",
            "enable --now resourced",
            "status resourced",
            "restart resourced",
        ]
        settings = dict(re.findall(r"^([A-Z_]+)=(.+)$", (tmp_path / "etc/default/resourced").read_text(), re.MULTILINE))
        assert sorted(settings) == ["RESOURCED_KEYS", "RESOURCE_WRITE"]
        assert printed.startswith('{"health": "ok"}'), printed
        made = printed.removeprefix('{"health": "ok"}').strip()
        # The example of an entry in the guide is one that the daemon takes.
        with Path(settings["RESOURCED_KEYS"]).open("a") as file:
            file.write(one(pages, "[[key]]").replace('"ci"', '"example"'))
        daemon.environ = settings
        daemon.start()
        assert daemon.post("/resource", '{"name": "test-1"}', key=settings["RESOURCE_WRITE"]).status == 201
        assert daemon.post("/resource/test-1/A4/lock", key=made).status == 200
        assert daemon.post("/resource/other/A4/lock", key=made).status == 403


def test_tls(tmp_path, pages):
    """The setting for TLS is one with which the daemon serves by TLS."""
    (tmp_path / "etc/resourced").mkdir(parents=True)
    name = ["-subj", "/CN=localhost", "-keyout", "key.pem", "-out", "cert.pem"]
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", *name]
    subprocess.run(command, cwd=tmp_path / "etc/resourced", stderr=subprocess.DEVNULL, check=True)
    port = free_port()
    listen = in_a_root(one(pages, "RESOURCED_LISTEN=ssl:").partition("=")[2], tmp_path).replace("9501", str(port))
    daemon = Daemon(tmp_path, KEYS, listen=listen, port=port)
    curl = ["curl", "--silent", "--cacert", "etc/resourced/cert.pem", f"https://localhost:{port}/health"]
    daemon.launch()
    try:
        answer = eventually(lambda: subprocess.run(curl, cwd=tmp_path, stdout=subprocess.PIPE, check=False).stdout)
    finally:
        daemon.kill()
    assert answer == b'{"health": "ok"}', daemon.log


@pytest.mark.parametrize("module", [blocking, aio, pytest_plugin], ids=lambda module: module.__name__)
def test_docstrings(tmp_path, daemon, module):
    """The programs in the docstring of a module run."""
    for body in ('{"name": "printer"}', '{"name": "phones"}', '{"name": "licences", "slots": 1, "group": "phones"}'):
        daemon.post("/resource", body, key="write-key")
    daemon.request("PATCH", "/resource/phones/p1", body='{"tags": ["android"]}', key="write-key")
    blocks = as_programs(read_blocks(module.__doc__, module.__name__))
    assert len(blocks) == 2 * module.__doc__.count("code::"), blocks
    with a_reader(tmp_path, daemon.port, RESOURCED_KEY="write-key") as reader:
        reader.follow(blocks)


def test_ci(tmp_path, daemon):
    """What the page about CI systems has to be typed works; what it has for those systems is tried elsewhere."""
    shutil.copy(ROOT / "etc/ci/units.sh", tmp_path)
    blocks = [block for block in read(CI) if block.language in {"shell", "text"}]
    with a_reader(tmp_path, daemon.port, RESOURCED_KEY="write-key") as reader:
        reader.follow(blocks)


def test_reference():
    """The reference has every name that the client's users import."""
    text = (ROOT / "docs/reference/client.rst").read_text()
    assert set(client.__all__) - set(re.findall(r"^\.\. auto(?:class|exception):: (\w+)", text, re.MULTILINE)) == set()


@pytest.fixture(scope="module")
def build(tmp_path_factory):
    """Builds the pages into a folder, by a builder of Sphinx. They are read once for all builders."""
    read = tmp_path_factory.mktemp("read")

    def build(builder, folder):
        options = ("--quiet", "--fail-on-warning", "--keep-going", "--doctree-dir", read, "--builder", builder)
        subprocess.run((sys.executable, "-m", "sphinx", *options, ROOT / "docs", folder), check=True, timeout=PATIENCE)

    return build


def test_man_pages(build, tmp_path):
    """The man pages of the wheel say what the pages say; ``make man`` makes them anew."""
    build("man", tmp_path)
    for made in (tmp_path / "resourcectl.1", tmp_path / "resourced.8"):
        # What the writer says of itself depends on its version.
        texts = [path.read_text().partition(".SH NAME")[2] for path in (made, ROOT / "etc/man" / made.name)]
        assert texts[0] == texts[1], f"make man, for {made.name}"


def test_operations(daemon):
    """The server understands each command of the page of operations: it may refuse what cannot be now, but not how it is asked."""
    daemon.post("/resource", '{"name": "printer"}', key="write-key")
    ticket = daemon.post("/resource/printer/A4/lock", key="write-key").ticket
    commands = re.findall(r"^ +curl .*(?:(?<=\\)\n.*)*", operations_as_text(description()), re.MULTILINE)
    assert len(commands) > 25
    environ = {"PATH": os.environ["PATH"], "KEY": "write-key", "TICKET": ticket}
    for command in commands:
        if "localhost:9501/events" in command:
            continue  # a stream, which has no end
        asked = command.replace("curl", "curl -s -o /dev/null -w '%{http_code}'", 1)
        asked = asked.replace("localhost:9501", f"127.0.0.1:{daemon.port}")
        done = subprocess.run(["sh", "-c", asked], env=environ, stdout=subprocess.PIPE, text=True, check=True)
        assert done.stdout < "500", command
        assert done.stdout not in {"400", "401", "403", "405", "411", "413", "415", "428"}, (command, done.stdout)


def test_site(build, tmp_path):
    """The pages can be made without a warning; their search finds the backup, and each block of the API's operations has a button that copies it."""
    build("html", tmp_path)
    index = json.loads(re.sub(r"^Search.setIndex\((.*)\)$", r"\1", (tmp_path / "searchindex.js").read_text()))
    found = index["titleterms"]["backup"]
    assert "how-to/backup" in [index["docnames"][at] for at in (found if isinstance(found, list) else [found])]
    page = (tmp_path / "reference/operations.html").read_text()
    assert page.count('class="highlight') > 25
    assert "copybutton.js" in page


def test_upgrade(tmp_path):
    """The backup that is made before an upgrade brings back what was there then, and the daemon is told so."""
    blocks = {block.caption: block.text for block in read("docs/how-to/upgrade.rst")}
    (tmp_path / "etc/default").mkdir(parents=True)
    # There is neither systemd nor an old version here: what they are told is noted down.
    stubs = f'systemctl() {{ echo "$@" >> told; }}; pip() {{ echo "$@" >> told; }}; export OLD=0.1; cd {tmp_path}\n'

    def do(caption: str, port: int) -> None:
        script = blocks[caption].replace("/opt/resourced/bin/pip", "pip").replace("localhost:9501", f"127.0.0.1:{port}")
        subprocess.run(["bash", "-euc", stubs + in_a_root(script, tmp_path)], check=True, stdout=subprocess.DEVNULL)

    with Daemon(tmp_path) as daemon:
        daemon.create("before")
        do("upgrade", daemon.port)
        daemon.create("after")
        daemon.terminate()
        do("downgrade", daemon.port)
        daemon.environ = dict([(tmp_path / "etc/default/resourced").read_text().strip().split("=")])
        daemon.start()
        assert [found["name"] for found in daemon.get("/resource").json["resources"]] == ["before"]
        assert "restored" in daemon.log
    told = (tmp_path / "told").read_text().splitlines()
    assert told == [
        "install --upgrade resourced",
        "restart resourced",
        "stop resourced",
        "install resourced==0.1",
        "start resourced",
    ]


def follow(folder: Path, document: str) -> None:
    """Do what a document says that needs no server."""
    with a_reader(folder, free_port()) as reader:
        reader.follow(read_blocks(document, "document"))


@pytest.mark.parametrize(
    ("document", "complaint"),
    [
        ("::\n\n    echo", "nobody says how"),
        (".. code-block:: python\n\n    print()", "nobody says how"),
        (".. code-block:: shell\n\n    true\n    ls nowhere\n    true", "<failed: ls nowhere>"),
        (".. code-block:: shell\n\n    bash\n    ls nowhere\n    exit", "<failed: ls nowhere>"),
        (".. code-block:: python\n    :caption: some.py\n\n    print()", "nobody used {'some.py'}"),
    ],
)
def test_nothing_goes_untried(tmp_path, document, complaint):
    """A block that nobody says how to try fails a document, and so does a command that fails, and a file without a use."""
    with pytest.raises(AssertionError, match=re.escape(complaint)):
        follow(tmp_path, document)


def test_broken_document(tmp_path):
    """What is no directive, or no text that can be read as reStructuredText, fails a document."""
    with pytest.raises(SystemMessage):
        follow(tmp_path, ".. code-blick:: shell\n\n    true")


@pytest.mark.parametrize(
    ("shown", "seen", "same"),
    [
        ("fence 2", "before\nfence 2\nafter", True),
        ("fence 2", "fence 21", False),
        ("fence 2", "a fence 2", False),
        ("A  B\n1  2", "A     B\n1     2", True),
        ("waited 0:07", "waited 1:05", True),
        ("position 1", "position 2", False),
        ("in 0.21s", "in 1.3s", True),
        ("first\n...\nlast", "first\nmiddle\nlast", True),
        ("first\n...\nlast", "last\nfirst", False),
        ("ticket=" + "0" * 32, "ticket=" + "f" * 32, True),
        ("ticket=" + "0" * 32, "ticket=" + "f" * 31, False),
        ("at 2026-11-23T18:19:43.093Z", "at 2027-01-02T00:00:00.001Z", True),
    ],
)
def test_what_is_shown(shown, seen, same):
    """What appears has to be what is shown, but for tickets, times, spaces and what is left out."""
    assert bool(as_pattern(shown).search(seen)) is same
