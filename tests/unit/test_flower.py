"""Flower's login: whoever has it can run tasks."""

import pytest

from zea.config import Settings
from zea.errors import ConfigurationError
from zea.stack import flower

OUTSIDE = pytest.mark.parametrize("environment", ["staging", "production"])


@pytest.fixture(autouse=True)
def a_secret_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZEA_SECRET_KEY", "x" * 32)
    monkeypatch.delenv("ZEA_FLOWER_BASIC_AUTH", raising=False)


@OUTSIDE
def test_outside_local_it_is_not_made_up(environment: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZEA_ENVIRONMENT", environment)
    with pytest.raises(ConfigurationError, match="ZEA_FLOWER_BASIC_AUTH"):
        flower.login(Settings())


@OUTSIDE
def test_it_is_the_one_that_is_set(environment: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZEA_ENVIRONMENT", environment)
    monkeypatch.setenv("ZEA_FLOWER_BASIC_AUTH", "ana:a:word")
    assert flower.login(Settings()) == "ana:a:word"


def test_in_local_another_is_made_up_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZEA_ENVIRONMENT", "local")
    one, other = flower.login(Settings()), flower.login(Settings())
    assert one != other
    assert one.startswith("zea:")
    assert len(one) > 20
