"""What docs/monitoring gives to Prometheus and Grafana asks only for metrics and labels that docs/monitoring.md lists.

A wrong name or label is no error there: the alert stays silent, the panel empty.
"""

import json
import re
from collections import Counter
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.monitoring_table import metrics, series
from tests.promql import OF_PROMETHEUS, Labels, Misread, labels, parsed, selectors
from zea.cli.app import COMMANDS

DOCS = Path(__file__).parents[2] / "docs"
RULES = [
    rule for group in yaml.safe_load((DOCS / "monitoring/alerts.yml").read_text())["groups"] for rule in group["rules"]
]
DASHBOARD = json.loads((DOCS / "monitoring/grafana-dashboard.json").read_text())
ROWS = [each for each in DASHBOARD["panels"] if each["type"] == "row"]
PANELS = [each for each in DASHBOARD["panels"] if each["type"] != "row"]
TARGETS = [(panel, target) for panel in PANELS for target in panel["targets"]]
EXPRESSIONS = [rule["expr"] for rule in RULES] + [target["expr"] for _, target in TARGETS]
METRICS = metrics()
KNOWN = {**series(), **OF_PROMETHEUS}
# What one API process sees or is; everything else but HTTP is the same in all of them.
OF_ONE_PROCESS = {
    "up",
    "zea_database_up",
    "zea_broker_up",
    "zea_flower_up",
    "zea_build_info",
}

ALERTS = pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
EACH_PANEL = pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel["title"])


def labels_of(expression: str) -> Labels:
    return labels(parsed(expression), KNOWN)


def names_of(expression: str) -> set[str]:
    return {str(selector.name) for selector, _ in selectors(parsed(expression))}


def unfit_aggregations(expression: str) -> Iterator[str]:
    """What would count every API process's copy of the same, or only one process's share."""
    for selector, aggregation in selectors(parsed(expression)):
        fit = "sum" if str(selector.name).startswith("zea_http_") else "max"
        if selector.name not in OF_ONE_PROCESS and aggregation != fit:
            yield f"{selector.name} by {aggregation or 'nothing'}"


def overlapping(panels: list[dict[str, Any]]) -> list[str]:
    """The pairs of panels that lie on each other."""

    def apart(one: dict[str, int], other: dict[str, int], start: str, length: str) -> bool:
        return one[start] + one[length] <= other[start] or other[start] + other[length] <= one[start]

    return [
        f"{one['title']} and {other['title']}"
        for one, other in combinations(panels, 2)
        if not apart(one["gridPos"], other["gridPos"], "x", "w")
        and not apart(one["gridPos"], other["gridPos"], "y", "h")
    ]


def runbook() -> dict[str, tuple[str, str]]:
    """The table under Alerts in docs/operations.md: what each alert means, and what to do."""
    section = (DOCS / "operations.md").read_text().partition("\n## Alerts\n")[2].partition("\n## ")[0]
    rows = re.findall(r'^\| <a id="(\w+)"></a>(\w+) \| ([^|]+) \| ([^|]+) \|$', section, re.MULTILINE)
    assert all(anchor == alert.lower() for anchor, alert, *_ in rows)
    return {alert: (meaning, advice) for _, alert, meaning, advice in rows}


# The table


def test_the_table_is_read_whole() -> None:
    document = (DOCS / "monitoring.md").read_text()
    assert len(METRICS) == document.count("\n| `zea_") > 20
    assert {each.kind for each in METRICS.values()} == {"counter", "gauge", "histogram"}
    for name, metric in METRICS.items():
        assert name.endswith("_total") == (metric.kind == "counter"), name
        assert metric.kind != "histogram" or name.endswith("_seconds"), name


def test_every_metric_is_shown_or_alerted_on() -> None:
    asked_for = set().union(*map(names_of, EXPRESSIONS))
    unused = [
        name for name in METRICS if not asked_for & {name, *(f"{name}_{part}" for part in ("bucket", "sum", "count"))}
    ]
    assert unused == []


# Expressions


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_an_expression_asks_for_what_is_there(expression: str) -> None:
    labels_of(expression)
    assert list(unfit_aggregations(expression)) == []


@pytest.mark.parametrize(
    ("expression", "problem"),
    [
        ("max(zea_sweep_lag_seconds", "unclosed"),
        ("max(zea_sweep_lag)", "zea_sweep_lag is no metric"),
        ("max(zea_step_duration_seconds)", "is no metric"),
        ("max by (queue) (zea_approvals_pending)", "there is no queue"),
        ('max(zea_approvals_pending{queue="mail"})', "there is no queue"),
        ("sum by (le) (max by (step) (rate(zea_step_duration_seconds_bucket[5m])))", "there is no le"),
        ("histogram_quantile(0.9, max(zea_step_duration_seconds_sum))", "there is no le"),
        ("max by (queue) (zea_queue_age_seconds) > max(zea_late_after_seconds)", "never match"),
        ("max by (queue) (zea_queue_age_seconds) > on (worker) max(zea_late_after_seconds)", "there is no worker"),
    ],
)
def test_an_expression_that_would_stay_silent_is_seen(expression: str, problem: str) -> None:
    with pytest.raises(Misread, match=problem):
        labels_of(expression)


