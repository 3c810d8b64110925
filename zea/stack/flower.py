"""What Flower is started with: its login and where it keeps what it has seen."""

import logging
import secrets
from importlib.util import find_spec
from pathlib import Path

from zea.config import settings
from zea.errors import ConfigurationError

log = logging.getLogger(__name__)


def login() -> str:
    """`user:password`: the settings', or in local one that is made up and shown.

    Raises:
        ConfigurationError: the settings have none, outside local.
    """
    given = settings().flower_basic_auth
    if given is not None:
        return given.get_secret_value()
    if settings().environment != "local":
        raise ConfigurationError("Flower is not started without a login: set ZEA_FLOWER_BASIC_AUTH to user:password.")
    made_up = f"zea:{secrets.token_urlsafe(16)}"
    log.warning("ZEA_FLOWER_BASIC_AUTH is not set: the login is %s this time", made_up)
    return made_up


def history() -> Path:
    """The file, in a folder that is there."""
    folder = settings().data_dir / "flower"
    folder.mkdir(parents=True, exist_ok=True)
    return folder / "flower"


def configuration() -> str:
    """The path of flowerconfig.py, which Flower finds by itself only where it is started in the same place."""
    spec = find_spec("flowerconfig")
    assert spec is not None, "it is installed beside celeryconfig.py"
    return str(spec.origin)
