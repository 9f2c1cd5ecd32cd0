"""
What the documents show, done as a reader does it: typed into terminals, with the files that they have, one block after the other.

A block says by its language and its caption what it is:

* ``shell`` is typed: into the terminal of its caption (``Terminal 2``), else into the first one. In a terminal of another name
  (``Server``) a program runs until the document is at its end, where it gets a Ctrl-C.
* ``text`` is what appears there, or in the terminal of its caption. Tickets, ids and times may be others, and ``...`` stands for
  anything.
* Any language, with the name of a file as its caption, is a file. A later block has to use it.
* ``text`` with the caption ``crontab`` is one line of that, which three machines do at the same moment.

Nothing else is allowed, so nothing that is shown is left untried.
"""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

from docutils import nodes
from docutils.core import publish_doctree
from docutils.parsers.rst import directives, roles
from docutils.parsers.rst.directives.body import CodeBlock

from tests.daemon import eventually
from tests.terminal import INTERRUPT, Terminal

FIRST: Final = "Terminal 1"
SERVER: Final = "Server"
CRONTAB: Final = "crontab"
MACHINES: Final = 3

_FILE: Final = re.compile(r"[\w.-]+\.[a-z]+")
#: What is another time each time it is done.
_CHANGING: Final = (
    r"\b[0-9a-f]{32}\b",  # a ticket
    r"\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b",  # an id
    r"\b\d{4}-\d\d-\d\dT[\d:.]+Z",  # a moment
    r"\b\d+:\d\d(?::\d\d)?\b",  # a length of time, for people
    r"\b\d+\.\d+",  # one in seconds
)

#: What every shell that is started on a terminal does first: it says nothing of its own, and tells of every command that fails.
#: Only that a signal ends one is always meant.
_BASHRC: Final = """
PS1=
trap 'if [ $? -lt 128 ]; then echo "<failed: $BASH_COMMAND>"; fi' ERR
"""


@dataclass(frozen=True)
class Block:
    """
    A block of code as it stands in a document.

    :ivar language: empty if it has none.
    :ivar caption: empty if it has none.
    :ivar place: the document and the line, for people.
    """

    language: str
    caption: str
    text: str
    place: str


class _CodeBlock(CodeBlock):
    """The directive as Sphinx has it, with a caption."""

    option_spec = {**CodeBlock.option_spec, "caption": directives.unchanged_required}  # noqa: RUF012

    def run(self) -> list[Any]:
        [block] = super().run()
        block["caption"] = self.options.get("caption", "")
        block.line = self.lineno
        return [block]


def read_blocks(document: str, name: str) -> list[Block]:
    """
    Return all blocks of code of a document, in order.

    :param document: its text.
    :param name: what it is called, for people.
    :raises docutils.utils.SystemMessage: something in it is not as it should be.
    """
    directives.register_directive("code-block", _CodeBlock)
    roles.register_local_role("doc", roles.GenericRole("doc", nodes.emphasis))  # type: ignore[arg-type]
    settings = {"halt_level": 2, "report_level": 5, "syntax_highlight": "none", "_disable_config": True}
    tree = publish_doctree(document, name, settings_overrides=settings)
    return [
        Block(
            language=next((name for name in block["classes"] if name != "code"), ""),
            caption=block.get("caption", ""),
            text=block.astext(),
            place=f"{name}:{block.line}",
        )
        for block in tree.findall(nodes.literal_block)
    ]


def _uses(text: str, name: str) -> bool:
    """Whether a block runs a file, or is a program that imports it."""
    return name in text or f"from {Path(name).stem} import" in text


def _runs_on(terminal: str) -> bool:
    """Whether the program of a terminal runs to the end of the document."""
    return not terminal.startswith("Terminal ")


def as_pattern(shown: str) -> re.Pattern[str]:
    """Make what finds a text in which what changes may have changed, and spaces may be more or fewer."""
    found = []
    for part in re.split(rf"(\s*\.\.\.\s*|\s+|{'|'.join(_CHANGING)})", shown.strip()):
        if part.strip() == "...":
            found.append(r"(?s:.*?)")
        elif not part.strip():
            found.append(r"\s+" if part else "")
        else:
            found.append(next((kind for kind in _CHANGING if re.fullmatch(kind, part)), re.escape(part)))
    return re.compile(rf"^{''.join(found)}\s*$", re.MULTILINE)


