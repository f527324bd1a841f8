"""Settings of the daemon's life: its name, what it loads first, its schedule, updates, and what it tells."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from protocol.release_signature import signing_keys
from protocol.settings import boolean, duration, path, setting, text, words
from provider.config.schedule_form import schedule_windows
from provider.schedule.windows import Schedule


@dataclass(frozen=True, kw_only=True)
class LifeSettings:
    """Durations in seconds."""

    provider_name: str | None = setting(
        "PROVIDER_NAME",
        text(),
        default=None,
        group="Machine",
        meaning="Name of this machine in displays; by default `darkbloom-` and the machine's model.",
    )
    private_only: bool = setting(
        "PRIVATE_ONLY",
        boolean(),
        default=False,
        group="Coordinator",
        meaning="Serve the requests of this machine's own account only.",
    )
    enabled_models: tuple[str, ...] = setting(
        "ENABLED_MODELS",
        words(),
        default=(),
        group="Models",
        meaning="Models that `darkbloom start` offers when it names none; empty: every model that can be served.",
    )
    startup_preload: bool = setting(
        "STARTUP_PRELOAD",
        boolean(),
        default=True,
        group="Models",
        meaning="Load models before the first registration.",
    )
    preload_models: tuple[str, ...] = setting(
        "PRELOAD_MODELS",
        words(),
        default=(),
        group="Models",
        meaning="Models to load at the start; empty: those that were loaded when the daemon last stopped, else the "
        "largest ones.",
    )
    loaded_models_file: Path | None = setting(
        "LOADED_MODELS_FILE",
        path(),
        default=None,
        group="Machine",
        meaning="Where the loaded models are noted at a stop; by default `loaded-models.json` in the home.",
    )
    state_file: Path | None = setting(
        "STATE_FILE",
        path(),
        default=None,
        group="Machine",
        meaning="Where the daemon writes its state; by default `daemon-state.json` in the home.",
    )
    log_file: Path | None = setting(
        "LOG_FILE",
        path(),
        default=None,
        group="Observability",
        meaning="Write the log to this file, kept below 10 MB with three older ones, instead of standard error.",
    )
    auto_restart: bool = setting(
        "AUTO_RESTART",
        boolean(),
        default=True,
        group="Machine",
        meaning="Let the background service start the provider again after a crash or a change of version.",
    )
    schedule_enabled: bool = setting(
        "SCHEDULE_ENABLED",
        boolean(),
        default=True,
        group="Schedule",
        meaning="Follow `SCHEDULE`; with false the machine serves always.",
    )
    schedule: Schedule = setting(
        "SCHEDULE",
        schedule_windows(),
        default=(),
        group="Schedule",
        meaning="When this machine serves, in its local time; empty: always.",
    )
    only_when_idle: float = setting(
        "ONLY_WHEN_IDLE",
        duration(0, 86400),
        default=0.0,
        group="Schedule",
        meaning="Take requests only when nobody has touched the machine for this long; 0: always.",
    )
    auto_update: bool = setting(
        "AUTO_UPDATE",
        boolean(),
        default=True,
        group="Update",
        meaning="Install new releases by itself, where the program was installed as a bundle; needs `AUTO_RESTART`.",
    )
    update_jitter: float = setting(
        "UPDATE_JITTER",
        duration(0, 3600),
        default=300.0,
        group="Update",
        meaning="Longest random wait before a staged release is put in place.",
    )
    update_keys: tuple[bytes, ...] = setting(
        "UPDATE_KEYS",
        signing_keys(),
        default=(),
        group="Update",
        meaning="Keys of which one must have signed a release; by default those that the installed bundle names. "
        "Without any, the hashes of the release are trusted.",
    )
    telemetry: bool = setting(
        "TELEMETRY",
        boolean(),
        default=False,
        group="Observability",
        meaning="Send events about faults to the coordinator; fixed words and numbers only.",
    )

    @property
    def updates_itself(self) -> bool:
        """Whether releases are installed unasked: a process that ends for one needs somebody who starts it again."""
        return self.auto_update and self.auto_restart
