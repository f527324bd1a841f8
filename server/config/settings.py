"""All settings of the coordinator: one frozen record, read once at start, every problem reported at once."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from protocol.settings import Layer, Loaded, load, reference_table
from server.config.accounts import AccountSettings, account_problems
from server.config.billing import BillingSettings
from server.config.catalog import CatalogSettings, catalog_problems
from server.config.foreign import KNOWN_ELSEWHERE
from server.config.http import HttpSettings
from server.config.media import MediaSettings
from server.config.payments import PaymentSettings, payment_problems
from server.config.pool import PoolSettings
from server.config.providers import ProviderSettings
from server.config.requests import RequestSettings
from server.config.rewards import RewardSettings, reward_problems
from server.config.sealed import SealedSettings, sealed_problems
from server.config.state_export import StateExportSettings, state_export_problems
from server.config.store import StoreSettings, store_problems

# A scheme, a host and perhaps a port; the browser's `Origin` is compared with it letter by letter.
_ORIGIN: Final = re.compile(r"https?://[^/?#\s,*@]+")

_PREAMBLE: Final = """# Settings of the coordinator

Generated from `server/config/`; a test keeps both alike. Every setting is an environment variable. A secret may come
from a file that the same name with `_FILE` names. `darkbloom-coordinator config` prints the effective values with their
sources.

"""


@dataclass(frozen=True, kw_only=True)
class CoordinatorSettings(
    StoreSettings,
    AccountSettings,
    BillingSettings,
    PaymentSettings,
    RewardSettings,
    StateExportSettings,
    RequestSettings,
    PoolSettings,
    MediaSettings,
    SealedSettings,
    CatalogSettings,
    ProviderSettings,
    HttpSettings,
):
    """The coordinator's settings; durations in seconds, sizes in bytes, secrets hidden in `repr`."""

    def check(self) -> Iterable[str]:
        """Name every rule that is broken across settings."""
        if self.env == "production" and self.allow_dev_attestation:
            yield (
                "DARKBLOOM_ALLOW_DEV_ATTESTATION=true is refused with DARKBLOOM_ENV=production; "
                "unset it, or set DARKBLOOM_ENV=development."
            )
        if self.env == "production" and self.allow_memory_store and self.database_url is None:
            yield (
                "DARKBLOOM_ALLOW_MEMORY_STORE=true is refused with DARKBLOOM_ENV=production; "
                "set DARKBLOOM_DATABASE_URL, or DARKBLOOM_ENV=development."
            )
        if (self.tls_cert is None) != (self.tls_key is None):
            yield "DARKBLOOM_TLS_CERT and DARKBLOOM_TLS_KEY belong together; set both or neither."
        if self.ws_pong_timeout <= self.ws_ping:
            yield "DARKBLOOM_WS_PONG_TIMEOUT must be longer than DARKBLOOM_WS_PING."
        if self.challenge_max_age <= self.challenge_interval:
            yield "DARKBLOOM_CHALLENGE_MAX_AGE must be longer than DARKBLOOM_CHALLENGE_INTERVAL."
        if self.writer_max < self.writer_min:
            yield "DARKBLOOM_WRITER_MAX must not be shorter than DARKBLOOM_WRITER_MIN."
        yield from store_problems(self)
        yield from account_problems(self, production=self.env == "production")
        for origin in self.cors_origins:
            if _ORIGIN.fullmatch(origin) is None:
                yield (
                    f"DARKBLOOM_CORS_ORIGINS holds {origin!r}, which is no origin; "
                    "write https://host or https://host:port, without a path."
                )
        yield from catalog_problems(self)
        yield from payment_problems(self, production=self.env == "production")
        yield from reward_problems(self)
        yield from state_export_problems(self)
        yield from sealed_problems(self)


def load_settings(
    environment: Mapping[str, str] | None = None, *, overrides: Mapping[str, str] | None = None
) -> Loaded[CoordinatorSettings]:
    """Read the settings from the process environment, or from what is passed instead; `overrides` win over it.

    Raises protocol.settings.SettingsError with all problems at once.
    """
    values = os.environ if environment is None else environment
    layers = [Layer("command line", overrides or {}), Layer("environment", values)]
    return load(CoordinatorSettings, layers, known_elsewhere=KNOWN_ELSEWHERE)


def settings_page() -> str:
    """Return the reference page of all settings, as kept in docs/reference/settings.md."""
    return _PREAMBLE + reference_table(CoordinatorSettings)
