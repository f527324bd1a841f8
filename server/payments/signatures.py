"""Signatures of Stripe's webhooks: HMAC-SHA256 over time and raw body, several secrets, a window on both sides."""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from protocol.settings import Secret

TOLERANCE_SECONDS: Final = 300
MAX_HEADER_CHARACTERS: Final = 4096
_MAX_PARTS: Final = 32
_TIME: Final = re.compile(r"[0-9]{1,12}", re.ASCII)
_HEX_DIGEST: Final = re.compile(r"[0-9a-fA-F]{64}", re.ASCII)


class BadSignature(Exception):
    """The request was not signed by Stripe with one of our secrets within the window."""


def signature(secret: str, timestamp: int, body: bytes) -> str:
    """Return the hex digest that signs `body` at `timestamp` (Unix seconds)."""
    return hmac.new(secret.encode(), b"%d." % timestamp + body, hashlib.sha256).hexdigest()


def signed_header(secret: str, timestamp: int, body: bytes) -> str:
    """Return a `Stripe-Signature` header for `body`."""
    return f"t={timestamp},v1={signature(secret, timestamp, body)}"


def verify_signature(header: str, body: bytes, *, secrets: Sequence[Secret], now_seconds: int) -> None:
    """Raise BadSignature unless one `v1` of the header is right under one of `secrets`.

    A time more than 300 s before or after `now_seconds` is refused. All candidates are compared, in constant time.
    """
    timestamp, candidates = _parse(header)
    if not secrets:
        raise BadSignature("No webhook secret is configured; set one to accept events.")
    if abs(now_seconds - timestamp) > TOLERANCE_SECONDS:
        raise BadSignature(f"The event was signed more than {TOLERANCE_SECONDS} seconds away from our clock.")
    good = False
    for secret in secrets:
        expected = signature(secret.reveal(), timestamp, body)
        for candidate in candidates:
            good |= hmac.compare_digest(expected, candidate)
    if not good:
        raise BadSignature("No signature of the event fits; check the endpoint's signing secret.")


def _parse(header: str) -> tuple[int, list[str]]:
    """Return the time and every well-formed `v1` of a header; other schemes are ignored."""
    if len(header) > MAX_HEADER_CHARACTERS:
        raise BadSignature("The Stripe-Signature header is too long.")
    times: list[int] = []
    candidates: list[str] = []
    for part in header.split(",")[:_MAX_PARTS]:
        name, _, value = part.strip().partition("=")
        if name == "t" and _TIME.fullmatch(value):
            times.append(int(value))
        elif name == "v1" and _HEX_DIGEST.fullmatch(value):
            candidates.append(value.lower())
    if len(times) != 1 or not candidates:
        raise BadSignature("The Stripe-Signature header is missing or malformed.")
    return times[0], candidates
