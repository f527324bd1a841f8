"""All settings of the provider: one frozen record, read once at start, every problem reported at once."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from protocol.settings import (
    PREFIX,
    Layer,
    Loaded,
    boolean,
    choice,
    duration,
    integer,
    load,
    number,
    path,
    setting,
    text,
    url,
)
from provider.config.catalog_settings import CatalogSettings
from provider.config.identity_settings import IdentitySettings
from provider.config.life_settings import LifeSettings
from provider.config.local_settings import LocalSettings
from provider.config.serving_settings import MIN_PREFILL_STEP, ServingSettings
from provider.memory.policy import GIB, PolicySettings

KNOWN_ELSEWHERE: Final = frozenset(
    {"DARKBLOOM_CONFIG", "DARKBLOOM_NATIVE", "DARKBLOOM_NO_UPDATE_CHECK", "DARKBLOOM_RESTARTED"}
)
"""Names with our prefix that other code of this process reads."""

_LINK_SCHEMES: Final = ("ws", "wss", "http", "https")


@dataclass(frozen=True, kw_only=True)
class ProviderSettings(LifeSettings, LocalSettings, ServingSettings, CatalogSettings, IdentitySettings):
    """Durations in seconds, memory in GiB where the name ends in `_gb`."""

    # --- coordinator ---
    coordinator_url: str | None = setting(
        "COORDINATOR_URL",
        url(*_LINK_SCHEMES),
        default=None,
        group="Coordinator",
        meaning="Address of the coordinator; without a path, `/ws/provider` is added.",
    )
    allow_insecure_link: bool = setting(
        "ALLOW_INSECURE_LINK",
        boolean(),
        default=False,
        group="Coordinator",
        meaning="Permit an unencrypted link to another machine; only for a closed test network.",
    )
    backend_name: str = setting(
        "BACKEND_NAME",
        text(),
        default="mlx-python",
        group="Coordinator",
        meaning="Engine family to register as.",
    )
    heartbeat_interval: float = setting(
        "HEARTBEAT_INTERVAL",
        duration(1, 60),
        default=5.0,
        group="Coordinator",
        meaning="Time between two heartbeats without a change.",
    )
    link_ping: float = setting(
        "LINK_PING", duration(0.1, 600), default=10.0, group="Coordinator", meaning="Time between two pings."
    )
    link_pong_timeout: float = setting(
        "LINK_PONG_TIMEOUT",
        duration(0.1, 600),
        default=30.0,
        group="Coordinator",
        meaning="Silence after a ping that ends the connection.",
    )

    # --- machine ---
    home: Path = setting(
        "HOME",
        path(),
        default=Path("~/.darkbloom"),
        group="Machine",
        meaning="Directory of the identity key and the lock.",
    )
    dev: bool = setting(
        "DEV",
        boolean(),
        default=False,
        group="Machine",
        meaning="Development: protections that cannot be applied warn instead of refusing the start.",
    )
    mem_cap_fraction: float = setting(
        "MEM_CAP_FRACTION",
        number(0.01, 1),
        default=0.9,
        group="Machine",
        meaning="Largest part of the memory that models and requests may take.",
    )
    activation_reserve_gb: float | None = setting(
        "ACTIVATION_RESERVE_GB",
        number(0.01, 1024),
        default=None,
        group="Machine",
        meaning="GiB kept for working arrays; it can only raise the built-in reserve.",
    )
    memory_reserve_gb: float | None = setting(
        "MEMORY_RESERVE_GB",
        number(0, 1024),
        default=None,
        group="Machine",
        meaning="GiB kept for everything else on this machine; by default 4, or 1 on machines of up to 8 GiB.",
    )

    # --- models and requests ---
    max_model_slots: int = setting(
        "MAX_MODEL_SLOTS", integer(1, 8), default=3, group="Models", meaning="Models in memory at a time."
    )
    idle_timeout: float = setting(
        "IDLE_TIMEOUT",
        duration(0, 30 * 86400),
        default=3600.0,
        group="Models",
        meaning="A model that nobody has used for this long is unloaded; the next request loads it again. 0: never.",
    )
    memory_check: float = setting(
        "MEMORY_CHECK",
        duration(0, 60),
        default=2.0,
        group="Machine",
        meaning="Time between two looks at the machine's memory pressure; when it is critical, no requests are taken "
        "and idle models are unloaded. 0: never.",
    )
    max_concurrent: int = setting(
        "MAX_CONCURRENT", integer(1, 24), default=8, group="Models", meaning="Requests that one model runs together."
    )
    preload_timeout: float = setting(
        "PRELOAD_TIMEOUT",
        duration(0, 86400),
        default=120.0,
        group="Models",
        meaning="How long the start waits for models to load before it registers.",
    )
    drain_timeout: float = setting(
        "DRAIN_TIMEOUT",
        duration(0, 86400),
        default=600.0,
        group="Models",
        meaning="How long a stop waits for running requests before it says that it is late.",
    )

    # --- observability ---
    log_format: str = setting(
        "LOG_FORMAT",
        choice("auto", "json", "text"),
        default="auto",
        group="Observability",
        meaning="`auto` is text on a terminal and JSON lines elsewhere.",
    )
    log_level: str = setting(
        "LOG_LEVEL",
        choice("debug", "info", "warn", "error"),
        default="info",
        group="Observability",
        meaning="Lowest level of the log.",
    )

    def check(self) -> Iterable[str]:
        """Name every rule that is broken across settings."""
        if self.link_pong_timeout <= self.link_ping:
            yield "DARKBLOOM_LINK_PONG_TIMEOUT must be longer than DARKBLOOM_LINK_PING."
        if 0 < self.prefill_step < MIN_PREFILL_STEP:
            yield f"DARKBLOOM_PREFILL_STEP is {self.prefill_step}; write at least {MIN_PREFILL_STEP}, or 0."

    @property
    def state_directory(self) -> Path:
        """The home directory with `~` replaced."""
        return self.home.expanduser()

    def memory_policy(self) -> PolicySettings:
        """Give the memory settings in the form of the memory policy, in bytes."""
        return PolicySettings(
            cap_fraction=self.mem_cap_fraction,
            operator_reserve=_bytes(self.memory_reserve_gb),
            activation_reserve=_bytes(self.activation_reserve_gb),
        )


def load_settings(
    environment: Mapping[str, str] | None = None, *, overrides: Mapping[str, str] | None = None
) -> Loaded[ProviderSettings]:
    """Read the settings from the process environment, or from what is passed instead.

    `overrides` are values by full name that win over the environment, for example from command-line options. Raises
    protocol.settings.SettingsError with all problems at once.
    """
    values = os.environ if environment is None else environment
    layers = [Layer("command line", overrides or {}), Layer("environment", values)]
    return load(ProviderSettings, layers, known_elsewhere=KNOWN_ELSEWHERE)


def _bytes(gigabytes: float | None) -> int | None:
    return None if gigabytes is None else math.floor(gigabytes * GIB)


__all__ = ["KNOWN_ELSEWHERE", "PREFIX", "ProviderSettings", "load_settings"]
