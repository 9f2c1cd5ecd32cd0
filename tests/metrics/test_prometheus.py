"""What is for Prometheus and Grafana: held against the metrics of a real daemon, by Prometheus's own tool."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from docs.tables import metrics_as_text
from tests.daemon import PATIENCE, READ, Daemon, eventually
from tests.mariadb import MariaDB

ETC = Path(__file__).resolve().parent.parent.parent / "etc"
RULES = ETC / "prometheus" / "resourced.rules.yml"
DASHBOARD = ETC / "grafana" / "resourced.json"

#: A healthy daemon, as Prometheus sees it every minute; in its notation 0+6x30 is 0, 6, 12 and so on.
WELL: Mapping[str, str] = {
    'up{job="resourced"}': "1x30",
    "resourced_serving": "1x30",
    "resourced_store_up": "1x30",
    "resourced_commit_failures_total": "0x30",
    'resourced_commit_duration_seconds_bucket{le="0.25"}': "0+600x30",
    'resourced_commit_duration_seconds_bucket{le="1.0"}': "0+600x30",
    'resourced_commit_duration_seconds_bucket{le="+Inf"}': "0+600x30",
    'resourced_requests_total{status="200"}': "0+6000x30",
    'resourced_requests_total{status="401"}': "0+6x30",
    'resourced_requests_total{status="503"}': "0+6x30",
    'resourced_reactor_lag_seconds_bucket{le="0.05"}': "0+120x30",
    'resourced_reactor_lag_seconds_bucket{le="0.25"}': "0+120x30",
    'resourced_reactor_lag_seconds_bucket{le="+Inf"}': "0+120x30",
    "resourced_leases_expired_total": "0+2x30",
    "resourced_lock_held_seconds_count": "0+100x30",
    'resourced_quota_refusals_total{quota="rate"}': "0+12x30",
    "resourced_connections": "100x30",
    "resourced_connections_limit": "10000x30",
    "resourced_requests_busy": "10x30",
    "resourced_requests_busy_limit": "1000x30",
    "resourced_buffered_bytes": "1000000x30",
    "resourced_buffered_bytes_limit": "268435456x30",
    "resourced_streams": "10x30",
    "resourced_streams_limit": "1000x30",
    "resourced_tickets_waiting": "100x30",
    "resourced_tickets_waiting_limit": "100000x30",
    "resourced_locks_held": "100x30",
    "resourced_oldest_hold_seconds": "3600+60x30",
    "resourced_oldest_wait_seconds": "600x30",
    "resourced_locks_held_limit": "200000x30",
    "resourced_events_kept": "10000x30",
    "resourced_events_kept_limit": "1000000x30",
    "resourced_events_kept_bytes": "2000000x30",
    "resourced_events_kept_bytes_limit": "1073741824x30",
    "resourced_database_work_pending": "5x30",
    "resourced_database_work_pending_limit": "1000x30",
    'process_open_fds{job="resourced"}': "200x30",
    'process_max_fds{job="resourced"}': "20000x30",
}

#: What makes each alert go off within half an hour, and the others not.
ILL: Mapping[str, Mapping[str, str]] = {
    "ResourcedDown": {'up{job="resourced"}': "1x10 0x20"},
    "ResourcedNobodyServes": {"resourced_serving": "1x10 0x20"},
    "ResourcedStoreAway": {"resourced_store_up": "1x10 0x20"},
    "ResourcedCommitsFail": {"resourced_commit_failures_total": "0x10 0+1x20"},
    "ResourcedCommitsSlow": {'resourced_commit_duration_seconds_bucket{le="0.25"}': "0+300x30"},
    "ResourcedRefuses": {'resourced_requests_total{status="503"}': "0+600x30"},
    "ResourcedKeysRefused": {'resourced_requests_total{status="401"}': "0+600x30"},
    "ResourcedFailed": {'resourced_requests_total{status="500"}': "_x25 1x5"},
    "ResourcedReactorLag": {'resourced_reactor_lag_seconds_bucket{le="0.05"}': "0+30x30"},
    "ResourcedLeasesRunOut": {"resourced_leases_expired_total": "0+10x30"},
    "ResourcedHeldLong": {"resourced_oldest_hold_seconds": "13000+60x30"},
    "ResourcedWaitsLong": {"resourced_oldest_wait_seconds": "2400+60x30"},
    "ResourcedQuotas": {'resourced_quota_refusals_total{quota="rate"}': "0+120x30"},
    "ResourcedNearLimit": {"resourced_connections": "9000x30"},
    "ResourcedHistoryShort": {"resourced_events_kept_bytes": "1000000000x30"},
}

#: What is not an illness, and must not wake anybody.
NOT_ILL: tuple[Mapping[str, str], ...] = (
    {},
    # One that stands by refuses all that it is asked; another one, in another instance, serves.
    {
        "resourced_serving": "0x30",
        'resourced_serving{instance="other"}': "1x30",
        'resourced_requests_total{status="200"}': "0x30",
        'resourced_requests_total{status="503"}': "0+600x30",
    },
    # A restart: every counter begins anew.
    {'resourced_requests_total{status="500"}': "7x30", "resourced_leases_expired_total": "0+2x10 0+2x20"},
    # Nobody asks for anything.
    {'resourced_requests_total{status="200"}': "0x30", 'resourced_requests_total{status="503"}': "0x30"},
)


def promtool(*arguments: str | Path, given: str = "") -> str:
    """Run promtool, which must have no complaints; return what it prints."""
    beside = Path(sys.executable).with_name("promtool")
    command = shutil.which("promtool") or (str(beside) if beside.exists() else "")
    assert command, "promtool is missing: make promtool"
    done = subprocess.run(
        [command, *arguments], input=given, capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module", params=["1", "0"], ids=["reference_path", "fast"])
def told(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """What a daemon tells that has met with all sorts of things."""
    environ = {"RESOURCED_PLACE": "0.3", "RESOURCED_REFERENCE_PATH": request.param}
    with Daemon(tmp_path_factory.mktemp("daemon"), environ) as daemon:
        daemon.create("printer", 4)
        path = "/resource/printer/A4"
        ticket = daemon.post(f"{path}/lock").ticket
        daemon.put(path, "{}", ticket=ticket)
        daemon.post(f"{path}/lock")
        with closing(daemon.ask("POST", f"{path}/lock?wait=50")) as waiting:
            assert waiting.answer().status == 200
        daemon.get(path, key="wrong")
        daemon.get("/nowhere")

        def known() -> str:
            text = daemon.get("/metrics", key=READ).body.decode()
            return text if "resourced_places_lapsed_total 1.0" in text else ""

        yield eventually(known)


def expressions() -> dict[str, str]:
    """Every expression of the dashboard, by what it is for."""
    dashboard = json.loads(DASHBOARD.read_text())
    found = {
        f"{panel['title']} {target['refId']}": target["expr"]
        for panel in dashboard["panels"]
        for target in panel.get("targets", ())
    }
    found |= {note["name"]: note["expr"] for note in dashboard["annotations"]["list"] if "expr" in note}
    return {name: expression.replace("$__rate_interval", "5m") for name, expression in found.items()}


def alerts() -> list[tuple[str, str]]:
    """Every alert with its expression."""
    text = RULES.read_text()
    found = re.findall(r"- alert: (\w+)\n +expr: (?:>-\n((?: {10}.*\n)+)|(.*)\n)", text)
    return [(name, " ".join((folded or line).split())) for name, folded, line in found]


def test_alerts_are_read() -> None:
    """Each alert of the file is looked at here."""
    assert len(alerts()) == RULES.read_text().count("- alert:")
    assert {name for name, _ in alerts()} == set(ILL)


def names_in(expression: str) -> tuple[set[str], set[str]]:
    """Return the metrics that an expression asks for, and the labels that it knows."""
    labels = set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)\s*\"", expression))
    for group in re.findall(r"\b(?:by|on|without|ignoring)\s*\(([^)]*)\)", expression):
        labels |= set(re.findall(r"\w+", group))
    bare = re.sub(r"\b(?:by|on|without|ignoring)\s*\([^)]*\)|\{[^}]*\}|\[[^\]]*\]|\boffset \w+", " ", expression)
    words = set(re.findall(r"\b[a-zA-Z_:][\w:]*\b(?!\s*\()", bare))
    return words - {"and", "or", "unless", "bool"}, labels


def test_names(told: str) -> None:
    """Dashboard and alerts ask for metrics that there are, by labels that these have."""
    known: dict[str, set[str]] = {"up": set()}
    for family in text_string_to_metric_families(told):
        for sample in family.samples:
            known.setdefault(sample.name, set()).update(sample.labels)
    used: set[str] = set()
    for what, expression in [*expressions().items(), *alerts()]:
        metrics, labels = names_in(expression)
        assert metrics, what
        assert metrics <= set(known), what
        assert labels <= {"job", "instance"}.union(*(known[name] for name in metrics)), what
        used |= metrics
    # What nobody looks at need not be told.
    families = {family.name for family in text_string_to_metric_families(told) if family.name.startswith("resourced_")}
    assert [name for name in families if not any(one.startswith(name) for one in used)] == []


def figures_of(text: str) -> dict[str, float]:
    """Add up what has the same name."""
    figures: dict[str, float] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            figures[sample.name] = figures.get(sample.name, 0) + sample.value
    return figures


def test_figures(told: str) -> None:
    """What the daemon tells is what has happened to it, also what only a real one meets with."""
    figures = figures_of(told)
    for name in (
        "resourced_serving",
        "resourced_store_up",
        "resourced_build_info",
        "resourced_leases_expired_total",
        "resourced_waiting_request_duration_seconds_count",
    ):
        assert figures[name] == 1, name
    # The one that asks, and perhaps some whose end is not known yet.
    assert figures["resourced_connections"] >= 1
    assert figures["resourced_lock_wait_seconds_count"] == 2
    assert figures["resourced_lock_wait_seconds_sum"] > 0.5
    assert figures["resourced_lock_held_seconds_sum"] >= 1
    assert figures["resourced_commit_duration_seconds_count"] >= 4
    assert figures["resourced_commit_transitions_sum"] >= 5
    assert figures["resourced_commit_duration_seconds_sum"] > 0
    assert figures["resourced_database_work_duration_seconds_count"] > 10
    assert figures["resourced_database_work_failures_total"] == 0
    assert figures["resourced_reactor_lag_seconds_count"] >= 1
    assert figures["process_open_fds"] > 5


def test_standby(tmp_path: Path) -> None:
    """A daemon that stands by says so, and the moment when it takes over shows."""

    def serves(daemon: Daemon) -> float:
        return figures_of(daemon.get("/metrics", key="").body.decode())["resourced_serving"]

    with Daemon(tmp_path, {"RESOURCED_OPEN_METRICS": "1"}) as first:
        second = Daemon(tmp_path, arguments=("--standby", "--open-metrics"))
        try:
            second.launch()
            eventually(lambda: answers(second), what="the second one answers")
            assert (serves(first), serves(second)) == (1, 0)
            first.kill()
            eventually(lambda: serves(second) == 1, what="the second one takes over")
        finally:
            second.kill()


def test_store_away(tmp_path: Path) -> None:
    """While the store is away the daemon goes on telling, and tells that; and that it is back."""

    def figures() -> dict[str, float]:
        answer = daemon.get("/metrics", key=READ)
        assert answer.status == 200
        return figures_of(answer.body.decode())

    with MariaDB() as server:
        environ = {"MYSQL_PORT": str(server.port), "MYSQL_DATABASE": "printers", "RESOURCED_STORE_TIMEOUT": "1"}
        with Daemon(tmp_path, environ) as daemon:
            assert figures()["resourced_store_up"] == 1
            server.freeze()
            eventually(lambda: figures()["resourced_store_up"] == 0, what="it is told that the store is away")
            found = figures()
            assert (found["resourced_serving"], found["resourced_database_work_failures_total"] > 0) == (1, True)
            server.thaw()
            eventually(lambda: figures()["resourced_store_up"] == 1, what="it is told that the store is back")


def answers(daemon: Daemon) -> bool:
    try:
        return daemon.get("/metrics", key="").status == 200
    except OSError:
        return False


def test_reference(told: str) -> None:
    """The reference describes each metric of a real daemon, with its kind, and no other."""
    described = dict(re.findall(r"^``(\w+)`` \((\w+)", metrics_as_text(), re.MULTILINE))
    daemon = dict(re.findall(r"^# TYPE (\w+) (\w+)$", told, re.MULTILINE))
    assert {**described, "resourced_build_info": "gauge"} == daemon


def test_well_formed(told: str) -> None:
    """Prometheus's own tool has nothing against what the daemon tells."""
    promtool("check", "metrics", given=told)


