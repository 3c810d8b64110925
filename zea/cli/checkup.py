"""What `zea doctor` looks at, one function a line: how it is, and what to do about it."""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import urlopen

import psycopg
from kombu.exceptions import OperationalError
from redis import Redis
from redis.exceptions import RedisError
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from workflows.catalog import registry
from workflows.engine.pulse import Pulse, late_after
from zea import clock, config
from zea.cli.executions import client
from zea.db import driver_connection, first_line, is_pooled_elsewhere, reading, transaction
from zea.errors import Unreachable, ZeaError
from zea.stack import processes, schema

PATIENCE = 2.0  # seconds for whatever is asked over the network
OLDEST_POSTGRESQL = 15
EXTENSIONS = frozenset({"btree_gist"})
MOST_SKEW = 1.0  # seconds
FULL, NEARLY_FULL = 0.95, 0.85


class Level(StrEnum):
    """How something is."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line: what was looked at, how it is, and what to do."""

    name: str
    level: Level
    said: str
    advice: str | None = None


Findings = Iterator[Finding]


def ok(name: str, said: str) -> Finding:
    return Finding(name, Level.OK, said)


def warn(name: str, said: str, advice: str) -> Finding:
    return Finding(name, Level.WARN, said, advice)


def fail(name: str, said: str, advice: str) -> Finding:
    return Finding(name, Level.FAIL, said, advice)


