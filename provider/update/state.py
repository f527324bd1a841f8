"""What self-updates did: the version on trial, how often it failed, and what is not to be tried again.

A new version is on trial until it has run for ten minutes. When it did not get there twice, its third start puts it
aside.
"""

from pathlib import Path
from typing import Final

import msgspec

from provider.files import replace_file

TRIAL_SECONDS: Final = 600.0
LAST_START: Final = 3
"""The start that goes back. Service managers allow three in fifteen minutes, so a fourth would never come."""

MAX_FILE_BYTES: Final = 64 * 1024


class UpdateState(msgspec.Struct, frozen=True, kw_only=True):
    """`trial` is the version that has not proven itself yet, `previous` the one to go back to; Unix seconds."""

    trial: str = ""
    trial_starts: int = 0
    previous: str = ""
    quarantined: tuple[str, ...] = ()
    checked_at: float = 0.0
    latest: str = ""
    error: str = ""

    def began(self, version: str, previous: str) -> "UpdateState":
        """A version was put in place."""
        return msgspec.structs.replace(self, trial=version, trial_starts=0, previous=previous, error="")

    def started(self, version: str) -> "UpdateState":
        """The daemon starts with this version."""
        if version != self.trial:
            return self
        return msgspec.structs.replace(self, trial_starts=self.trial_starts + 1)

    def stopped(self, version: str) -> "UpdateState":
        """The daemon with this version ended in order."""
        if version != self.trial:
            return self
        return msgspec.structs.replace(self, trial_starts=max(0, self.trial_starts - 1))

    @property
    def awaits_start(self) -> bool:
        """Whether the version on trial was put in place and has not started yet."""
        return bool(self.trial) and not self.trial_starts

    @property
    def has_failed(self) -> bool:
        """Whether the version on trial did not survive too often."""
        return bool(self.trial) and self.trial_starts >= LAST_START

    def survived(self, version: str) -> "UpdateState":
        """This version ran long enough."""
        if version != self.trial:
            return self
        return msgspec.structs.replace(self, trial="", trial_starts=0)

    def rolled_back(self) -> "UpdateState":
        """The version on trial was taken out again."""
        put_aside = (*(entry for entry in self.quarantined if entry != self.trial), self.trial)[-16:]
        return msgspec.structs.replace(self, trial="", trial_starts=0, previous="", quarantined=put_aside)

    def forgiven(self, version: str) -> "UpdateState":
        """A version may be tried again."""
        kept = tuple(entry for entry in self.quarantined if entry != version)
        return msgspec.structs.replace(self, quarantined=kept)


def read_update_state(path: Path) -> UpdateState:
    """Read the file; a missing or unreadable one means that nothing was done yet."""
    try:
        with path.open("rb") as file:
            return msgspec.json.decode(file.read(MAX_FILE_BYTES), type=UpdateState)
    except (OSError, ValueError):
        return UpdateState()


def write_update_state(path: Path, state: UpdateState) -> None:
    """Replace the file; blocks. Raises `OSError`."""
    replace_file(path, msgspec.json.encode(state) + b"\n")
