"""How PostgreSQL, which refuses to run as root, is run when zea itself is."""

import os
import pwd
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from signal import Signals

from zea.errors import ConfigurationError

NOBODY = "nobody"


@dataclass(frozen=True)
class Privileges:
    """A prefix for commands, and the owner (user and group id) that their files need, if another than now."""

    prefix: tuple[str, ...] = ()
    owner: tuple[int, int] | None = None

    def command(self, command: Sequence[str], signal_at_parents_death: Signals | None = None) -> list[str]:
        """``command`` under these privileges. Their change clears the signal at the parent's death: it is set again."""
        if not self.prefix or signal_at_parents_death is None:
            return [*self.prefix, *command]
        setpriv = shutil.which("setpriv")
        renewed = [setpriv, "--pdeathsig", signal_at_parents_death.name.removeprefix("SIG")] if setpriv else []
        return [*self.prefix, *renewed, *command]

    def give(self, path: Path) -> None:
        """Make ``path`` usable under these privileges."""
        if self.owner is not None:
            os.chown(path, *self.owner)


def privileges(program: Path, directory: Path) -> Privileges:
    """How to run ``program`` on files in ``directory``.

    An ordinary user just runs it. For root, a user namespace needs neither another user nor other modes; where it is
    forbidden (some containers), the user nobody does.

    Raises:
        ConfigurationError: none of them works here.
    """
    if os.geteuid() != 0:
        return Privileges()
    return _in_user_namespace(program) or _as_nobody(program, directory)


@lru_cache
def _in_user_namespace(program: Path) -> Privileges | None:
    unshare = shutil.which("unshare")
    if unshare is None:
        return None
    prefix = (unshare, "-U", "--map-user=1", "--map-group=1")
    return Privileges(prefix) if _runs([*prefix, str(program), "--version"]) else None


def _as_nobody(program: Path, directory: Path) -> Privileges:
    setpriv = shutil.which("setpriv")
    if setpriv is not None:
        user = pwd.getpwnam(NOBODY)
        prefix = (setpriv, f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups")
        # nobody has to pass through the directory; what lies in it keeps its own modes.
        directory.chmod(0o711)
        if _runs([*prefix, str(program), "--version"]) and _runs([*prefix, "test", "-x", str(directory)]):
            return Privileges(prefix, (user.pw_uid, user.pw_gid))
    raise ConfigurationError(
        "PostgreSQL refuses to run as root, and here neither a user namespace (unshare) nor the user nobody can run "
        f"it in {directory}: start zea as an ordinary user, or set DATABASE_URL."
    )


def _runs(command: Sequence[str]) -> bool:
    return subprocess.run(command, capture_output=True, check=False).returncode == 0  # noqa: S603 zea's own commands
