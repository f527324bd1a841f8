"""Starting and stopping the daemon from outside, and waiting for what comes of it.

Everything here blocks; times are seconds.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from provider.config import Configuration
from provider.control import ControlFailed, Drain, NotRunning, ask
from provider.service.choose import manager_of
from provider.service.manager import ServiceFailed, ServiceManager
from provider.service.spec import ServiceRecord, ServiceSpec, read_record
from provider.status.pid_file import running_pid
from provider.status.record import DaemonState
from provider.status.state_file import read_state

POLL_SECONDS: Final = 0.1
FORCE_SECONDS: Final = 20.0


class StopLate(Exception):
    """The daemon still drains; the text says so."""


class StartFailed(Exception):
    """No new daemon came up; the text says why as far as it is known."""


@dataclass(frozen=True, slots=True)
class Home:
    """What commands need to know about one provider's home."""

    configuration: Configuration
    config_home: Path

    @property
    def pid(self) -> int | None:
        """The daemon that runs now."""
        return running_pid(self.configuration.places.pid_file)

    @property
    def record(self) -> ServiceRecord | None:
        """How the service was installed."""
        return read_record(self.configuration.places.service_file)

    @property
    def manager(self) -> ServiceManager | None:
        """Who runs the service; None when none was installed."""
        record = self.record
        return None if record is None else manager_of(record.kind, self.config_home)

    @property
    def spec(self) -> ServiceSpec | None:
        """What the service runs."""
        record, places = self.record, self.configuration.places
        return None if record is None else record.spec(places.home, places.output_file)


def stop_daemon(home: Home, *, timeout: float, force: bool, persistent: bool = True) -> bool:
    """Drain the daemon and wait for its end; False when none ran. `persistent` keeps a service from starting it again.

    Raises `StopLate` when it still drains after `timeout`, `ControlFailed` when it does not answer.
    """
    pid = home.pid
    if persistent and home.manager is not None:
        home.manager.disarm()
    if pid is None:
        return False
    answer = ask(home.configuration.places.home, Drain(force=force), timeout=10)
    limit = FORCE_SECONDS if force else timeout
    if not wait_until(lambda: home.pid != pid, limit):
        busy = f"still finishes its requests ({answer.in_flight} when asked)"
        rest = busy if answer.in_flight else "has not ended yet"
        raise StopLate(f"The provider (pid {pid}) {rest}; it takes no new requests and will end by itself.")
    return True


def end_service(home: Home) -> None:
    """Take down what remains of the service after its daemon has ended; what cannot be taken down stays."""
    manager = home.manager
    if manager is not None:
        try:
            manager.end()
        except ServiceFailed:
            return


def wait_started(home: Home, *, old_pid: int | None, timeout: float, needs_link: bool) -> DaemonState:
    """Wait for a daemon that is not `old_pid` and that serves; with `needs_link` it is registered too.

    Raises `StartFailed` when it does not come, or comes and ends.
    """
    seen: list[int] = []
    found: list[DaemonState] = []

    def is_up() -> bool:
        pid = home.pid
        if pid is None or pid == old_pid:
            return bool(seen)
        seen[:] = [pid]
        state = read_state(home.configuration.state_file)
        if state is None or state.pid != pid or state.stopped_at is not None:
            return False
        if state.phase not in ("serving", "paused") or (needs_link and not state.connectivity.registered):
            return False
        found[:] = [state]
        return True

    if not wait_until(is_up, timeout):
        raise StartFailed(f"The provider did not get ready within {timeout:g} s.")
    if not found:
        raise StartFailed("The provider ended while it started.")
    return found[0]


def wait_until(condition: Callable[[], bool], timeout: float) -> bool:
    """Poll a condition; whether it came true in time."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() >= deadline:
            return False
        time.sleep(POLL_SECONDS)
    return True


__all__ = [
    "ControlFailed",
    "Home",
    "NotRunning",
    "StartFailed",
    "StopLate",
    "end_service",
    "stop_daemon",
    "wait_started",
    "wait_until",
]
