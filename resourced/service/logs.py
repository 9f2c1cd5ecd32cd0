"""How the log is written: Twisted's lines of text, or one JSON object a line for programs that collect logs."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final, TextIO

from twisted.application.service import MultiService
from twisted.logger import FileLogObserver, ILogObserver, LogEvent, LogLevel, formatEvent
from twisted.python.components import Componentized
from twisted.python.failure import Failure
from twisted.python.logfile import LogFile

#: What a line about a request has beside what every line has. An event's other fields are the program's own.
ACCESS: Final = (
    "method",
    "route",
    "status",
    "ms",
    "resource",
    "selector",
    "owner",
    "key",
    "fence",
    "uri",
    "peer",
    "bytes",
)


def json_line(event: LogEvent) -> str:
    """
    Write an event as a line of JSON: ``time`` (RFC 3339, UTC), ``level``, ``logger`` and ``message``.

    A request also has the known fields of ``ACCESS``, and a failure its traceback as ``error``.
    """
    if "requests" in event:
        # Under load many requests come as one event.
        text = zip(event["requests"](), event["lines"].split("\n"), strict=True)
        common = {name: value for name, value in event.items() if name not in {"requests", "lines"}}
        return "".join([json_line({**common, **fields, "log_format": "{said}", "said": said}) for fields, said in text])
    level = event.get("log_level", LogLevel.info)
    line: dict[str, object] = {
        "time": datetime.fromtimestamp(event.get("log_time", 0.0), UTC).isoformat(timespec="milliseconds"),
        "level": level.name,
        "logger": event.get("log_namespace", "-"),
        "message": formatEvent(event),
    }
    if line["logger"] == "resourced.access":
        line.update((name, _plain(event[name])) for name in ACCESS if name in event)
    failure = event.get("log_failure")
    if isinstance(failure, Failure):
        line["error"] = failure.getTraceback()
    return json.dumps(line, ensure_ascii=False) + "\n"


def _plain(value: object) -> object:
    if isinstance(value, float):
        return round(value, 3)
    return value if isinstance(value, int | str) else str(value)


class Logged(MultiService):
    """What is put into it runs in an application whose log is written by an observer of its own."""

    def __init__(self, observer: ILogObserver) -> None:
        super().__init__()
        self._observer = observer

    def setServiceParent(self, parent: Any) -> None:
        # twistd asks the application for its observer, and takes its own if there is none.
        if isinstance(parent, Componentized):
            parent.setComponent(ILogObserver, self._observer)
        super().setServiceParent(parent)


def json_observer(twistd: Mapping[str, Any]) -> ILogObserver:
    """
    Return what writes JSON to where the options of ``twistd`` send the log: to a file, which is rotated, or to the standard
    output.
    """
    name = twistd.get("logfile") or ""
    if name in {"", "-"} and twistd.get("nodaemon"):
        # As it is now: what the program prints later is an event of the log, too.
        return FileLogObserver(_unbroken(sys.stdout), json_line)
    return FileLogObserver(LogFile.fromFullPath("twistd.log" if name in {"", "-"} else name), json_line)


def _unbroken(stream: Any) -> TextIO:
    # A name in a path may have characters that the terminal's encoding lacks.
    stream.reconfigure(errors="backslashreplace")
    return stream  # type: ignore[no-any-return]
