"""Settings are typed and checked at start; a wrong one is named, with what to write instead."""

import re
from datetime import timedelta
from pathlib import Path

import pytest

from zea import config
from zea.errors import ConfigurationError, Unreachable

SECRET = "x" * 32


@pytest.fixture(autouse=True)
def fresh_settings(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> object:
    """No setting of this machine, and no .env file."""
    monkeypatch.chdir(tmp_path_factory.mktemp("empty"))
    for name in ("DATABASE_URL", "REDIS_URL", "ZEA_SECRET_KEY", "ZEA_ENVIRONMENT", "ZEA_DATA_DIR"):
        monkeypatch.delenv(name, raising=False)
    config.settings.cache_clear()
    yield
    config.settings.cache_clear()


@pytest.mark.parametrize(("written", "meant"), [("PT48H", 48 * 3600), ("P7D", 7 * 86400), ("5", 5), ("0.5", 0.5)])
def test_durations_are_iso_8601_or_seconds(monkeypatch: pytest.MonkeyPatch, written: str, meant: float) -> None:
    monkeypatch.setenv("ZEA_BOOKING_WAIT", written)
    assert config.settings().booking_wait == timedelta(seconds=meant)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ZEA_TIMEZONE", "America"),
        ("ZEA_TIMEZONE", "Mars/Olympus"),
        ("ZEA_SMTP_URL", "http://mail.example"),
        ("ZEA_API_PORT", "0"),
        ("ZEA_BOOKING_WAIT", "soon"),
        ("ZEA_BOOKING_WAIT", "-1"),
        ("ZEA_SWEEP_INTERVAL", "0"),
        ("ZEA_ENVIRONMENT", "test"),
        ("ZEA_METRICS_TOKEN", "guessed-at-once"),
        ("ZEA_METRICS_TOKEN", "con-eñes-que-nadie-envía"),
        ("ZEA_FLOWER_BASIC_AUTH", "a-password-alone"),
        ("ZEA_FLOWER_BASIC_AUTH", "zea:"),
        ("ZEA_LOG_FORMAT", "xml"),
    ],
)
def test_a_wrong_setting_is_named(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigurationError, match=f"^{name}: "):
        config.settings()


@pytest.mark.parametrize("environment", ["staging", "production"])
def test_outside_local_a_secret_key_must_be_set(monkeypatch: pytest.MonkeyPatch, environment: str) -> None:
    monkeypatch.setenv("ZEA_ENVIRONMENT", environment)
    for unsafe in (None, config.LOCAL_SECRET_KEY, "short"):
        if unsafe:
            monkeypatch.setenv("ZEA_SECRET_KEY", unsafe)
        config.settings.cache_clear()
        with pytest.raises(ConfigurationError, match="ZEA_SECRET_KEY must be set"):
            config.settings()
    monkeypatch.setenv("ZEA_SECRET_KEY", SECRET)
    config.settings.cache_clear()
    assert config.settings().environment == environment


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg"])
def test_every_spelling_of_the_database_address_uses_psycopg(monkeypatch: pytest.MonkeyPatch, scheme: str) -> None:
    monkeypatch.setenv("DATABASE_URL", f"{scheme}://zea@db/zea")
    assert config.database_url() == "postgresql+psycopg://zea@db/zea"


def test_without_servers_it_says_how_to_get_some() -> None:
    with pytest.raises(Unreachable, match="start `zea up` or set DATABASE_URL"):
        config.database_url()
    with pytest.raises(Unreachable, match="start `zea up` or set REDIS_URL"):
        config.redis_url()


def test_a_secret_never_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZEA_SECRET_KEY", SECRET)
    monkeypatch.setenv("ZEA_FLOWER_BASIC_AUTH", "zea:flower-password")
    assert SECRET not in repr(config.settings())
    assert "flower-password" not in repr(config.settings())


def test_the_readme_lists_every_setting() -> None:
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    listed = set(re.findall(r"`([A-Z_]+)`", readme.partition("\n## Settings\n")[2]))
    wanted = {f"ZEA_{name}".upper() for name in config.Settings.model_fields} - {"ZEA_DATABASE_URL", "ZEA_REDIS_URL"}
    assert wanted | {"DATABASE_URL", "REDIS_URL"} <= listed
