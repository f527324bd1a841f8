"""Settings of sealed requests."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from protocol.settings import Secret, duration, secret, setting, size

_MIB: Final = 1024 * 1024
_WORD_COUNTS: Final = (12, 24)


@dataclass(frozen=True, kw_only=True)
class SealedSettings:
    """Durations in seconds, sizes in bytes."""

    coordinator_mnemonic: Secret | None = setting(
        "COORDINATOR_MNEMONIC",
        secret(),
        default=None,
        group="Sealed requests",
        meaning="BIP-39 mnemonic (12 or 24 words) of the key to which clients seal requests; without it they cannot.",
    )
    coordinator_mnemonic_previous: Secret | None = setting(
        "COORDINATOR_MNEMONIC_PREVIOUS",
        secret(),
        default=None,
        group="Sealed requests",
        meaning="The mnemonic before it, still accepted while clients learn the new key; remove it after a day.",
    )
    max_sealed_bytes: int = setting(
        "MAX_SEALED_BYTES",
        size(1024, 64 * _MIB),
        default=16 * _MIB,
        group="Sealed requests",
        meaning="Largest sealed body; what is in it may have `MAX_BODY_BYTES`.",
    )
    sealed_replay_window: float = setting(
        "SEALED_REPLAY_WINDOW",
        duration(0, 86400),
        default=0.0,
        group="Sealed requests",
        meaning="How long a sealed body may not be sent a second time; 0: it may.",
    )


def sealed_problems(settings: SealedSettings) -> Iterable[str]:
    """Name every rule about sealed requests that is broken, without the words."""
    for name, value in (
        ("COORDINATOR_MNEMONIC", settings.coordinator_mnemonic),
        ("COORDINATOR_MNEMONIC_PREVIOUS", settings.coordinator_mnemonic_previous),
    ):
        count = len(value.reveal().split()) if value is not None else 12
        if count not in _WORD_COUNTS:
            yield f"DARKBLOOM_{name} has {count} words; a mnemonic has 12 or 24."
    if settings.coordinator_mnemonic is None and settings.coordinator_mnemonic_previous is not None:
        yield "DARKBLOOM_COORDINATOR_MNEMONIC_PREVIOUS needs DARKBLOOM_COORDINATOR_MNEMONIC; set the current one too."
