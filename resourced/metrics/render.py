"""All figures of the daemon and of its process, written down for Prometheus."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Final

from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector, CollectorRegistry

_OPENMETRICS: Final = "application/openmetrics-text"
_PLAIN: Final = "text/plain"
#: The versions of either that what is written can be read as; where none is named, any is meant.
_VERSIONS: Final[Mapping[str, Collection[str]]] = {_OPENMETRICS: ("", "0.0.1", "1.0.0"), _PLAIN: ("", "0.0.4")}
_QUALITY: Final = re.compile(r"0(\.\d{0,3})?|1(\.0{0,3})?")


class Exposition:
    """What some collectors tell, and the process's own figures."""

    def __init__(self, *collectors: Collector) -> None:
        self._registry = CollectorRegistry()
        self.add(ProcessCollector(registry=None), *collectors)

    def add(self, *collectors: Collector) -> None:
        """Tell what these have to tell, too."""
        for collector in collectors:
            self._registry.register(collector)

    def write(self, accept: str) -> tuple[str, bytes]:
        """
        Write all figures down.

        :param accept: the ``Accept`` header, or nothing.
        :return: the content type and the text: OpenMetrics for those who ask for it by name, else the older format 0.0.4.
        """
        if wants_openmetrics(accept):
            # All our names are plain; so to escape them changes nothing, and to look at each letter of them takes long.
            text = openmetrics.generate_latest(self._registry, escaping=openmetrics.ALLOWUTF8)
            return openmetrics.CONTENT_TYPE_LATEST, text
        return CONTENT_TYPE_PLAIN_0_0_4, generate_latest(self._registry)


def wants_openmetrics(accept: str) -> bool:
    """Tell whether an ``Accept`` header (RFC 9110, 12.5.1) names OpenMetrics, and likes it no less than the older format."""
    liked = dict.fromkeys(_VERSIONS, 0.0)
    for offer in accept.lower().split(","):
        kind, *parameters = (part.strip() for part in offer.split(";"))
        values = {name.strip(): value.strip() for name, _, value in (part.partition("=") for part in parameters)}
        quality = values.get("q", "1")
        if values.get("version", "") in _VERSIONS.get(kind, ()) and _QUALITY.fullmatch(quality):
            liked[kind] = max(liked[kind], float(quality))
    return liked[_OPENMETRICS] > 0 and liked[_OPENMETRICS] >= liked[_PLAIN]