class Window:
    """A terminal with a shell."""

    def __init__(self, folder: Path, environ: Mapping[str, str]) -> None:
        self._terminal = Terminal(["bash", "--noediting"], environ, folder)
        self._typed = 0
        self._looked = 0

    @property
    def pid(self) -> int:
        return self._terminal.process.pid

    @property
    def seen(self) -> str:
        # A live line begins where the one before began, and clears what is left of it.
        return self._terminal.seen.replace("\x1b[K", "\n").replace("\r", "")

    def type(self, text: str) -> None:
        """Type lines, and after them one that tells when they are done."""
        self._typed += 1
        # On a line of its own, whatever the lines before leave behind.
        self._terminal.type(f"{text}\nprintf '\\n<done %s>\\n' {self._typed}\n")

    def done(self) -> bool:
        """Whether all that was typed has been done."""
        return f"<done {self._typed}>" in self.seen or not self._typed

    def wait(self) -> None:
        """Wait until all that was typed has been done."""
        eventually(self.done, what="what was typed is done")

    def expect(self, shown: str) -> None:
        """Wait until something is shown that was not expected before."""
        pattern = as_pattern(shown)
        found = eventually(lambda: pattern.search(self.seen, self._looked), what=f"{shown!r} is shown")
        self._looked = found.end()

    def check(self) -> None:
        """Fail if a command has failed of which the document did not expect it."""
        failed = re.search("<failed: .*", self.seen)
        assert failed is None, failed

    def interrupt(self) -> None:
        """Press Ctrl-C."""
        self._terminal.type(INTERRUPT)

    def close(self) -> None:
        """Hang up, and let nothing go on that was started here."""
        for process in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                session = (process / "stat").read_text().rpartition(")")[2].split()[3]
                if int(session) == self.pid:
                    os.kill(int(process.name), signal.SIGKILL)
        self._terminal.__exit__()


class Reader:
    """
    Who does what the documents say.

    As a context manager it closes its terminals in the end.

    :param folder: the home, in which everything is done; that of ``Server`` is done in ``checkout``.
    :param port: where the server is, which the documents call ``localhost:9501``.
    :param environ: variables beside those that every terminal has.
    """

    def __init__(self, folder: Path, port: int, environ: Mapping[str, str], checkout: Path) -> None:
        self._folder = folder
        self._checkout = checkout
        self._server = f"127.0.0.1:{port}"
        self._environ = {"HOME": str(folder), "TERM": "dumb", "PS1": "", "SHELL": "/bin/bash", **environ}
        self._windows: dict[str, Window] = {}
        # Where something was typed last, whether the next block may come before that is done, and the files that nobody has used yet.
        self._typed = FIRST
        self._shown = True
        self._unused: set[str] = set()
        (folder / ".bashrc").write_text(_BASHRC)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        for window in self._windows.values():
            window.close()

    def follow(self, blocks: Iterable[Block]) -> None:
        """
        Do everything that a document says, to the end.

        :raises AssertionError: something does not come out as it is shown, cannot be tried, or is a file that nobody used.
        """
        for block in blocks:
            try:
                self._do(block)
            except AssertionError as error:
                raise AssertionError(f"{block.place}: {error}\n{self.story}") from None
        self._finish()

    def seen(self, name: str) -> str:
        """Return all that has appeared in a terminal."""
        return self._window(name).seen

    @property
    def story(self) -> str:
        """All that was seen."""
        return "\n".join(f"-- {name}\n{window.seen}" for name, window in self._windows.items())

    def _do(self, block: Block) -> None:
        if block.language == "text" and block.caption != CRONTAB:
            self._window(block.caption or self._typed).expect(self._here(block.text))
            self._shown = True
            return
        if not self._shown:
            self._window(self._typed).wait()
        self._unused = {name for name in self._unused if not _uses(block.text, name)}
        if _FILE.fullmatch(block.caption):
            (self._folder / block.caption).write_text(self._here(block.text) + "\n")
            self._unused.add(block.caption)
        elif block.caption == CRONTAB:
            command = re.fullmatch(r"(?:[\d*/,-]+ +){5}(.+)", block.text)
            assert command is not None, f"no line of a crontab: {block.text}"
            self._type(FIRST, f"({command[1]}) & " * MACHINES + "wait")
        else:
            assert block.language == "shell", f"a block of which nobody says how to try it:\n{block.text}"
            self._type(block.caption or FIRST, block.text)

    def _type(self, terminal: str, text: str) -> None:
        window = self._window(terminal)
        window.wait()
        window.type(self._here(text))
        self._typed, self._shown = terminal, _runs_on(terminal)

    def _finish(self) -> None:
        for name, window in self._windows.items():
            try:
                if _runs_on(name):
                    window.interrupt()
                else:
                    window.wait()
                    window.check()
            except AssertionError as error:
                raise AssertionError(f"{name}: {error}\n{self.story}") from None
        assert not self._unused, f"nobody used {self._unused}"

    def _here(self, text: str) -> str:
        return text.replace("localhost:9501", self._server)

    def _window(self, name: str) -> Window:
        if name not in self._windows:
            folder = self._checkout if name == SERVER else self._folder
            self._windows[name] = Window(folder, self._environ)
        return self._windows[name]
