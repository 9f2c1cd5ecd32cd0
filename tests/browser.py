"""A real Chromium without a screen, told what to do in the words of its DevTools protocol, over a pair of pipes."""

from __future__ import annotations

import base64
import fcntl
import json
import os
import select
import shutil
import signal
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from tests.daemon import PATIENCE, eventually

if TYPE_CHECKING:
    from collections.abc import Callable

#: On every system that has it, one of these.
NAMES = ("chromium", "chromium-browser", "google-chrome")

#: Under root, without a display, in a container with little shared memory; and without anything that asks the network.
SWITCHES = (
    "--headless=new",
    "--no-sandbox",
    "--disable-dev-shm-usage",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-extensions",
    "--disable-sync",
    "--no-first-run",
    "--no-default-browser-check",
    "--password-store=basic",
    "--hide-scrollbars",
    "--lang=en-GB",
    "--remote-debugging-pipe",
)

#: Keys that type nothing, or more than themselves: their codes, and what they type.
KEYS = {"Enter": (13, "\r"), "Tab": (9, ""), "Escape": (27, ""), " ": (32, " "), "End": (35, ""), "Home": (36, "")}
KEYS |= {"/": (191, "/")}
KEYS |= {"ArrowUp": (38, ""), "ArrowDown": (40, ""), "PageUp": (33, ""), "PageDown": (34, "")}


@dataclass
class Browser:
    """
    A browser with a profile of its own. As a context manager it is started, and ended with all its processes.

    :ivar folder: where it may write.
    """

    folder: Path
    _pid: int = 0
    _tell: int = -1
    _hear: int = -1
    _heard: bytes = b""
    _asked: int = 0
    _answers: dict[int, dict[str, Any]] = field(default_factory=dict)
    _tabs: dict[str, Tab] = field(default_factory=dict)

    def __enter__(self) -> Self:
        program = next(filter(None, map(shutil.which, NAMES)))
        theirs, self._tell = _pipe()
        self._hear, ours = _pipe()
        with (self.folder / "chromium.log").open("wb") as log:
            self._pid = os.posix_spawn(
                program,
                [program, *SWITCHES, f"--user-data-dir={self.folder / 'profile'}", "about:blank"],
                {**os.environ, "HOME": str(self.folder), "TZ": "UTC"},
                file_actions=[
                    (os.POSIX_SPAWN_DUP2, log.fileno(), 1),
                    (os.POSIX_SPAWN_DUP2, log.fileno(), 2),
                    (os.POSIX_SPAWN_DUP2, theirs, 3),
                    (os.POSIX_SPAWN_DUP2, ours, 4),
                ],
                setpgroup=0,
            )
        os.close(theirs)
        os.close(ours)
        return self

    def __exit__(self, *exception: object) -> None:
        # By itself it takes leave of its many children, whom nobody else might bury.
        with suppress(OSError):
            self._send(b'{"id": 0, "method": "Browser.close"}\0')
        with suppress(AssertionError):
            eventually(lambda: os.waitid(os.P_PID, self._pid, os.WEXITED | os.WNOHANG | os.WNOWAIT))
        with suppress(ProcessLookupError):
            os.killpg(self._pid, signal.SIGKILL)
        os.waitpid(self._pid, 0)
        os.close(self._tell)
        os.close(self._hear)

    def tab(self, *, width: int = 1280, height: int = 800) -> Tab:
        """Open a tab that shares nothing with the others."""
        context = self.ask("Target.createBrowserContext")["browserContextId"]
        target = self.ask("Target.createTarget", url="about:blank", browserContextId=context)["targetId"]
        session = self.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        tab = self._tabs[session] = Tab(self, session, target)
        for domain in ("Page", "Runtime", "Log", "Network"):
            tab.ask(f"{domain}.enable")
        tab.resize(width, height)
        return tab

    def ask(self, method: str, session: str = "", **parameters: Any) -> Any:
        """Send a command and return its result."""
        self._asked += 1
        asked = self._asked
        message = {"id": asked, "method": method, "params": parameters, **({"sessionId": session} if session else {})}
        self._send(json.dumps(message).encode() + b"\0")
        end = time.monotonic() + PATIENCE
        while asked not in self._answers:
            self.listen(max(0.0, end - time.monotonic()))
            assert time.monotonic() < end, f"no answer to {method}"
        answer = self._answers.pop(asked)
        assert "error" not in answer, f"{method}: {answer['error']}"
        return answer["result"]

    def listen(self, seconds: float) -> None:
        """Take in what it has to say within so many seconds, until it has said something."""
        if not select.select([self._hear], [], [], seconds)[0]:
            return
        data = os.read(self._hear, 1 << 20)
        assert data, f"the browser has ended:\n{(self.folder / 'chromium.log').read_text()[-3000:]}"
        *messages, self._heard = (self._heard + data).split(b"\0")
        for message in map(json.loads, messages):
            if "id" in message:
                self._answers[message["id"]] = message
            elif tab := self._tabs.get(message.get("sessionId", "")):
                tab.heard(message["method"], message["params"])

    def _send(self, data: bytes) -> None:
        while data:
            data = data[os.write(self._tell, data) :]


