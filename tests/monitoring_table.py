"""The table of docs/monitoring.md: every metric that zea has, its kind, and its labels."""

import re
from pathlib import Path
from typing import NamedTuple

DOCUMENT = Path(__file__).parents[1] / "docs" / "monitoring.md"
ROW = re.compile(
    r"^\| `(?P<name>zea_\w+)` \| (?P<kind>\w+) \| (?P<labels>[^|]+) \| (?P<meaning>[^|]+) \|$", re.MULTILINE
)


class Metric(NamedTuple):
    """What one row says: ``kind`` is counter, gauge or histogram."""

    kind: str
    labels: frozenset[str]


def metrics() -> dict[str, Metric]:
    """What the table lists, by name; a histogram stands there without its suffixes."""
    return {row["name"]: _metric(row) for row in ROW.finditer(DOCUMENT.read_text())}


def series() -> dict[str, frozenset[str]]:
    """The labels of each series that may be asked for: those of a histogram have its suffixes."""
    return {name: labels for metric, listed in metrics().items() for name, labels in _series_of(metric, listed)}


def _metric(row: re.Match[str]) -> Metric:
    return Metric(row["kind"], frozenset(re.findall(r"`(\w+)`", row["labels"])))


def _series_of(name: str, metric: Metric) -> list[tuple[str, frozenset[str]]]:
    if metric.kind != "histogram":
        return [(name, metric.labels)]
    return [
        (f"{name}_bucket", metric.labels | {"le"}),
        (f"{name}_sum", metric.labels),
        (f"{name}_count", metric.labels),
    ]
