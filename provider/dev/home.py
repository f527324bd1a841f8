"""Files of `darkbloom dev`: its API key, which survives restarts, and the logs of its processes."""

import os
import secrets
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from platformdirs import user_data_path

from provider.cli.exits import CommandFailed

KEY_PREFIX: Final = "sk-db-"
KEY_HEX_DIGITS: Final = 64


@dataclass(frozen=True, slots=True)
class DevHome:
    """The data directory, private to the user."""

    path: Path

    @classmethod
    def open(cls, path: Path | None) -> "DevHome":
        """Make the directory (mode 0700) if needed; the default is the user's data directory."""
        home = cls(path or user_data_path("darkbloom") / "dev")
        try:
            home.path.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise CommandFailed(
                f"The data directory {home.path} cannot be made ({error.strerror}).",
                fix="darkbloom dev --data-dir DIRECTORY",
            ) from None
        return home

    @property
    def provider_home(self) -> Path:
        """Home of the provider daemon."""
        return self.path / "provider"

    def log(self, name: str) -> Path:
        """Log file of one process."""
        return self.path / f"{name}.log"

    def ready_file(self) -> Path:
        """Where this run's coordinator says its port; the process id keeps runs apart."""
        return self.path / f"coordinator-{os.getpid()}.ready"

    def api_key(self) -> str:
        """Give the API key of this directory; it is made once and kept with mode 0600."""
        path = self.path / "api-key"
        try:
            return self._read_key(path)
        except FileNotFoundError:
            pass
        key = KEY_PREFIX + secrets.token_hex(KEY_HEX_DIGITS // 2)
        fresh = path.with_name(f"api-key.{os.getpid()}")
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(key + "\n")
        try:
            os.link(fresh, path)
        except FileExistsError:
            return self._read_key(path)
        finally:
            fresh.unlink()
        return key

    @staticmethod
    def _read_key(path: Path) -> str:
        key = path.read_text().strip()
        if not key.startswith(KEY_PREFIX) or len(key) != len(KEY_PREFIX) + KEY_HEX_DIGITS:
            raise CommandFailed(f"The file {path} does not hold an API key.", fix=f"rm {path}")
        if stat.S_IMODE(path.stat().st_mode) & 0o077:
            path.chmod(0o600)
        return key
