"""The daemon's own updates: look, stage while serving, wait a random while, then drain and end for a new start.

Invariant: a version is put in place only after it was staged in full; the service manager starts the new one, because
the process ends with the status for a restart. Owner: the daemon's nursery.
"""

import logging
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec
import trio

from provider.update.install import put_in_place, stage, take_update_lock
from provider.update.place import Installation
from provider.update.release import Release, ReleaseRefused, fetch_latest
from provider.update.state import TRIAL_SECONDS, UpdateState, read_update_state, write_update_state
from provider.update.trial import TryOut, try_here
from provider.update.verdict import Verdict, compare
from provider.upstream import Upstream, UpstreamUnreachable

log = logging.getLogger(__name__)

FIRST_CHECK_SECONDS: Final = 300.0
CHECK_SECONDS: Final = 1800.0
EXIT_FOR_RESTART: Final = 75
"""Temporary failure (sysexits): not among the statuses that a supervisor takes for final."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AutoUpdate:
    """What the updater works on. `restart` asks the daemon to drain and end with `EXIT_FOR_RESTART`.

    `try_out` runs a staged program once. `in_thread` runs what blocks.
    """

    installation: Installation
    base_url: str
    platform: str
    version: str
    home: Path
    state_file: Path
    jitter: float
    keys: tuple[bytes, ...]
    restart: Callable[[], None]
    try_out: TryOut = try_here
    spread: Callable[[], float] = random.random
    in_thread: Callable[..., Awaitable[Any]] = trio.to_thread.run_sync

    async def run(self) -> None:
        """Prove the running version, then look for newer ones until one was put in place."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._prove)
            await trio.sleep(FIRST_CHECK_SECONDS)
            while not await self._look():
                await trio.sleep(CHECK_SECONDS)
            nursery.cancel_scope.cancel()
        self.restart()

    async def _prove(self) -> None:
        await trio.sleep(TRIAL_SECONDS)
        await self._change(lambda state: state.survived(self.version))

    async def _look(self) -> bool:
        """Look once; True when a new version is in place."""
        try:
            release = await self.in_thread(self._newer)
            if release is None:
                return False
            log.info("a new release is staged", extra={"version": release.version})
            await trio.sleep(self.jitter * self.spread())
            await self.in_thread(self._install, release)
        except (ReleaseRefused, UpstreamUnreachable) as refused:
            text = str(refused)
            log.warning("no update: %s", text)
            await self._change(lambda state: msgspec.structs.replace(state, error=text))
            return False
        return True

    def _newer(self) -> Release | None:
        with Upstream(self.base_url) as upstream:
            release = fetch_latest(upstream, self.platform)
        if release is None or compare(self.version, release.version, read_update_state(self.state_file)) is not (
            Verdict.NEWER
        ):
            return None
        with take_update_lock(self.home):
            if self.installation.current == release.version:
                return release  # the command put it in place; what the link names is never unpacked anew
            stage(release, self.installation, keys=self.keys, try_out=self.try_out)
        return release

    def _install(self, release: Release) -> None:
        with take_update_lock(self.home):
            state = put_in_place(release, self.installation, read_update_state(self.state_file))
            write_update_state(self.state_file, state)

    async def _change(self, change: Callable[[UpdateState], UpdateState]) -> None:
        def apply() -> None:
            before = read_update_state(self.state_file)
            after = change(before)
            if after != before:
                try:
                    write_update_state(self.state_file, after)
                except OSError as error:
                    log.warning("the update state cannot be written", extra={"errno": error.errno})

        await self.in_thread(apply)
