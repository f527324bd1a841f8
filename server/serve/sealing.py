"""Sealed transport put together: the keys that the settings name, and the inference endpoints behind it."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING

import trio

from server.sealed import KeyRing, SealingDesk, key_from_mnemonic, sealed_endpoint
from server.sealed.keys import has_valid_checksum
from server.sealed.replay import ReplayWindow
from server.serve.json_error import error_body

if TYPE_CHECKING:
    from protocol.settings import Secret
    from server.api import Endpoint
    from server.config import CoordinatorSettings
    from server.sealed import SealingKey

_log = logging.getLogger("darkbloom.sealed")


def key_ring(settings: CoordinatorSettings) -> KeyRing | None:
    """Derive the keys; None where no mnemonic is set. Takes some milliseconds for each."""
    if settings.coordinator_mnemonic is None:
        return None
    previous = settings.coordinator_mnemonic_previous
    return KeyRing(
        _key(settings.coordinator_mnemonic, "COORDINATOR_MNEMONIC"),
        None if previous is None else _key(previous, "COORDINATOR_MNEMONIC_PREVIOUS"),
    )


def sealed_endpoints(
    endpoints: Mapping[str, Endpoint], ring: KeyRing | None, settings: CoordinatorSettings
) -> dict[str, Endpoint]:
    """Let every inference endpoint take sealed bodies too."""
    desk = SealingDesk(
        ring,
        replays=ReplayWindow(settings.sealed_replay_window, clock=trio.current_time),
        most_bytes=settings.max_sealed_bytes,
    )
    return {path: sealed_endpoint(endpoint, desk, partial(error_body, path)) for path, endpoint in endpoints.items()}


def _key(words: Secret, name: str) -> SealingKey:
    if not has_valid_checksum(words.reveal()):
        _log.warning(
            "DARKBLOOM_%s is no English BIP-39 mnemonic, or has a typing error; its key is used as it is.", name
        )
    key = key_from_mnemonic(words.reveal())
    _log.info("sealed requests are taken", extra={"kid": key.kid})
    return key
