"""The `x-ratelimit-*` headers of allowed and rejected answers."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from server.limits.bucket import TokenBucket

Header = tuple[str, str]


def limit_headers(bucket: TokenBucket, now: float) -> tuple[Header, ...]:
    """Give the request triple: limit a minute, what remains, and the time until the bucket is full (`"4s"`)."""
    return _triple("requests", bucket, now)


def token_headers(which: str, bucket: TokenBucket, now: float) -> tuple[Header, ...]:
    """Give the triple of `input-tokens` or `output-tokens`."""
    return _triple(which, bucket, now)


def reset_header(wait_seconds: int, wall_seconds: float) -> Header:
    """Give `X-RateLimit-Reset` of a rejected request: the Unix second at which to come back."""
    return "X-RateLimit-Reset", str(int(wall_seconds) + wait_seconds)


@lru_cache(maxsize=16)
def _names(which: str) -> tuple[str, str, str]:
    return f"x-ratelimit-limit-{which}", f"x-ratelimit-remaining-{which}", f"x-ratelimit-reset-{which}"


def _triple(which: str, bucket: TokenBucket, now: float) -> tuple[Header, ...]:
    limit, remaining, reset = _names(which)
    return (
        (limit, str(bucket.rate.minute)),
        (remaining, str(bucket.remaining(now))),
        (reset, f"{bucket.seconds_to_full(now)}s"),
    )
