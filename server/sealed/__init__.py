"""Sealed transport between a client and the coordinator: keys, envelopes, and answers that are sealed in turn."""

from server.sealed.desk import SealingDesk
from server.sealed.endpoint import sealed_endpoint
from server.sealed.exchange import SEALED_TYPE, is_sealed_type
from server.sealed.keys import KeyRing, MnemonicUnusable, SealingKey, key_from_mnemonic

__all__ = [
    "SEALED_TYPE",
    "KeyRing",
    "MnemonicUnusable",
    "SealingDesk",
    "SealingKey",
    "is_sealed_type",
    "key_from_mnemonic",
    "sealed_endpoint",
]
