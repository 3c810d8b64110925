"""The migrations make the schema that the models describe, and can be undone."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest

from tests.waiting import wait_until
from zea import config
from zea.errors import Unreachable
from zea.stack import schema
from zea.stack.servers import EmbeddedServers

pytestmark = pytest.mark.usefixtures("unpooled")  # through a pooler migrations are refused
ROOT = Path(__file__).parents[2]


def alembic(url: str, *arguments: str) -> None:
    environment = {**os.environ, "DATABASE_URL": url}
    command = [sys.executable, "-m", "alembic", *arguments]
    finished = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stdout + finished.stderr


def test_the_schema_is_what_the_models_say_and_every_migration_can_be_undone(servers: EmbeddedServers) -> None:
    url = servers.create_database("migrated_by_hand")
    alembic(url, "upgrade", "head")
    alembic(url, "check")
    alembic(url, "downgrade", "base")
    with psycopg.connect(url) as connection:
        left = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall()
    assert left == [("alembic_version",)]
    alembic(url, "upgrade", "head")


WITHDRAWN = """
    INSERT INTO users (id, email, email_key, password_hash, name, role, locale, timezone, is_active, can_book)
    SELECT id, id::text, id::text, '-', '-', role, 'es', 'America/Santiago', true, false
    FROM (VALUES (%(coach)s::uuid, 'coach'), (%(athlete)s::uuid, 'athlete')) AS person (id, role);
    INSERT INTO slots (id, coach_id, starts_at, ends_at, status)
    SELECT id, %(coach)s, now(), now() + interval '1 hour', status
    FROM (VALUES (%(withdrawn)s::uuid, 'withdrawn'), (gen_random_uuid(), 'withdrawn'), (%(offered)s::uuid, 'open'))
        AS slot (id, status);
    INSERT INTO bookings (id, athlete_id, coach_id, slot_id, starts_at, ends_at, status, execution_id, cancelled_at,
        cancelled_by)
    VALUES (gen_random_uuid(), %(athlete)s, %(coach)s, %(withdrawn)s, now(), now() + interval '1 hour', 'CANCELLED',
        gen_random_uuid(), now(), 'test')"""


def test_withdrawn_slots_can_be_undone_where_their_hour_is_offered_again(servers: EmbeddedServers) -> None:
    url = servers.create_database("migrated_with_slots")
    alembic(url, "upgrade", "head")
    ids = {name: str(uuid4()) for name in ("coach", "athlete", "withdrawn", "offered")}
    with psycopg.ClientCursor(connection := psycopg.connect(url)) as cursor:
        cursor.execute(WITHDRAWN, ids)
        connection.commit()
    alembic(url, "downgrade", "2026_11_30_cancellation")
    slots = connection.execute("SELECT id::text FROM slots").fetchall()
    named = connection.execute("SELECT slot_id::text FROM bookings").fetchall()
    connection.close()
    assert slots == named == [(ids["offered"],)]


@pytest.fixture
def set_database(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Have this process use the database at that address."""

    def use(url: str) -> None:
        monkeypatch.setenv("DATABASE_URL", url)
        config.settings.cache_clear()

    yield use
    config.settings.cache_clear()


def test_upgrades_at_the_same_moment_do_not_collide(
    servers: EmbeddedServers, set_database: Callable[[str], None]
) -> None:
    """Those that wait are in nobody's way who makes an index concurrently."""
    set_database(url := servers.create_database("migrated_at_once"))
    with ThreadPoolExecutor(3) as pool:
        upgrades = list(pool.map(lambda _: schema.upgrade(), range(3)))
    assert upgrades == [schema.newest()] * 3
    assert values(url, "SELECT version_num FROM alembic_version") == list(schema.newest())
    assert not values(url, INVALID)


def test_a_schema_of_a_newer_release_stays_as_it_is(
    servers: EmbeddedServers, set_database: Callable[[str], None]
) -> None:
    set_database(url := servers.create_database("migrated_by_a_newer_release"))
    schema.upgrade()
    with psycopg.connect(url) as connection:
        connection.execute("UPDATE alembic_version SET version_num = 'of_tomorrow'")
    assert schema.upgrade() == {"of_tomorrow"}


def values(url: str, query: str) -> list[object]:
    with psycopg.connect(url) as connection:
        return [value for (value,) in connection.execute(query).fetchall()]


