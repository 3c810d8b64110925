"""Files that only their owner may read: written in one go, and what was generated once and is kept."""

import json
import os
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from zea.errors import ConfigurationError

Value = TypeVar("Value", str, int)


def write_private(path: Path, text: str) -> None:
    """Replace the file at once, readable by its owner alone: a reader sees the old text or the new, never half."""
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(path)


class Remembered:
    """Passwords and ports chosen at the first start, used again at the next."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._values = self._read()

    def secret(self, name: str) -> str:
        """A random text of 43 URL-safe characters (32 bytes)."""
        return self.value(name, lambda: secrets.token_urlsafe(32))

    def value(self, name: str, choose: Callable[[], Value]) -> Value:
        """What was remembered under ``name``, chosen and kept if nothing is."""
        if name not in self._values:
            self.keep(name, choose())
        value: Value = self._values[name]  # type: ignore[assignment]  # this class wrote what it reads
        return value

    def keep(self, name: str, value: str | int) -> None:
        self._values[name] = value
        write_private(self._path, json.dumps(self._values, indent=2))

    def _read(self) -> dict[str, str | int]:
        try:
            return dict(json.loads(self._path.read_text()))
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, TypeError) as error:
            raise ConfigurationError(
                f"{self._path} cannot be read ({error}): it holds this system's passwords; restore it, "
                "or set ZEA_DATA_DIR to an empty directory."
            ) from None
