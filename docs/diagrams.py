"""
The diagrams of the pages, as SVG from a few lines of text.

``sequence`` draws who tells whom what, ``states`` boxes on a grid with labelled arrows, and ``packages`` the packages of ``resourced``
with the imports between them, as the source has them.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from html import escape
from itertools import product
from pathlib import Path
from typing import Any, Final, NamedTuple

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

HOUSE: Final = Path(__file__).resolve().parent.parent / "resourced"

#: The height of a line of text, and half the size of a box.
LINE: Final = 18
HALF: Final = (58, 24)

_STYLE: Final = (
    "<style>.diagram{width:100%;height:auto;font:14px sans-serif;color:var(--color-foreground-primary,#222)}"
    ".diagram text{fill:currentColor;text-anchor:middle}"
    ".diagram .label{stroke:var(--color-background-primary,#fff);stroke-width:4px;paint-order:stroke;font-size:13px}"
    ".diagram rect{fill:var(--color-background-secondary,#f3f4f6);stroke:currentColor}"
    ".diagram line,.diagram path{stroke:currentColor;fill:none}"
    ".diagram .dashed{stroke-dasharray:4 4}.diagram .head{fill:currentColor;stroke:none}</style>"
)


class Point(NamedTuple):
    """A place in a picture, in pixels from its upper left corner."""

    x: float
    y: float


def _picture(width: float, height: float, title: str, parts: list[str]) -> str:
    return (
        f'<figure><svg class="diagram" role="img" aria-label="{escape(title)}" viewBox="0 0 {width:g} {height:g}" '
        f'style="max-width:{width:g}px">{_STYLE}{"".join(parts)}</svg></figure>'
    )


def _text(at: Point, text: str, kind: str = "") -> str:
    """Write lines, which a slash separates, around a place."""
    lines = text.split(" / ")
    top = at.y - (len(lines) - 1) * LINE / 2 + 5
    return "".join(
        f'<text class="{kind}" x="{at.x:g}" y="{top + number * LINE:g}">{escape(line)}</text>'
        for number, line in enumerate(lines)
    )


def _box(at: Point, text: str) -> str:
    wide, high = HALF
    rect = f'<rect x="{at.x - wide:g}" y="{at.y - high:g}" width="{2 * wide}" height="{2 * high}" rx="6"/>'
    return rect + _text(at, text)


def _arrow(start: Point, end: Point, kind: str = "") -> str:
    """Draw a line with a head at its end."""
    length = ((end.x - start.x) ** 2 + (end.y - start.y) ** 2) ** 0.5 or 1
    x, y = (end.x - start.x) / length, (end.y - start.y) / length
    back = Point(end.x - 10 * x, end.y - 10 * y)
    corners = [end, Point(back.x - 4 * y, back.y + 4 * x), Point(back.x + 4 * y, back.y - 4 * x)]
    points = " ".join(f"{corner.x:.1f},{corner.y:.1f}" for corner in corners)
    line = f'<line class="{kind}" x1="{start.x:.1f}" y1="{start.y:.1f}" x2="{back.x:.1f}" y2="{back.y:.1f}"/>'
    return f'{line}<polygon class="head" points="{points}"/>'


def _edge_of_box(center: Point, towards: Point) -> Point:
    """Return where the line from the middle of a box to a place leaves the box."""
    x, y = towards.x - center.x, towards.y - center.y
    part = min(HALF[0] / abs(x) if x else 9e9, HALF[1] / abs(y) if y else 9e9)
    return Point(center.x + x * part, center.y + y * part)


def sequence(lines: list[str], title: str) -> str:
    """
    Draw who tells whom what, from top to bottom.

    :param lines: ``a -> b: text`` is a message, ``a --> b: text`` an answer, and ``a: text`` what somebody does alone.
    :raises ValueError: a line is none of these.
    """
    steps = []
    for line in lines:
        found = re.fullmatch(r"(.+?)(?: (--?>) (.+?))?: (.+)", line)
        if found is None:
            raise ValueError(f"not a step: {line}")
        steps.append(found.groups())
    names = list(dict.fromkeys(name for first, _, second, _ in steps for name in (first, second) if name))
    column = max(150, 840 // len(names))
    at = {name: column * (number + 0.5) for number, name in enumerate(names)}
    parts, y = [], 90.0
    for first, arrow, second, text in steps:
        height = LINE * len(text.split(" / "))
        middle = (at[first] + at[second]) / 2 if second else at[first]
        parts.append(_text(Point(middle, y + height / 2 - 8), text, "label"))
        y += height
        if second:
            parts.append(_arrow(Point(at[first], y), Point(at[second], y), "dashed" if arrow == "-->" else ""))
        y += 16
    lifelines = [f'<line class="dashed" x1="{x}" y1="48" x2="{x}" y2="{y}"/>' for x in at.values()]
    boxes = [_box(Point(x, 26), name) for name, x in at.items()]
    return _picture(column * len(names), y + 4, title, [*lifelines, *boxes, *parts])


def states(lines: list[str], title: str) -> str:
    """
    Draw boxes on a grid, with arrows between them.

    :param lines: ``name at column row`` is a box, ``a -> b: text`` an arrow, with or without a text.
    :raises ValueError: a line is none of these.
    """
    boxes: dict[str, Point] = {}
    arrows: list[tuple[str, str, str]] = []
    for line in lines:
        if placed := re.fullmatch(r"(.+) at ([\d.]+) ([\d.]+)", line):
            boxes[placed[1]] = Point(70 + 215 * float(placed[2]), 34 + 105 * float(placed[3]))
        elif arrow := re.fullmatch(r"(.+?) -> (.+?)(?:: (.+))?", line):
            arrows.append((arrow[1], arrow[2], arrow[3] or ""))
        else:
            raise ValueError(f"neither a box nor an arrow: {line}")
    return _graph(boxes, arrows, title)


def _graph(boxes: Mapping[str, Point], arrows: list[tuple[str, str, str]], title: str) -> str:
    drawn, labels = [], []
    for first, second, text in arrows:
        start, end = boxes[first], boxes[second]
        drawn.append(_arrow(_edge_of_box(start, end), _edge_of_box(end, start)))
        if text:
            labels.append(_text(Point((start.x + end.x) / 2, (start.y + end.y) / 2), text, "label"))
    width = max(point.x for point in boxes.values()) + 70
    height = max(point.y for point in boxes.values()) + 34
    return _picture(width, height, title, [*drawn, *(_box(at, name) for name, at in boxes.items()), *labels])


def imports() -> dict[str, set[str]]:
    """Return which package of ``resourced`` imports which, from the import statements. ``tap`` is a package here, too."""
    packages = sorted(path.parent.name for path in HOUSE.glob("*/__init__.py"))
    found: dict[str, set[str]] = {name: set() for name in (*packages, "tap")}
    for path in HOUSE.rglob("*.py"):
        name = path.relative_to(HOUSE).parts[0].removesuffix(".py")
        if name in found:
            imported = set(_imported(ast.parse(path.read_text()))) & set(found)
            found[name] |= imported - {name}
    return found


def _imported(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("resourced"):
            below = node.module.split(".")[1:2]
            yield from below or (alias.name for alias in node.names)


def reduced(arrows: Mapping[str, set[str]]) -> dict[str, set[str]]:
    """Leave the arrows out that follow from others."""

    def reached(name: str) -> set[str]:
        return arrows[name].union(*(reached(other) for other in arrows[name]))

    return {name: others - set().union(*map(reached, others)) for name, others in arrows.items()}


def layers(arrows: Mapping[str, set[str]]) -> list[list[str]]:
    """Return the packages from the top to the bottom, each above all that it imports."""

    def depth(name: str) -> int:
        return max((depth(other) + 1 for other in arrows[name]), default=0)

    depths = {name: depth(name) for name in arrows}
    return [[name for name in arrows if depths[name] == level] for level in range(max(depths.values()), -1, -1)]


def packages(title: str) -> str:
    """Draw the packages, from the import statements."""
    found = imports()
    rows = layers(found)
    arrows = [(first, second, "") for first, others in reduced(found).items() for second in sorted(others)]
    # Each layer may move to the side, so that as few arrows as possible run behind a box.
    placed = (_placed(rows, moved) for moved in product((0, 75, -75), repeat=len(rows)))
    boxes = min(placed, key=lambda boxes: _hidden(boxes, arrows))
    left = min(point.x for point in boxes.values()) - 70
    return _graph({name: Point(point.x - left, point.y) for name, point in boxes.items()}, arrows, title)


def _placed(rows: list[list[str]], moved: tuple[int, ...]) -> dict[str, Point]:
    return {
        name: Point(150 * (number - (len(row) - 1) / 2) + moved[level], 34 + 92 * level)
        for level, row in enumerate(rows)
        for number, name in enumerate(row)
    }


def _hidden(boxes: Mapping[str, Point], arrows: list[tuple[str, str, str]]) -> int:
    """Count the boxes that an arrow runs behind."""
    count = 0
    for first, second, _ in arrows:
        start, end = boxes[first], boxes[second]
        for at in boxes.values():
            if start.y < at.y < end.y:
                crossing = start.x + (end.x - start.x) * (at.y - start.y) / (end.y - start.y)
                count += abs(crossing - at.x) < HALF[0]
    return count


class _Diagram(SphinxDirective):
    """A directive whose argument says what is to be seen, for those who do not see it."""

    has_content = True
    required_arguments = 1
    final_argument_whitespace = True

    def run(self) -> list[nodes.Node]:
        title = self.arguments[0]
        lines = [line for line in self.content if line.strip()]
        draw = {"sequence": sequence, "states": states}.get(self.name)
        svg = draw(lines, title) if draw else packages(title)
        return [nodes.raw("", svg, format="html")]


def setup(app: Sphinx) -> dict[str, Any]:
    """Called by Sphinx."""
    for name in ("sequence", "states", "packages"):
        app.add_directive(name, _Diagram)
    return {"parallel_read_safe": True}
