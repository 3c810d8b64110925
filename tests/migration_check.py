"""Finds migrations that hold up a running system or break the release before: `make check` runs it.

squawk judges the SQL of each migration. One that has to break a rule names it in ``deliberate`` with the reason.
"""

import re
import subprocess
import sys
import sysconfig
from collections.abc import Iterator, Mapping
from io import StringIO
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.script import Script, ScriptDirectory

ROOT = Path(__file__).parents[1]
SQUAWK = Path(sysconfig.get_path("scripts")) / "squawk"
# The migrations up to this one are the first release's: its tables are empty while they are made, and nothing runs.
FIRST_RELEASE = "2026_12_03_failures_by_time"
COMMIT = "COMMIT;\n"
RULE = re.compile(r"^\S+:\d+:\d+: (?:warning|error): ([\w-]+) (.*)$", re.MULTILINE)
# Whoever does not know a new column cannot break its constraint; a column that has to be given breaks another rule.
BREAKS_NOBODY = ("ban-new-write-restriction", "A new column constraint")
DID_ITS_WORK = (0, 1)  # squawk's exit codes: nothing found, something found


def problems(migrations: Path, since: str = FIRST_RELEASE) -> list[str]:
    """What is wrong with the migrations in that folder after the one named ``since``."""
    config = Config()
    config.set_main_option("script_location", str(migrations))
    return [
        f"{script.revision}: {problem}"
        for script in reversed(list(ScriptDirectory.from_config(config).walk_revisions(since, "heads")))
        if script.revision != since
        for problem in _problems_of(script, config)
    ]


def _problems_of(script: Script, config: Config) -> Iterator[str]:
    deliberate: Mapping[str, str] = getattr(script.module, "deliberate", {})
    broken = dict(_broken_rules(_sql(script, config)))
    yield from (f"{rule}: {told}" for rule, told in broken.items() if rule not in deliberate)
    yield from (f"{rule} is called deliberate, and is not broken" for rule in deliberate if rule not in broken)
    yield from (f"{rule} is broken without a reason" for rule, reason in deliberate.items() if not reason.strip())


def _sql(script: Script, config: Config) -> str:
    """What the migration does, as SQL."""
    config.output_buffer = written = StringIO()
    command.upgrade(config, f"{script.down_revision}:{script.revision}", sql=True)
    sql = written.getvalue()
    if sql.count(COMMIT) > 1:
        # It is committed in parts and so must bear to be repeated, which squawk looks at outside of transactions only.
        return sql.replace("BEGIN;\n", "").replace(COMMIT, "")
    return sql


def _broken_rules(sql: str) -> list[tuple[str, str]]:
    """The name of each rule that is broken, and what squawk says of it."""
    asked = [SQUAWK, "--config", ROOT / ".squawk.toml", "--reporter", "gcc", "--stdin-filepath", "migration.sql"]
    judged = subprocess.run(asked, input=sql, capture_output=True, text=True, check=False)
    found: list[tuple[str, str]] = RULE.findall(judged.stdout)
    if judged.returncode not in DID_ITS_WORK or bool(judged.returncode) != bool(found):
        raise RuntimeError(f"squawk cannot judge this: {judged.stdout}{judged.stderr}\n{sql}")
    rule_of_no_matter, told_of_no_matter = BREAKS_NOBODY
    return [(rule, told) for rule, told in found if rule != rule_of_no_matter or not told.startswith(told_of_no_matter)]


def main() -> int:
    found = problems(ROOT / "migrations")
    print(*found, sep="\n", end="\n" if found else "")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
