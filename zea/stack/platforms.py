"""Where the embedded servers run at all."""

import os
import platform
import sys

from zea.errors import ConfigurationError

LINUX_MACHINES = frozenset({"x86_64", "amd64", "aarch64", "arm64"})


def require_posix() -> None:
    """Refuse in one line where processes have no groups and files no locks.

    Raises:
        ConfigurationError: this is Windows.
    """
    if os.name != "posix":
        raise ConfigurationError("`zea up` runs on Linux and macOS: on Windows, use WSL or the containers.")


def require_supported() -> None:
    """Refuse in one line where the embedded servers have no binaries.

    Raises:
        ConfigurationError: this is neither Linux (x86-64 or aarch64, glibc) nor macOS.
    """
    if sys.platform == "darwin":
        return
    machine, library = platform.machine().lower(), platform.libc_ver()[0]
    if sys.platform != "linux" or machine not in LINUX_MACHINES or library != "glibc":
        raise ConfigurationError(
            f"The embedded servers run on Linux (x86-64 or aarch64, glibc) and macOS, this is {sys.platform} on "
            f"{machine} ({library or 'no glibc'}): set DATABASE_URL and REDIS_URL to servers of your own."
        )