def test_dashboard() -> None:
    """Grafana can show every panel: its expressions are right, it has a place of its own, and it asks the chosen server."""
    dashboard = json.loads(DASHBOARD.read_text())
    rules = [{"record": "x", "expr": expression} for expression in expressions().values()]
    promtool("check", "rules", "/dev/stdin", given=json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}))
    places: set[tuple[int, int]] = set()
    for panel in dashboard["panels"]:
        at = panel["gridPos"]
        taken = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not places & taken, panel["title"]
        assert at["x"] + at["w"] <= 24
        places |= taken
        for target in panel.get("targets", ()):
            assert target["datasource"] == panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])


def test_configuration(tmp_path: Path) -> None:
    """The example of a configuration is one, with its rules beside it."""
    shutil.copytree(ETC / "prometheus", tmp_path, dirs_exist_ok=True)
    (tmp_path / "resourced.key").write_text("a-key")
    assert f"{RULES.read_text().count('- alert:')} rules found" in promtool(
        "check", "config", tmp_path / "prometheus.yml"
    )


def course(changes: Mapping[str, str], firing: list[str]) -> dict[str, Any]:
    """Describe for promtool half an hour of a daemon's life, and which alerts have gone off in the end."""

    def labelled(series: str) -> str:
        name, _, labels = series.rstrip("}").partition("{")
        given = {"job": "resourced", "instance": "here", **dict(re.findall(r'(\w+)="([^"]*)"', labels))}
        return name + "{" + ",".join(f'{label}="{value}"' for label, value in given.items()) + "}"

    return {
        "interval": "1m",
        "input_series": [
            {"series": labelled(series), "values": values} for series, values in {**WELL, **changes}.items()
        ],
        "promql_expr_test": [
            {
                "expr": 'count by (alertname) (ALERTS{alertstate="firing"})',
                "eval_time": "29m",
                "exp_samples": [{"labels": f'{{alertname="{name}"}}', "value": 1} for name in firing],
            }
        ],
    }


def test_alerts(tmp_path: Path) -> None:
    """Each alert goes off when something is wrong, no other with it, and none without a cause."""
    near = [{f"resourced_{what}": f"{limit * 9 // 10}x30"} for what, limit in (
        ("connections", 10_000), ("requests_busy", 1000), ("buffered_bytes", 268435456), ("streams", 1000), ("tickets_waiting", 100_000), ("database_work_pending", 1000),
    )]  # fmt: skip
    near.append({'process_open_fds{job="resourced"}': "19000x30"})
    tests = [course(changes, [name]) for name, changes in ILL.items()]
    tests += [course(changes, ["ResourcedNearLimit"]) for changes in near]
    tests += [course(changes, []) for changes in NOT_ILL]
    script = {"rule_files": [str(RULES)], "evaluation_interval": "1m", "tests": tests}
    (tmp_path / "alerts.json").write_text(json.dumps(script))
    promtool("test", "rules", tmp_path / "alerts.json")