# A change that waits for a lock, and an index that waits for an older transaction.
WAITING = """
    SELECT l.pid FROM pg_locks l JOIN pg_stat_activity a USING (pid)
    WHERE NOT l.granted AND a.datname = current_database()"""
INVALID = "SELECT indexrelid::regclass::text FROM pg_index WHERE NOT indisvalid"
INDEX = "ix_workflow_events_at"
INDEXED, ALTERED = "workflow_events", "workflow_executions"  # by migrations after the one that the database is at


class TestWhileOthersWork:
    """A database that lacks an index and a column of a table, and that is in use while it gets them."""

    @pytest.fixture
    def in_use(self, servers: EmbeddedServers, set_database: Callable[[str], None]) -> str:
        url = servers.create_database(f"migrated_in_use_{uuid4().hex}")
        alembic(url, "upgrade", "2026_12_04_counts")
        set_database(url)
        return url

    def test_nobody_is_kept_from_writing_while_an_index_is_made(
        self, in_use: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        """It waits for longer than a change that others queue up behind, and is begun once."""
        monkeypatch.setattr(schema, "LOCK_TIMEOUT", "10ms")
        with psycopg.connect(in_use) as writer, ThreadPoolExecutor(1) as pool:
            writer.execute(f"LOCK {INDEXED} IN ROW EXCLUSIVE MODE")
            upgrade = pool.submit(schema.upgrade)
            wait_until(lambda: values(in_use, WAITING), 20, "the index to wait for the writer")
            with psycopg.connect(in_use) as another:
                another.execute("SET lock_timeout = '500ms'")
                another.execute(f"LOCK {INDEXED} IN ROW EXCLUSIVE MODE")
            writer.commit()
            assert upgrade.result(20) == schema.newest()
        assert not caplog.messages

    def test_what_an_interrupted_index_left_is_made_anew(self, in_use: str) -> None:
        with psycopg.connect(in_use) as writer, psycopg.connect(in_use, autocommit=True) as interrupted:
            writer.execute(f"LOCK {INDEXED} IN ROW EXCLUSIVE MODE")
            interrupted.execute("SET lock_timeout = '100ms'")
            with pytest.raises(psycopg.errors.LockNotAvailable):
                interrupted.execute(f"CREATE INDEX CONCURRENTLY {INDEX} ON {INDEXED} (at)")
        assert values(in_use, INVALID) == [INDEX]
        assert schema.upgrade() == schema.newest()
        assert values(in_use, INVALID) == []

    def test_who_uses_a_table_is_waited_for_again_and_again_and_nobody_queues_up_for_long(
        self, in_use: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        monkeypatch.setattr(schema, "LOCK_TIMEOUT", "300ms")
        with psycopg.connect(in_use) as user, ThreadPoolExecutor(1) as pool:
            user.execute(f"SELECT FROM {ALTERED}")
            upgrade = pool.submit(schema.upgrade)
            wait_until(lambda: values(in_use, WAITING), 20, "the change to wait for the user")
            with psycopg.connect(in_use) as another:
                another.execute("SET lock_timeout = '2s'")
                another.execute(f"SELECT FROM {ALTERED}")
            wait_until(lambda: caplog.messages, 10, "the change to give up once")
            user.commit()
            assert upgrade.result(20) == schema.newest()
        assert "tried again" in caplog.text

    @pytest.mark.parametrize("superuser", [False, True], ids=["zea", "superuser"])
    def test_who_uses_a_table_for_ever_is_named(
        self, in_use: str, servers: EmbeddedServers, monkeypatch: pytest.MonkeyPatch, superuser: bool
    ) -> None:
        """Another role's transaction too, of which zea's own is told less."""
        monkeypatch.setattr(schema, "LOCK_TIMEOUT", "50ms")
        monkeypatch.setattr(schema, "ATTEMPTS", 2)
        name = in_use.rpartition("/")[2]
        address = f"{servers.postgres.superuser_url.rpartition('/')[0]}/{name}" if superuser else in_use
        with psycopg.connect(address, application_name="forgotten") as user:
            user.execute(f"SELECT FROM {ALTERED}")
            with pytest.raises(Unreachable, match=f"In the way is {user.info.backend_pid} of forgotten since"):
                schema.upgrade()
