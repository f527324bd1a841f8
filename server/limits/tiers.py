"""The rates of each tier, as the settings give them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from server.limits.bucket import Rate

if TYPE_CHECKING:
    from server.config.accounts import AccountSettings


@dataclass(frozen=True, slots=True)
class TokenRates:
    """Prompt and output tokens of one caller."""

    input: Rate
    output: Rate


ESTIMATED_PART: Final = 4
LEAST_ESTIMATE: Final = 512
MOST_ESTIMATE: Final = 8192

_CONSUMER: Final = Rate(20, 120)
_SERVICE: Final = Rate(200, 600)
_FINANCIAL: Final = Rate(0.2, 3)
_CONSUMER_TOKENS: Final = TokenRates(Rate.per_minute(5_000_000, 1_000_000), Rate.per_minute(500_000, 64_000))
_SERVICE_TOKENS: Final = TokenRates(Rate.per_minute(50_000_000, 5_000_000), Rate.per_minute(5_000_000, 512_000))


@dataclass(frozen=True, slots=True, kw_only=True)
class TierRates:
    """Requests and tokens of consumers and of service partners; money-moving calls of anybody."""

    consumer: Rate = _CONSUMER
    service: Rate = _SERVICE
    financial: Rate = _FINANCIAL
    consumer_tokens: TokenRates = _CONSUMER_TOKENS
    service_tokens: TokenRates = _SERVICE_TOKENS
    service_estimate: bool = False
    """Charge partners' output with `estimated_output` at first."""

    @classmethod
    def of(cls, settings: AccountSettings) -> TierRates:
        """Read the rates from the settings."""
        return cls(
            consumer=Rate(settings.rate_limit_rps, settings.rate_limit_burst),
            service=Rate(settings.service_rate_limit_rps, settings.service_rate_limit_burst),
            financial=Rate(settings.financial_rate_limit_rps, settings.financial_rate_limit_burst),
            consumer_tokens=TokenRates(
                Rate.per_minute(settings.rate_limit_itpm, settings.rate_limit_itpm_burst),
                Rate.per_minute(settings.rate_limit_otpm, settings.rate_limit_otpm_burst),
            ),
            service_tokens=TokenRates(
                Rate.per_minute(settings.service_rate_limit_itpm, settings.service_rate_limit_itpm_burst),
                Rate.per_minute(settings.service_rate_limit_otpm, settings.service_rate_limit_otpm_burst),
            ),
            service_estimate=settings.service_rate_limit_estimate,
        )


def estimated_output(bound: int) -> int:
    """Guess what an answer of at most `bound` tokens will have: a quarter of it, between 512 and 8,192, never more
    than the bound itself.

    A partner names large bounds and uses little of them; charged in full they would fill the bucket with nothing.
    """
    return min(bound, max(LEAST_ESTIMATE, min(bound // ESTIMATED_PART, MOST_ESTIMATE)))
