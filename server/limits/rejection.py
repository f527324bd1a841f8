"""The refusal of a limit: 429 with everything a client needs to come back at the right time."""

from __future__ import annotations

from typing import Literal, TypeAlias

from protocol.api.errors import ApiError

Tier: TypeAlias = Literal["consumer", "service", "financial", "key", "network", "sign_in", "device_code"]
Dimension: TypeAlias = Literal["requests", "input_tokens", "output_tokens"]

_TEXTS: dict[Dimension, str] = {
    "requests": "Too many requests; wait {wait} s and try again.",
    "input_tokens": "Too many prompt tokens in a minute; wait {wait} s and try again, or send shorter prompts.",
    "output_tokens": "Too many output tokens in a minute; wait {wait} s and try again, or ask for fewer tokens.",
}


class RateLimited(ApiError):
    """429 `rate_limit_exceeded`; `tier` and `dimension` are closed sets for metrics, `extra` are more headers."""

    def __init__(
        self,
        tier: Tier,
        dimension: Dimension,
        *,
        retry_after_seconds: float,
        extra: tuple[tuple[str, str], ...] = (),
        message: str | None = None,
    ) -> None:
        text = message or _TEXTS[dimension].format(wait=f"{retry_after_seconds:.0f}")
        super().__init__(429, "rate_limit_exceeded", text, retry_after_seconds=retry_after_seconds)
        self.tier: Tier = tier
        self.dimension: Dimension = dimension
        self.extra = extra

    def headers(self) -> list[tuple[str, str]]:
        """Response headers: `Retry-After`, then the limits themselves."""
        return [*super().headers(), *self.extra]