class Checkup:
    """Everything, in the order in which one thing needs another."""

    def findings(self) -> Findings:
        for check in (
            self._settings,
            self._database,
            self._broker,
            self._workers,
            self._work,
            self._watching,
            self._disk,
        ):
            yield from self._guarded(check)

    def _guarded(self, check: Callable[[], Findings]) -> Findings:
        """A check that cannot be made is a finding too."""
        try:
            yield from check()
        except (SQLAlchemyError, psycopg.Error) as error:
            yield fail("database", first_line(error) or type(error).__name__, "Start it, or correct DATABASE_URL.")
        except (RedisError, OSError) as error:
            yield fail("broker", first_line(error) or type(error).__name__, "Start it, or correct REDIS_URL.")
        except OperationalError:
            yield fail("workers", "cannot be asked without the broker", "Start the broker first.")
        except Unreachable as error:
            yield fail("system", error.message, "Start it with `zea up`, or say where its servers are.")

    # Settings

    def _settings(self) -> Findings:
        settings = config.settings()
        yield ok("settings", f"environment {settings.environment}, time zone {settings.timezone}")
        if settings.environment == "local":
            return
        if settings.flower_basic_auth is None:
            yield fail("settings", "Flower has no password", "Set ZEA_FLOWER_BASIC_AUTH to user:password.")
        if settings.metrics_token is None:
            yield warn("settings", "metrics are told to nobody", "Set ZEA_METRICS_TOKEN.")
        if settings.smtp_url is None:
            yield warn("settings", "mail becomes files in a folder", "Set ZEA_SMTP_URL.")

    # Database

    def _database(self) -> Findings:
        with reading() as db:
            version: int = db.scalar(text("SELECT current_setting('server_version_num')::int")) or 0
            installed = set(db.scalars(text("SELECT extname FROM pg_extension")))
            is_pooled = is_pooled_elsewhere(driver_connection(db))
        yield self._of_version(version // 10000, ", through a pooler" if is_pooled else "")
        if missing := EXTENSIONS - installed:
            yield fail("database", f"without {', '.join(sorted(missing))}", "Run `zea db upgrade` as its owner.")
        yield from self._migrations()
        yield from self._definitions()
        yield from self._clock()

    def _of_version(self, major: int, way: str) -> Finding:
        if major < OLDEST_POSTGRESQL:
            return fail("database", f"PostgreSQL {major}", f"Use PostgreSQL {OLDEST_POSTGRESQL} or newer.")
        return ok("database", f"PostgreSQL {major}{way}")

    def _migrations(self) -> Findings:
        newest = schema.newest()
        with reading() as db:
            applied, is_ahead = schema.applied(db.connection()), schema.is_ahead(db.connection())
        if applied == newest:
            yield ok("migrations", ", ".join(sorted(newest)))
        elif is_ahead:
            yield warn("migrations", f"{', '.join(sorted(applied))}, of a newer release", "Use that release here too.")
        else:
            found = ", ".join(sorted(applied)) or "none"
            yield fail("migrations", f"{found} instead of {', '.join(sorted(newest))}", "Run `zea db upgrade`.")

    def _definitions(self) -> Findings:
        try:
            with transaction() as db:
                registry.verify(db)
        except ZeaError as error:
            yield fail("definitions", error.message, "Use the release that runs here.")
        else:
            yield ok("definitions", f"{len(registry.versions())}, as they are registered")

    def _clock(self) -> Findings:
        before = clock.now()
        with reading() as db:
            there = db.scalars(text("SELECT clock_timestamp()")).one()
        skew = abs((there - (before + (clock.now() - before) / 2)).total_seconds())
        if skew > MOST_SKEW:
            advice = "Set both with NTP: deadlines are the database's, tokens this machine's."
            yield warn("clock", f"{skew:.1f} s from the database's", advice)
        else:
            yield ok("clock", f"{skew * 1000:.0f} ms from the database's")

    # Broker

    def _broker(self) -> Findings:
        with Redis.from_url(config.redis_url(), socket_timeout=PATIENCE, socket_connect_timeout=PATIENCE) as broker:
            info: dict[str, Any] = broker.info()
        name = f"Valkey {info['valkey_version']}" if "valkey_version" in info else f"Redis {info['redis_version']}"
        yield ok("broker", name)
        if not info.get("aof_enabled") and not int(info.get("rdb_last_save_time", 0)):
            yield warn("broker", "nothing is kept over a restart", "Set appendonly to yes.")
        if (policy := info.get("maxmemory_policy")) != "noeviction":
            yield fail("broker", f"evicts messages ({policy})", "Set maxmemory-policy to noeviction.")
        yield from self._memory(int(info["used_memory"]), int(info.get("maxmemory", 0)))

    def _memory(self, used: int, allowed: int) -> Findings:
        if not allowed:
            return
        share, said = used / allowed, f"{used / allowed:.0%} of {allowed // 2**20} MB are used"
        yield _by_share("broker", share, said, "Raise maxmemory, or start more workers: something piles up.")

    # Workers

    def _workers(self) -> Findings:
        from zea.broker import app

        inspect = app.control.inspect(timeout=PATIENCE)
        consumed = inspect.active_queues() or {}
        known = inspect.registered() or {}
        for who, queues in processes.QUEUES.items():
            here = [name for name, found in consumed.items() if set(queues) <= {each["name"] for each in found}]
            if here:
                yield ok(who, ", ".join(sorted(here)))
            else:
                yield fail(who, f"nobody works off {', '.join(queues)}", f"Start the {who}, see the Procfile.")
        for name, tasks in sorted(known.items()):
            if missing := registry.tasks().keys() - {each.split(" ")[0] for each in tasks}:
                advice = "Start it anew with this release, once the one before is not needed any more."
                yield warn("release", f"{name} does not know {', '.join(sorted(missing))}", advice)

    # Work

    @cached_property
    def _pulse(self) -> Pulse:
        return client.pulse()

    def _work(self) -> Findings:
        pulse, late = self._pulse, late_after()
        yield from self._beat(pulse, late)
        for each in pulse.queues:
            if each.age_seconds > late:
                advice = "Start its worker, or more of them."
                yield fail("queue", f"{each.queue} waits for {each.age_seconds:.0f} s", advice)
        if pulse.oldest_due_seconds > late:
            yield fail(
                "due work", f"{pulse.oldest_due_seconds:.0f} s late", "Look at `zea active`, and at the workers' logs."
            )
        else:
            yield ok("due work", "on time")
        if pulse.failed_in_last_hour:
            advice = "Look at `zea list --status failed`."
            yield warn("failures", f"{pulse.failed_in_last_hour} in the last hour", advice)

    def _beat(self, pulse: Pulse, late: float) -> Findings:
        lag = pulse.sweep_lag_seconds
        if lag is None or lag > late:
            said = "no sweep yet" if lag is None else f"no sweep for {lag:.0f} s"
            yield fail("beat", said, "Start beat, and the sweeper, see the Procfile.")
        else:
            yield ok("beat", f"the last sweep was {lag:.1f} s ago")

    # The processes that people look at

    def _watching(self) -> Findings:
        address = config.connected_api()
        if (status := _status_of(f"{address}/health/ready")) == 200:
            yield ok("api", address)
        else:
            yield warn(
                "api", f"{address} answers {status or 'nothing'}", "Start it, or set ZEA_API_HOST and ZEA_API_PORT."
            )
        flower = config.flower_address()
        if _status_of(f"{flower}/healthcheck") == 200:
            yield ok("flower", flower)
        else:
            yield warn(
                "flower",
                f"{flower} does not answer",
                "Start it, or set ZEA_FLOWER_HOST and ZEA_FLOWER_PORT; nothing depends on it.",
            )

    # Disk

    def _disk(self) -> Findings:
        folder = config.settings().data_dir.absolute()
        place = next(each for each in (folder, *folder.parents) if each.exists())
        usage = shutil.disk_usage(place)
        said = f"{usage.free // 2**30} GB are free at {place}"
        yield _by_share("disk", usage.used / usage.total, said, "Make room: PostgreSQL stops when it is full.")


def _by_share(name: str, share: float, said: str, advice: str) -> Finding:
    if share > FULL:
        return fail(name, said, advice)
    return warn(name, said, advice) if share > NEARLY_FULL else ok(name, said)


def _status_of(url: str) -> int | None:
    """What a GET there is answered with; None without an answer."""
    try:
        with urlopen(url, timeout=PATIENCE) as answer:  # noqa: S310 the address is of the settings
            return int(answer.status)
    except HTTPError as error:
        return error.code
    except (URLError, OSError):
        return None
