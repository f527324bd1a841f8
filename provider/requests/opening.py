"""Opening and reading a sealed body; blocks for large ones, so these go to a worker thread.

Invariant: the plaintext buffer is overwritten before anything leaves this module, and a key that is not handed on is
wiped.
"""

from dataclasses import dataclass
from typing import Final

from protocol.messages.wire import EncryptedPayload
from protocol.sealing import ProviderKeyPair, SealingError, WipeableKey, open_request, wipe_plaintext
from provider.requests.body import Order, parse_order
from provider.requests.refusal import RequestRefused, of_sealing

INLINE_BYTES: Final = 64 * 1024
"""Longest base64 text that is opened on the trio thread; about a third of a millisecond."""


@dataclass(frozen=True, slots=True)
class Opened:
    """A readable request; whoever holds it wipes `shared`."""

    order: Order
    shared: WipeableKey


def open_order(sealed: EncryptedPayload | None, keys: ProviderKeyPair) -> Opened:
    """Open and parse one body; raises `RequestRefused`."""
    try:
        plaintext, shared = open_request(sealed, keys)
    except SealingError as error:
        refusal = of_sealing(error.reason)
    else:
        keep = False
        try:
            order = parse_order(plaintext)
            keep = True
            return Opened(order, shared)
        finally:
            wipe_plaintext(plaintext)
            if not keep:
                shared.wipe()
    raise RequestRefused(refusal)


def is_small(sealed: EncryptedPayload | None) -> bool:
    """Whether opening is cheaper than a thread."""
    return sealed is None or len(sealed.ciphertext) <= INLINE_BYTES
