"""One look at a provider's state: the file, and whether its process runs."""

import time
from dataclasses import dataclass
from pathlib import Path

import msgspec

from provider.status.liveness import Life, judge
from provider.status.process import is_running
from provider.status.record import DaemonState
from provider.status.state_file import read_state


@dataclass(frozen=True, slots=True)
class Look:
    """What was seen at `now`, Unix seconds."""

    state: DaemonState | None
    life: Life
    now: float

    def as_json(self, *, version: str, config_file: str) -> dict[str, object]:
        """The stable keys of `status --json`: the verdict, and the state as the file has it."""
        age = None if self.state is None else round(self.now - self.state.written_at, 1)
        return {
            "version": version,
            "config_file": config_file,
            "daemon": self.life.value,
            "running": self.life.is_alive,
            "fresh": self.life.is_fresh,
            "age_seconds": age,
            "state": None if self.state is None else msgspec.to_builtins(self.state),
        }


def look(state_file: Path, *, now: float | None = None) -> Look:
    """Read the file and judge it."""
    state = read_state(state_file)
    moment = time.time() if now is None else now
    alive = state is not None and is_running(state.pid, state.process_start)
    return Look(state, judge(state, now=moment, is_alive=alive), moment)
