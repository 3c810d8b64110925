"""Choosing and checking ports."""

import random
import socket

from zea.errors import ConfigurationError
from zea.stack.private_files import Remembered

LOOPBACK = "127.0.0.1"
# Below the range from which the kernel takes the ports of outgoing connections (32768 on Linux): there a client that
# reconnects while its server is down can be given that very port, and the server could not come back on it.
CANDIDATES = range(20_000, 32_000)
ATTEMPTS = 200


def is_free(host: str, port: int) -> bool:
    """Whether a server could listen there now."""
    return _obstacle(host, port) is None


def _obstacle(host: str, port: int) -> OSError | None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as candidate:
        candidate.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            candidate.bind((host, port))
            candidate.listen(1)
        except OSError as error:
            return error
    return None


def require_free(host: str, port: int, setting: str, purpose: str) -> None:
    """Refuse in one line that names the port and the setting that moves it.

    Raises:
        ConfigurationError: the port cannot be listened on.
    """
    obstacle = _obstacle(host, port)
    if obstacle is not None:
        raise ConfigurationError(
            f"{purpose} cannot listen on {host}:{port} ({obstacle.strerror}): "
            f"stop what uses port {port}, or set {setting} to another one."
        )


def remembered_port(remembered: Remembered, name: str) -> int:
    """The port used last time if it is free, else a new one, which is remembered."""
    port = remembered.value(name, free_port)
    if not is_free(LOOPBACK, port):
        port = free_port()
        remembered.keep(name, port)
    return port


def free_port() -> int:
    """A port that nothing listens on.

    Raises:
        ConfigurationError: none was found.
    """
    for port in random.sample(CANDIDATES, ATTEMPTS):
        if is_free(LOOPBACK, port):
            return port
    raise ConfigurationError(f"No free port was found between {CANDIDATES.start} and {CANDIDATES.stop}.")
