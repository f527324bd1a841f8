"""What tokens cost and who gets which part of it. Pure integers.

Prices are micro-USD per million tokens; every result is micro-USD.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple

from server.billing.amounts import MAX_MONEY

TOKENS_PER_PRICE: Final = 1_000_000


class Price(NamedTuple):
    """Rates of one model: input, output, and cached input (None: derived from the input rate)."""

    input: int
    output: int
    cache_read: int | None = None


FALLBACK_PRICE: Final = Price(50_000, 200_000)
"""For a model that has no price of its own."""


class Tokens(NamedTuple):
    """Billable tokens of one request; `cached` is the part of `prompt` that was read from a cache."""

    prompt: int
    cached: int
    completion: int


class Split(NamedTuple):
    """Where a charge goes; the three sum to it."""

    payout: int
    reward: int
    platform: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Tariff:
    """Rules for all prices: settings of the coordinator. Percentages are 0..100, `max_price_multiple` is a factor."""

    platform_fee_percent: int = 0
    referral_share_percent: int = 20
    minimum_charge: int = 100
    cache_read_discount_percent: int = 50
    max_price_multiple: int = 5
    fallback: Price = FALLBACK_PRICE

    def cache_read_rate(self, price: Price) -> int:
        """The rate of cached input tokens: the row's own, or derived from the input rate by the discount."""
        if price.cache_read is not None:
            return price.cache_read
        kept = 100 - self.cache_read_discount_percent
        return price.input // 100 * kept + price.input % 100 * kept // 100

    def wholesale_cost(self, price: Price, tokens: Tokens) -> int:
        """Cost for a service account: without a minimum, but never 0 for tokens that were used."""
        prompt = max(tokens.prompt, 0)
        cached = min(max(tokens.cached, 0), prompt)
        completion = max(tokens.completion, 0)
        cost = (prompt - cached) * price.input // TOKENS_PER_PRICE + completion * price.output // TOKENS_PER_PRICE
        if cached:
            cost += cached * self.cache_read_rate(price) // TOKENS_PER_PRICE
        return 1 if cost == 0 and prompt + completion > 0 else min(cost, MAX_MONEY)

    def cost(self, price: Price, tokens: Tokens, *, service: bool) -> int:
        """What a request costs. No tokens cost nothing; a direct consumer pays at least the minimum for any token."""
        cost = self.wholesale_cost(price, tokens)
        return cost if service or cost == 0 else max(cost, self.minimum_charge)

    def reservation(self, price: Price, *, prompt_tokens: int, max_tokens: int) -> int:
        """What a hold must carry: the direct cost of the largest request that the bounds allow, nothing cached."""
        return max(
            self.cost(price, Tokens(prompt_tokens, 0, max_tokens), service=False),
            self.minimum_charge,
        )

    def split(self, cost: int, *, fee_percent: int | None, referred: bool) -> Split:
        """Divide a charge between machine owner, referrer and platform.

        `fee_percent` is the owner's own fee (clamped to 0..100), None for the global one.
        """
        percent = self.platform_fee_percent if fee_percent is None else min(max(fee_percent, 0), 100)
        share = self.referral_share_percent if 1 <= self.referral_share_percent <= 50 else 20
        fee = cost * percent // 100
        reward = fee * share // 100 if referred else 0
        return Split(cost - fee, reward, fee - reward)
