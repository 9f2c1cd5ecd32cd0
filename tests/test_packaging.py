"""What is built and installed: each way to install the package gives a daemon that starts, in an environment of its own."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tarfile
import zipfile
from importlib.metadata import version
from pathlib import Path

import pytest

from tests.daemon import WRITE, Daemon
from tests.documents import read_blocks
from tests.machine import Machine

TREE = Path(__file__).parent.parent
#: What makes up a checkout, without what was built or installed in it.
LEFT_OUT = shutil.ignore_patterns(
    ".git",
    ".venv*",
    "build",
    "dist",
    "*.egg-info",
    "__pycache__",
    "dropin.cache*",
    ".*_cache",
    ".hypothesis",
    "*.sqlite*",
    "_trial_temp*",
)
#: A build or an installation, with what it must download.
LONG = 300


def run(*command, cwd, timeout=120):
    """Run a command that must succeed; return what it printed."""
    environ = {name: value for name, value in os.environ.items() if name not in {"PYTHONPATH", "VIRTUAL_ENV"}}
    ran = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=environ,
        timeout=timeout,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout
    return ran.stdout


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    """A copy of the tree, so that nothing is built in the tree itself."""
    return shutil.copytree(TREE, tmp_path_factory.mktemp("checkout") / "resourced", ignore=LEFT_OUT)


@pytest.fixture(scope="module")
def built(checkout, tmp_path_factory):
    """The sdist, and the wheel that is built from it."""
    dist = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--outdir", dist, checkout, cwd=dist, timeout=LONG)
    [wheel] = dist.glob("*.whl")
    [sdist] = dist.glob("*.tar.gz")
    return wheel, sdist


#: What is for the environment as a whole.
DATA = f"resourced-{version('resourced')}.data/data"


@pytest.fixture(scope="module")
def programs(tmp_path_factory):
    """The programs of an environment that is empty at first."""
    folder = tmp_path_factory.mktemp("venv")
    run(sys.executable, "-m", "venv", folder, cwd="/")
    return folder / "bin"


def install(programs, *what):
    """Install into an environment, with what is needed that it has not got yet."""
    pip = (programs / "pip", "install", "--quiet", "--disable-pip-version-check", "--no-compile")
    run(*pip, *what, cwd="/", timeout=LONG)


def check_programs(programs, cwd):
    """Both ways to start it know their options, wherever they are called from."""
    for command in (["twistd", "resourced", "--help"], ["resourced", "--help"]):
        assert "--listen" in run(programs / command[0], *command[1:], cwd=cwd), command
    assert "resourced" in run(programs / "twistd", "--help", cwd=cwd)
    assert "run" in run(programs / "resourcectl", "--help", cwd=cwd)
    assert run(programs / "pip", "check", cwd=cwd).strip() == "No broken requirements found."


def test_wheel_contents(built):
    """The wheel holds every module, the SQL files, the API's description, the page, the marker of its types, the man pages, and the plugin, but no part of Twisted."""
    with zipfile.ZipFile(built[0]) as wheel:
        held = {name for name in wheel.namelist() if ".dist-info/" not in name}
    package = TREE / "resourced"
    needed = [
        *package.rglob("*.py"),
        *package.glob("schema/**/*.sql"),
        *package.glob("api/*.yaml"),
        *package.glob("ui/*"),
        package / "py.typed",
    ]
    expected = {path.relative_to(TREE).as_posix() for path in needed}
    assert any(name.endswith(".sql") for name in expected)
    assert any(name.endswith(".yaml") for name in expected)
    assert any(name.endswith(".js") for name in expected)
    pages = {f"{DATA}/share/man/man1/resourcectl.1", f"{DATA}/share/man/man8/resourced.8"}
    assert held == expected | pages | {"twisted/plugins/resourced_plugin.py"}


def test_sdist_contents(built):
    """The sdist holds what one needs to run the tests and to set up the service, too."""
    with tarfile.open(built[1]) as sdist:
        held = {name.partition("/")[2] for name in sdist.getnames()}
    tests = {path.relative_to(TREE).as_posix() for path in (TREE / "tests").rglob("*.py")}
    schema = {path.relative_to(TREE).as_posix() for path in TREE.glob("resourced/schema/**/*.sql")}
    page = {path.relative_to(TREE).as_posix() for path in TREE.glob("resourced/ui/*")}
    others = {
        *("Makefile", "LICENSE", "NEWS.rst", "README.rst", "CONTRIBUTING.rst", "setup.cfg", "setup.py"),
        *("pyproject.toml", "ruff.toml", ".ci/run", "etc/resourced.service", "etc/default/resourced"),
        *("resourced/py.typed", "resourced/api/openapi.yaml", "twisted/plugins/resourced_plugin.py"),
    }
    assert (tests | schema | page | others) - held == set()


def test_installed_wheel(built, programs, tmp_path):
    """The wheel, alone in an empty environment, gives both programs; uninstalled, it leaves Twisted as it was."""
    install(programs, built[0])
    check_programs(programs, tmp_path)
    check_types(programs, tmp_path)
    run(programs / "pip", "uninstall", "--quiet", "--yes", "resourced", cwd=tmp_path)
    listed = run(programs / "twistd", "--help", cwd=tmp_path)
    assert "resourced" not in listed
    assert "web" in listed