@pytest.mark.parametrize(
    ("expression", "problem"),
    [
        ("sum(rate(zea_executions_started_total[5m]))", "zea_executions_started_total by sum"),
        ("zea_oldest_due_seconds > 10", "zea_oldest_due_seconds by nothing"),
        ("max(rate(zea_http_requests_total[5m]))", "zea_http_requests_total by max"),
    ],
)
def test_an_expression_that_adds_up_copies_is_seen(expression: str, problem: str) -> None:
    assert list(unfit_aggregations(expression)) == [problem]


# Alerts


@ALERTS
def test_an_alert_says_what_it_is_and_how_bad(rule: dict[str, Any]) -> None:
    said = rule["annotations"]
    assert said.keys() == {"summary", "description", "runbook_url"}
    assert all(text.strip().endswith(".") for name, text in said.items() if name != "runbook_url")
    assert rule["labels"]["severity"] in {"critical", "warning", "info"}
    assert re.fullmatch(r"\d+[smh]", rule["for"])
    named = set(re.findall(r"\$labels\.(\w+)", " ".join(said.values())))
    assert named <= labels_of(rule["expr"])


@ALERTS
def test_an_alert_has_its_row_in_the_runbook(rule: dict[str, Any]) -> None:
    assert rule["annotations"]["runbook_url"] == f"docs/operations.md#{rule['alert'].lower()}"
    assert rule["alert"] in runbook()


def test_the_runbook_has_no_other_alerts_and_only_real_commands() -> None:
    assert sorted(runbook()) == sorted(rule["alert"] for rule in RULES)
    advised = [command for _, advice in runbook().values() for command in re.findall(r"`zea (\w+)", advice)]
    assert advised
    assert set(advised) <= COMMANDS.keys()


# The scrape


def test_the_example_reads_the_job_that_the_alerts_ask_for() -> None:
    example = yaml.safe_load((DOCS / "monitoring/prometheus.yml").read_text())
    (job,) = example["scrape_configs"]
    assert (job["job_name"], job["metrics_path"]) == ("zea", "/metrics")
    assert job["authorization"].keys() == {"type", "credentials_file"}
    assert example["rule_files"] == ["alerts.yml"]


# The dashboard


@EACH_PANEL
def test_a_panel_says_what_it_shows(panel: dict[str, Any]) -> None:
    assert panel["title"]
    assert panel["description"].endswith(".")
    assert panel["fieldConfig"]["defaults"]["unit"]
    assert panel["targets"]
    assert {each["datasource"]["uid"] for each in (panel, *panel["targets"])} == {"${datasource}"}
    for target in panel["targets"]:
        named = set(re.findall(r"{{(\w+)}}", target["legendFormat"]))
        assert named <= labels_of(target["expr"]), target["expr"]


def test_panels_lie_beside_each_other_under_their_rows() -> None:
    panels = DASHBOARD["panels"]
    assert [each for each, times in Counter(panel["id"] for panel in panels).items() if times > 1] == []
    assert overlapping(panels) == []
    assert all(each["gridPos"]["x"] + each["gridPos"]["w"] <= 24 for each in panels)
    assert [each["title"] for each in ROWS] == ["Now", "Throughput", "Steps", "Waits", "HTTP", "Servers"]
    assert panels == sorted(panels, key=lambda panel: (panel["gridPos"]["y"], panel["gridPos"]["x"]))


def test_panels_that_lie_on_each_other_are_seen() -> None:
    here = {"title": "here", "gridPos": {"x": 0, "y": 0, "w": 12, "h": 8}}
    below = {"title": "below", "gridPos": {"x": 11, "y": 7, "w": 12, "h": 8}}
    beside = {"title": "beside", "gridPos": {"x": 12, "y": 0, "w": 12, "h": 7}}
    assert overlapping([here, below, beside]) == ["here and below"]


def test_the_dashboard_asks_which_prometheus_when_it_is_imported() -> None:
    (asked,) = DASHBOARD["__inputs"]
    assert (asked["type"], asked["pluginId"]) == ("datasource", "prometheus")
    variables = {each["name"]: each for each in DASHBOARD["templating"]["list"]}
    assert variables["datasource"]["current"]["value"] == f"${{{asked['name']}}}"
    assert DASHBOARD["id"] is None
    used = set(re.findall(r"\$(?!__)(\w+)", " ".join(EXPRESSIONS)))
    assert used <= variables.keys()
    metric, label = re.findall(r"^label_values\((\w+), (\w+)\)$", variables["workflow"]["definition"])[0]
    assert label in KNOWN[metric]
