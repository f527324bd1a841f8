"""Whether a daemon updates itself, and with what."""

import logging
from collections.abc import Callable

from protocol.release_bundle import ENTRY
from provider.account import door_address
from provider.daemon.parts import Parts
from provider.update.auto import AutoUpdate
from provider.update.place import find_installation
from provider.update.trial import TrialHelper

log = logging.getLogger(__name__)


def updates_of(parts: Parts, restart: Callable[[], None]) -> AutoUpdate | None:
    """Give the updater of a service that something starts again, and that lies in a bundle; None for every other.

    It starts a helper, so call it before this process gives up starting programs.
    """
    settings, installation = parts.settings, find_installation()
    if installation is None or parts.address is None or not (parts.options.is_service and settings.updates_itself):
        return None
    try:
        helper = TrialHelper(installation.staging / ENTRY)
    except OSError as error:
        log.warning("releases cannot be tried, so none are installed", extra={"errno": error.errno})
        return None
    return AutoUpdate(
        installation=installation,
        base_url=door_address(parts.address),
        platform=parts.facts.platform,
        version=parts.facts.version,
        home=parts.places.home,
        state_file=parts.places.update_file,
        jitter=settings.update_jitter,
        keys=settings.update_keys,
        restart=restart,
        try_out=helper.try_out,
    )
