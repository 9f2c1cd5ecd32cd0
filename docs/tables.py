"""
The reference of settings, metrics and errors, made from the tables by which the server itself works.

Directives of Sphinx: ``settings`` with the options that it describes, ``metrics``, ``errors``, and ``figures`` with columns of a benchmark.
"""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

from docutils import nodes
from prometheus_client import Metric
from prometheus_client.process_collector import ProcessCollector
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

import resourced
from resourced.api.base import STATUSES, status_of
from resourced.config import Config
from resourced.errors import BadRequest, QuotaExceeded, ResourcedError
from resourced.http import routing
from resourced.metrics.collect import Metrics
from resourced.metrics.gauges import gauges_of
from resourced.quotas import MAX_PLACES, MAX_QUEUE, NAMES
from resourced.settings import SETTINGS, Setting
from resourced.storage.sql.health import Fault

QUOTAS = (*NAMES, MAX_QUEUE, MAX_PLACES)
HOUSE = Path(inspect.getfile(resourced)).parent


def settings_as_text(options: Iterable[str]) -> str:
    """
    Describe some settings, each under its variable.

    :raises KeyError: there is no such option.
    """
    known = {setting.option: setting for setting in SETTINGS}
    return "\n".join(_setting(known[option]) for option in options)


def _setting(setting: Setting) -> str:
    default = f"``{setting.default}``" if setting.default else "empty"
    value = "" if setting.flag else " VALUE"
    return (
        f".. envvar:: {setting.variable}\n\n"
        f"   {escaped(setting.summary)}.\n\n"
        f"   Option ``--{setting.option}{value}``, default {default}.\n"
    )


def metrics() -> Iterator[Metric]:
    """Return all that ``/metrics`` says, with figures that mean nothing."""
    config = Config.load({"resource-write": "key"}, {}, "/")
    yield from Metrics().collect()
    parts: dict[str, Any] = {name: MagicMock() for name in inspect.signature(gauges_of).parameters}
    yield from gauges_of(**{**parts, "config": config}).collect()
    yield from ProcessCollector(registry=None).collect()


def metrics_as_text() -> str:
    """Describe all metrics in the order of their names, each with its kind and labels."""
    found = {_sample_name(metric): metric for metric in metrics()}
    return "\n".join(_metric(name, metric) for name, metric in sorted(found.items()))


def _sample_name(metric: Metric) -> str:
    return metric.name + {"counter": "_total", "info": "_info"}.get(metric.type, "")


def _metric(name: str, metric: Metric) -> str:
    labels = [f"``{label}``" for label in getattr(metric, "_labelnames", ())]
    by = f", by {', '.join(labels)}" if labels else ""
    return f"``{name}`` ({metric.type}{by})\n   {escaped(metric.documentation)}\n"


def errors_as_text() -> str:
    """Describe all kinds of errors as a table: status, code, and what it means."""
    rows = [
        (str(status_of(kind)), kind.code, inspect.getdoc(kind) or "")
        for kind, _ in STATUSES
        if kind not in {BadRequest, QuotaExceeded, ResourcedError}
    ]
    rows += [("400", code, sentence) for code, sentence in sorted(bad_requests().items())]
    rows += [("429", f"{QuotaExceeded.code}_{name}", f"The quota ``{name}`` is used up.") for name in QUOTAS]
    rows += [("503", *fault.value) for fault in Fault]
    rows += [row for row in edge_errors() if row[1] not in {"…", "bad_request", "overloaded"}]
    lines = [".. list-table::", "   :header-rows: 1", "   :widths: 10 30 60", "", "   * - status", "     - ``code``"]
    lines += ["     - meaning"]
    first = {row[:2]: row for row in reversed(rows)}
    for status, code, meaning in sorted(first.values()):
        lines += [f"   * - {status}", f"     - ``{code}``", f"     - {escaped(' '.join(meaning.split()))}"]
    return "\n".join(lines)


def bad_requests() -> dict[str, str]:
    """Return every code of a request that cannot be understood, with the sentence or sentences, as they stand in the source."""
    found: dict[str, list[str]] = {BadRequest("").code: [inspect.getdoc(BadRequest) or ""]}
    for call in _calls():
        if ast.unparse(call.func) == "BadRequest" and len(call.args) == 2:
            sentence, code = map(_as_written, call.args)
            found.setdefault(code, []).append(sentence)
    return {code: " Or: ".join(dict.fromkeys(sentences)) for code, sentences in found.items()}


