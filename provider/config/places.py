"""Where the provider keeps its files, below its home; names only, nothing is made here."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

CONFIG_VARIABLE: Final = "DARKBLOOM_CONFIG"
CONFIG_FILE_NAME: Final = "provider.toml"


@dataclass(frozen=True, slots=True)
class Places:
    """Files of one home directory."""

    home: Path

    @property
    def pid_file(self) -> Path:
        """Process id and start time of the running daemon."""
        return self.home / "provider.pid"

    @property
    def state_file(self) -> Path:
        """What the daemon says about itself."""
        return self.home / "daemon-state.json"

    @property
    def log_file(self) -> Path:
        """Log of the daemon that runs in the background."""
        return self.home / "provider.log"

    @property
    def output_file(self) -> Path:
        """What the background process prints by itself, for example on a crash."""
        return self.home / "provider.out"

    @property
    def service_file(self) -> Path:
        """How the background service was installed."""
        return self.home / "service.json"

    @property
    def loaded_models_file(self) -> Path:
        """Models that were loaded at the last stop."""
        return self.home / "loaded-models.json"

    @property
    def local_token_file(self) -> Path:
        """Token of the local server."""
        return self.home / "local_token"

    @property
    def local_file(self) -> Path:
        """Where the local server of the running daemon is."""
        return self.home / "local.json"

    @property
    def update_file(self) -> Path:
        """What self-updates did."""
        return self.home / "update-state.json"

    @property
    def telemetry_queue(self) -> Path:
        """Events that were not sent yet."""
        return self.home / "telemetry-queue.jsonl"


def config_path(environment: Mapping[str, str] | None = None) -> Path:
    """Give the configuration file: the one that is named, else that of the user."""
    values = os.environ if environment is None else environment
    named = values.get(CONFIG_VARIABLE, "").strip()
    if named:
        return Path(named).expanduser()
    base = values.get("XDG_CONFIG_HOME", "").strip()
    return (Path(base) if base else Path("~/.config").expanduser()) / "darkbloom" / CONFIG_FILE_NAME
