"""What is decided before a daemon runs: settings, address, and whether this process is protected enough."""

import logging
from typing import Final

from protocol.settings import SettingsError
from provider.config import ProviderSettings, load_settings
from provider.daemon.options import DaemonOptions
from provider.hardening import Hardening
from provider.link import AddressRefused, LinkAddress, LinkTiming, parse_address

log = logging.getLogger(__name__)

EXIT_FAILURE: Final = 1
EXIT_CONFIGURATION: Final = 2


class DaemonRefused(Exception):
    """The daemon cannot start; the text says why and what to do, `exit_code` is for the process."""

    def __init__(self, text: str, *, exit_code: int = EXIT_FAILURE) -> None:
        super().__init__(text)
        self.exit_code: Final = exit_code


def settings_of(options: DaemonOptions) -> ProviderSettings:
    """Take the given settings, or read the environment; raises `DaemonRefused`."""
    if options.settings is not None:
        return options.settings
    try:
        loaded = load_settings()
    except SettingsError as error:
        raise DaemonRefused(str(error), exit_code=EXIT_CONFIGURATION) from None
    for warning in loaded.warnings:
        log.warning("%s", warning)
    return loaded.settings


def address_of(options: DaemonOptions, settings: ProviderSettings) -> LinkAddress:
    """Find the coordinator; raises `DaemonRefused`."""
    url = options.coordinator_url or settings.coordinator_url
    if url is None:
        raise DaemonRefused(
            "No coordinator is named; set DARKBLOOM_COORDINATOR_URL, for example wss://host.",
            exit_code=EXIT_CONFIGURATION,
        )
    try:
        return parse_address(url, allow_insecure=settings.allow_insecure_link)
    except AddressRefused as refused:
        raise DaemonRefused(str(refused), exit_code=EXIT_CONFIGURATION) from None


def judge_hardening(hardening: Hardening, settings: ProviderSettings) -> None:
    """Refuse to serve without the protections that privacy rests on; development only warns."""
    for problem in hardening.problems:
        log.warning("%s", problem)
    if settings.dev or (hardening.anti_debug_enabled and hardening.core_dumps_disabled):
        return
    raise DaemonRefused("This process is not protected: " + " ".join(hardening.problems))


def timing_of(settings: ProviderSettings) -> LinkTiming:
    """Give the times of the connection."""
    return LinkTiming(
        heartbeat=settings.heartbeat_interval,
        ping=settings.link_ping,
        pong=settings.link_pong_timeout,
        suspended=3 * settings.link_ping,
    )