def edge_errors() -> Iterator[tuple[str, str, str]]:
    """Return what is answered before any route is asked: status, code and sentence of each call that has all three."""
    for call in _calls():
        for status, code, sentence in zip(call.args, call.args[1:], call.args[2:], strict=False):
            if isinstance(status, ast.Constant) and isinstance(status.value, int) and 400 <= status.value < 600:
                yield str(status.value), _as_written(code), _as_written(sentence)
        if ast.unparse(call.func) == "answer" and isinstance(call.args[-1], ast.Dict):
            said = {
                ast.literal_eval(key): value
                for key, value in zip(call.args[-1].keys, call.args[-1].values, strict=True)
                if key
            }
            if "code" in said:
                yield _as_written(call.args[1]), _as_written(said["code"]), _as_written(said["error"])
    for kind in vars(routing).values():
        if isinstance(kind, type) and hasattr(kind, "word") and kind.__module__ == routing.__name__:
            yield str(getattr(kind, "code", "")), kind.word, str(getattr(kind, "description", ""))


def _calls() -> Iterator[ast.Call]:
    """Return every call in the source of the server."""
    for path in sorted(HOUSE.rglob("*.py")):
        if "client" not in path.parts and "cli" not in path.parts:
            yield from (node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call))


def _as_written(node: ast.expr) -> str:
    """Return the text of a string; what is put into it later is an ellipsis."""
    if isinstance(node, ast.JoinedStr):
        return "".join(str(part.value) if isinstance(part, ast.Constant) else "…" for part in node.values)
    return str(node.value) if isinstance(node, ast.Constant) else "…"


def escaped(text: str) -> str:
    """Let nothing in a text that is not within double backquotes mean anything to reStructuredText."""
    parts = re.split(r"(``.+?``)", text)
    return "".join(part if part.startswith("``") else re.sub(r"([*_`|\\])", r"\\\1", part) for part in parts)


def figures_as_text(text: str, columns: list[str]) -> str:
    """
    Take some columns of one of the tables that ``make bench`` has written.

    :param columns: their heads; the first is that of the table's first column.
    :raises ValueError: there is no such table, or no such column in it.
    """
    for block in text.split("\n\n"):
        lines = block.strip().splitlines()
        spans = [slice(*found.span()) for found in re.finditer("=+", lines[0])]
        rows = [[line[span].strip() for span in spans] for line in lines if not line.startswith("=")]
        if rows and rows[0] and rows[0][0] == columns[0]:
            chosen = [rows[0].index(column) for column in columns]
            cells = ["   " + ",".join(f'"{row[number]}"' for number in chosen) for row in rows]
            return "\n".join([".. csv-table::", "   :header-rows: 1", "", *cells])
    raise ValueError(f"no table of {columns[0]}")


class _Settings(SphinxDirective):
    has_content = True

    def run(self) -> list[nodes.Node]:
        return self.parse_text_to_nodes(settings_as_text(" ".join(self.content).split()))


class _Metrics(SphinxDirective):
    def run(self) -> list[nodes.Node]:
        return self.parse_text_to_nodes(metrics_as_text())


class _Errors(SphinxDirective):
    def run(self) -> list[nodes.Node]:
        return self.parse_text_to_nodes(errors_as_text())


class _Figures(SphinxDirective):
    """Its argument is the file, its content the columns."""

    has_content = True
    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        _, path = self.env.relfn2path(self.arguments[0])
        self.env.note_dependency(path)
        columns = [column.strip() for column in " ".join(self.content).split(";")]
        return self.parse_text_to_nodes(figures_as_text(Path(path).read_text(), columns))


def setup(app: Sphinx) -> dict[str, Any]:
    """Called by Sphinx."""
    app.add_directive("settings", _Settings)
    app.add_directive("metrics", _Metrics)
    app.add_directive("errors", _Errors)
    app.add_directive("figures", _Figures)
    return {"parallel_read_safe": True}
