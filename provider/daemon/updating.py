"""Whether a daemon updates itself, and with what."""

from collections.abc import Callable

from provider.account import door_address
from provider.daemon.parts import Parts
from provider.update.auto import AutoUpdate
from provider.update.place import find_installation


def updates_of(parts: Parts, restart: Callable[[], None]) -> AutoUpdate | None:
    """Give the updater of a service that something starts again, and that lies in a bundle; None for every other."""
    settings, installation = parts.settings, find_installation()
    if installation is None or parts.address is None or not (parts.options.is_service and settings.auto_update):
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
    )
