"""What Flower is started with: its login and where it keeps what it has seen."""

import secrets
from collections.abc import Callable
from pathlib import Path

from zea.config import Settings
from zea.errors import ConfigurationError

USER = "zea"


def login(settings: Settings, make_up: Callable[[], str] = lambda: secrets.token_urlsafe(16)) -> str:
    """`user:password`: the settings', or in local one with a password that is made up.

    Raises:
        ConfigurationError: the settings have none, outside local.
    """
    given = settings.flower_basic_auth
    if given is not None:
        return given.get_secret_value()
    if settings.environment != "local":
        raise ConfigurationError("Flower is not started without a login: set ZEA_FLOWER_BASIC_AUTH to user:password.")
    return f"{USER}:{make_up()}"


def history(settings: Settings) -> Path:
    """The file that keeps what it has seen, in a folder that is there."""
    folder = settings.data_dir / "flower"
    folder.mkdir(parents=True, exist_ok=True)
    return folder / "flower"
