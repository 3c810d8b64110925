"""The migrations make the schema that the models describe, and can be undone."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import uuid4

import psycopg

from zea import config
from zea.stack import schema
from zea.stack.servers import EmbeddedServers

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


def test_upgrades_at_the_same_moment_do_not_collide(servers: EmbeddedServers, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setenv("DATABASE_URL", servers.create_database("migrated_at_once"))
    config.settings.cache_clear()
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(lambda _: schema.upgrade(), range(3)))
    with psycopg.connect(config.settings().database_url or "") as connection:
        assert len(connection.execute("SELECT * FROM alembic_version").fetchall()) == 1
    config.settings.cache_clear()
