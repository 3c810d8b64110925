"""The migrations make the schema that the models describe, and can be undone."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

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


def test_upgrades_at_the_same_moment_do_not_collide(servers: EmbeddedServers, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setenv("DATABASE_URL", servers.create_database("migrated_at_once"))
    config.settings.cache_clear()
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(lambda _: schema.upgrade(), range(3)))
    with psycopg.connect(config.settings().database_url or "") as connection:
        assert len(connection.execute("SELECT * FROM alembic_version").fetchall()) == 1
    config.settings.cache_clear()