@dataclass
class Tab:
    """
    A tab, used as a person would: with a keyboard and a mouse.

    :ivar problems: what the page did wrong: exceptions, errors on the console, violations of its policy.
    :ivar asked: every address that it asked for, with the headers that it sent.
    :ivar waiting: the ids of the requests whose answers are not complete.
    """

    browser: Browser
    session: str
    target: str
    problems: list[str] = field(default_factory=list)
    asked: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    waiting: set[str] = field(default_factory=set)
    _loads: int = 0

    def ask(self, method: str, **parameters: Any) -> Any:
        return self.browser.ask(method, self.session, **parameters)

    def heard(self, event: str, about: dict[str, Any]) -> None:
        """Note an event of the protocol."""
        if event == "Runtime.exceptionThrown":
            details = about["exceptionDetails"]
            self.problems.append(str(details.get("exception", {}).get("description", details["text"])))
        elif event == "Runtime.consoleAPICalled" and about["type"] in {"error", "warning", "assert"}:
            self.problems.append(str(about["args"]))
        elif event == "Log.entryAdded" and about["entry"]["source"] != "network":
            # That a request was refused or not answered is what some tests are about.
            self.problems.append(about["entry"]["text"])
        elif event == "Page.loadEventFired":
            self._loads += 1
        elif event == "Network.requestWillBeSent":
            self.asked.append((about["request"]["url"], about["request"]["headers"]))
            self.waiting.add(about["requestId"])
        elif event in {"Network.loadingFinished", "Network.loadingFailed"}:
            self.waiting.discard(about["requestId"])

    # -- What it shows

    def open(self, url: str) -> None:
        """Go to an address, and wait until its page is there."""
        loads = self._loads
        if "loaderId" in self.ask("Page.navigate", url=url):  # else only the hash is another one
            self._loaded(loads)

    def reload(self) -> None:
        """Have the page anew."""
        loads = self._loads
        self.ask("Page.reload")
        self._loaded(loads)

    def _loaded(self, loads: int) -> None:
        def loaded() -> bool:
            self.browser.listen(0.05)
            return self._loads > loads

        eventually(loaded, what="the page is loaded")

    def resize(self, width: int, height: int, *, scale: float = 1) -> None:
        """Be a screen of another size, in CSS pixels."""
        self.ask(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=scale,
            mobile=width < 600,
        )

    def prefer(self, **features: str) -> None:
        """Have preferences, such as ``color_scheme="dark"``."""
        named = [{"name": f"prefers-{name.replace('_', '-')}", "value": value} for name, value in features.items()]
        self.ask("Emulation.setEmulatedMedia", features=named)

    def run(self, script: str) -> Any:
        """Return what an expression comes to in the page; promises are waited for."""
        result = self.ask("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in result, f"{script}: {result['exceptionDetails']}"
        return result["result"].get("value")

    def until(self, script: str, timeout: float = PATIENCE) -> Any:
        """Wait until an expression is true in the page, and return it."""
        return self.eventually(lambda: self.run(script), script, timeout)

    def eventually(self, ask: Callable[[], Any], what: str, timeout: float = PATIENCE) -> Any:
        """Ask until the answer is true, and return it; if that is never, tell what is on the page."""
        try:
            return eventually(ask, timeout, what)
        except AssertionError as error:
            raise AssertionError(f"{error}\nproblems: {self.problems}\nthe page says:\n{self.text()}") from None

    def text(self, selector: str = "body") -> str:
        """Return what can be read in an element; nothing if it is not there."""
        return str(self.run(f"document.querySelector({json.dumps(selector)})?.innerText ?? ''"))

    def reads(self, selector: str, words: str) -> None:
        """Wait until an element shows these words."""
        where = f"document.querySelector({json.dumps(selector)})"
        self.until(f"({where}?.checkVisibility() && {where}.innerText || '').includes({json.dumps(words)})")

    def photograph(self, path: Path) -> None:
        """Save what is on the screen."""
        path.write_bytes(base64.b64decode(self.ask("Page.captureScreenshot")["data"]))

    def accessible(self) -> list[tuple[str, str, bool]]:
        """Return what a screen reader is told of: role, name, and whether the keyboard reaches it."""
        self.ask("Accessibility.enable")
        nodes = self.ask("Accessibility.getFullAXTree")["nodes"]
        self.ask("Accessibility.disable")
        return [
            (
                str(node["role"]["value"]),
                str(node.get("name", {}).get("value", "")),
                any(part["name"] == "focusable" and part["value"]["value"] for part in node.get("properties", ())),
            )
            for node in nodes
            if not node["ignored"]
        ]

    # -- What is done with it

    def click(self, selector: str) -> None:
        """Click with the mouse at the middle of an element, as soon as it is there and nothing covers it."""

        def click(at: tuple[float, float]) -> None:
            x, y = at
            for kind in ("mousePressed", "mouseReleased"):
                self.ask("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

        self._use(
            selector,
            "if (target.disabled) return null; target.scrollIntoView({block: 'nearest'});"
            "const box = target.getBoundingClientRect(); const at = [box.x + box.width / 2, box.y + box.height / 2];"
            "return target.contains(document.elementFromPoint(...at)) && at;",
            click,
        )

    def enter(self, selector: str) -> None:
        """Press Enter on a button, as soon as it is there and can have the focus."""
        self._use(
            selector,
            "target.focus(); return document.activeElement === target;",
            lambda _: self.press("Enter"),
        )

    def _use(self, selector: str, aim: str, act: Callable[[Any], None]) -> None:
        """
        Find an element that can be seen, and do with it what clicks it.

        What the page hears in between may have it make the element anew. Then the act meets nothing, and is done again; it is
        never done twice to what it has met.

        :param aim: the body of a function that gets ready for it with ``target``, and returns what ``act`` needs, if it is ready.
        """
        met = False
        while not met:
            aimed = self.until(
                f"(() => {{ const target = document.querySelector({json.dumps(selector)});"
                f"const aimed = target?.checkVisibility() && ((target) => {{ {aim} }})(target); if (!aimed) return null;"
                "window.met = false; target.addEventListener('click', () => { window.met = true; }, {once: true, capture: true});"
                "return aimed; })()"
            )
            act(aimed)
            # A page that was left by the click knows nothing of it.
            met = self.run("window.met ?? true")

    def type(self, text: str) -> None:
        """Type into what has the focus."""
        self.ask("Input.insertText", text=text)

    def press(self, key: str, times: int = 1) -> None:
        """Press a key."""
        code, typed = KEYS[key]
        about = {"key": key, "code": key if key != " " else "Space", "windowsVirtualKeyCode": code}
        for _ in range(times):
            self.ask("Input.dispatchKeyEvent", type="keyDown", text=typed, **about)
            self.ask("Input.dispatchKeyEvent", type="keyUp", **about)

    @property
    def focus(self) -> str:
        """The id of what has the focus."""
        return str(self.run("document.activeElement?.id || document.activeElement?.className || ''"))

    def close(self) -> None:
        self.browser.ask("Target.closeTarget", targetId=self.target)


def _pipe() -> tuple[int, int]:
    """Make a pipe whose numbers are far from those that the browser wants it to have."""
    ends = os.pipe()
    far = [fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10) for end in ends]
    for end in ends:
        os.close(end)
    return far[0], far[1]
