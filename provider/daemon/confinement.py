"""Closing the daemon's process once it has everything, and saying truthfully what is closed."""

import logging
from dataclasses import replace
from typing import Final

from provider.config import ProviderSettings
from provider.hardening import Hardening
from provider.hardening.confine import Confinement, confine

log = logging.getLogger(__name__)

IDLE_TOOLS: Final = ("loginctl", "xprintidle")
"""Programs that tell on Linux for how long nobody touched the machine."""


def confine_daemon(hardening: Hardening, settings: ProviderSettings) -> Hardening:
    """Confine this process for good and give the protections that are in effect then.

    A machine that serves only while its user is away keeps the programs that tell so.
    """
    watches_user = settings.only_when_idle > 0
    programs = [*IDLE_TOOLS] if watches_user else []
    if settings.enclave_helper is not None:
        programs.append(str(settings.enclave_helper))
    return with_confinement(hardening, confine(refuse_programs=not watches_user, programs=programs))


def with_confinement(hardening: Hardening, confinement: Confinement) -> Hardening:
    """Add what a confinement achieved."""
    for problem in confinement.problems:
        log.warning("%s", problem)
    return replace(
        hardening,
        runtime_locked=confinement.runtime_locked,
        calls_filtered=confinement.calls_filtered,
        programs_refused=confinement.programs_refused,
        problems=hardening.problems + confinement.problems,
    )