def check_types(programs, cwd):
    """Who uses the client of any face is told by a type checker what is wrong, and by ``help`` what is right."""
    shutil.copy(TREE / "tests/typed_program.py", cwd)
    mypy = (sys.executable, "-m", "mypy", "--strict", "--config-file=", f"--python-executable={programs / 'python'}")
    assert "no issues found" in run(*mypy, "typed_program.py", cwd=cwd, timeout=LONG)
    ask = "from resourced.client.blocking import Client; help(Client.lock)"
    told = run(programs / "python", "-c", ask, cwd=cwd)
    assert "wait: 'float | None' = None" in told
    assert "-> 'BlockingLock'" in told
    assert ":param wait: seconds to wait for the lock" in told


def test_editable_install(checkout, programs, tmp_path):
    """A checkout that is installed editable gives both programs, and they run what stands in the checkout."""
    install(programs, "--editable", checkout)
    check_programs(programs, tmp_path)
    where = run(programs / "python", "-c", "import resourced; print(resourced.__file__)", cwd=tmp_path)
    assert Path(where.strip()) == checkout / "resourced" / "__init__.py"
    check_tutorial(programs, checkout)


def check_tutorial(programs, checkout):
    """What the tutorial says of tests works where its reader is: in the checkout, with what ``make run`` has installed."""
    blocks = read_blocks((TREE / "docs/tutorial/printer.rst").read_text(), "docs/tutorial/printer.rst")
    [program] = [block for block in blocks if block.caption == "test_labels.py"]
    [setup] = [block.text for block in blocks if "pip install" in block.text]
    [command] = [block.text for block in blocks if program.caption in block.text]
    (checkout / program.caption).write_text(program.text)
    path = f"{programs}:{os.environ['PATH']}"
    printed = run("env", f"PATH={path}", "sh", "-euc", f"{setup}; {command}", cwd=checkout, timeout=LONG)
    assert "1 passed" in printed


@pytest.fixture(scope="module")
def package(built, tmp_path_factory):
    """The Debian package that is built from the wheel."""
    folder = tmp_path_factory.mktemp("deb")
    run(TREE / "etc/deb/build", built[0], Path(sys.executable).with_name("pip"), folder, cwd="/", timeout=LONG)
    [package] = folder.glob("*.deb")
    return package


def test_debian_package(package, tmp_path):
    """Installed, the package gives the server, the command, a user, a unit, settings and man pages; removed, it leaves the database, purged nothing else."""
    with Machine(tmp_path) as machine:
        before = set(machine.root.glob("opt/*"))
        shutil.copy(package, machine.root / "resourced.deb")
        machine.run("dpkg", "--install", "/resourced.deb")
        assert "/usr/sbin/nologin" in machine.run("getent", "passwd", "resourced")
        settings = machine.root / "etc/default/resourced"
        assert settings.stat().st_mode & 0o777 == 0o600
        assert (
            "ExecStart=/opt/resourced/bin/resourced\n"
            in (machine.root / "lib/systemd/system/resourced.service").read_text()
        )
        for page in ("man1/resourcectl.1.gz", "man8/resourced.8.gz"):
            assert (machine.root / "usr/share/man" / page).exists()
        assert "_resourcectl_completion" in machine.run("cat", "/usr/share/bash-completion/completions/resourcectl")

        # Half of what its parts bring are tests of their own.
        parts = machine.root / "opt/resourced/lib"
        assert not [path for path in parts.rglob("test*") if path.is_dir() and path.name in {"test", "tests"}]

        machine.run("install", "-d", "-o", "resourced", "-g", "resourced", "-m", "700", "/var/lib/resourced")
        folder = tmp_path / "daemon"
        folder.mkdir()
        store = {"RESOURCED_STORE": "sqlite:/var/lib/resourced/resourced.sqlite"}
        as_its_user = ("chroot", "--userspec=resourced:resourced", str(machine.root), "/usr/bin/resourced")
        with Daemon(folder, store, command=as_its_user) as daemon:
            ctl = ("/usr/bin/resourcectl", f"--url=http://127.0.0.1:{daemon.port}", f"--key={WRITE}")
            machine.run(*ctl, "create", "printer")
            assert "printer" in machine.run(*ctl, "ls")
            assert daemon.terminate() == -signal.SIGTERM
        assert machine.run("dpkg", "--verify", "resourced") == ""

        with settings.open("a") as file:
            file.write("RESOURCE_WRITE=mine\n")
        machine.run("dpkg", "--install", "/resourced.deb")
        assert settings.read_text().endswith("RESOURCE_WRITE=mine\n")
        machine.run("dpkg", "--remove", "resourced")
        assert settings.exists()
        machine.run("dpkg", "--purge", "resourced")
        assert not settings.exists()
        assert set(machine.root.glob("opt/*")) == before
        assert not list(machine.root.glob("usr/bin/resource*"))
        assert (machine.root / "var/lib/resourced/resourced.sqlite").exists()


def test_container_file():
    """The linter of container files has nothing to say of the image's."""
    assert run(Path(sys.executable).with_name("hadolint"), TREE / "etc/Dockerfile", cwd="/") == ""
