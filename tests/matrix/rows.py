"""Which servers are tried together: each at least once, and not every one with every other."""

from collections.abc import Iterator, Sequence
from itertools import cycle, islice
from pathlib import Path
from typing import NamedTuple

from tests.matrix.obtaining import Obtained, version


class Row(NamedTuple):
    """One run of the ring; None is the embedded server, or no pooler."""

    postgresql: Path | None
    broker: Path | None
    pgbouncer: Path | None = None

    @property
    def options(self) -> list[str]:
        """For pytest, see tests/conftest.py."""
        return [f"--other-{name}={path}" for name, path in self._asdict().items() if path is not None]

    @property
    def name(self) -> str:
        embedded = "the embedded PostgreSQL"
        parts = [f"PostgreSQL {version(self.postgresql / 'postgres')}" if self.postgresql else embedded]
        if self.pgbouncer:
            parts.append(f"PgBouncer {version(self.pgbouncer)}")
        if self.broker:
            kind = "Valkey" if "valkey" in self.broker.name else "Redis"
            parts.append(f"{kind} {version(self.broker)}")
        else:
            parts.append("the embedded Valkey")
        return ", ".join(parts)


def rows_of(found: Obtained) -> list[Row]:
    """Every PostgreSQL once, the brokers in turn; every broker once; the pooler in front of the oldest PostgreSQL."""
    postgresql = [programs for _, programs in sorted(found.postgresql.items())]
    brokers: Sequence[Path | None] = [*found.brokers, None]
    rows = list(_paired(postgresql, brokers))
    untried = [broker for broker in found.brokers if broker not in {row.broker for row in rows}]
    rows += [Row(None, broker) for broker in untried]
    if found.pgbouncer:
        rows.append(Row(postgresql[0] if postgresql else None, brokers[0], found.pgbouncer))
    return rows


def _paired(postgresql: Sequence[Path], brokers: Sequence[Path | None]) -> Iterator[Row]:
    for programs, broker in zip(postgresql, islice(cycle(brokers), len(postgresql)), strict=True):
        yield Row(programs, broker)
