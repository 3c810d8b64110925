"""A terminal whose shell stays the same from one command to the next, as a reader's does."""

import os
import re
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from tests.waiting import wait_until

END_OF_COMMAND = re.compile(r"end of command (\d+)\n")


class Printed(NamedTuple):
    """What a command has printed, and the exit code that it ended with."""

    output: str
    exit_code: int


class Terminal:
    """A shell in a directory."""

    def __init__(self, directory: Path, environment: Mapping[str, str]) -> None:
        self._log = directory / "terminal.log"
        self._typed_at = 0
        with self._log.open("wb") as log:
            self._shell = subprocess.Popen(
                ["bash"],
                cwd=directory,
                env=environment,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                text=True,
                start_new_session=True,
            )

    def type(self, text: str, patience: float) -> Printed:
        """Type a line; answers once the shell is back."""
        assert self._shell.stdin
        self._typed_at = self._log.stat().st_size
        self._shell.stdin.write(f'{text}\necho "end of command $?"\n')
        self._shell.stdin.flush()
        wait_until(lambda: END_OF_COMMAND.search(self._since_typed()), patience, f"$ {text}")
        return self.printed()

    def printed(self) -> Printed:
        """The same, with what a job that was left behind has printed since."""
        log = self._since_typed()
        ended = END_OF_COMMAND.search(log)
        assert ended
        return Printed(END_OF_COMMAND.sub("", log), int(ended[1]))

    def close(self) -> None:
        """End the shell and whatever it left running."""
        os.killpg(self._shell.pid, signal.SIGKILL)
        with self._shell:  # closes what it was typed into
            pass

    def _since_typed(self) -> str:
        with self._log.open("rb") as log:
            log.seek(self._typed_at)
            return log.read().decode()
