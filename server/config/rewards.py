"""Settings of rewards: the base income of machines, and the names on the leaderboard."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from protocol.settings import Secret, boolean, integer, number, secret, setting

MIN_SECRET_CHARACTERS: Final = 24
_MAX_POOL: Final = 2**53 - 1


@dataclass(frozen=True, kw_only=True)
class RewardSettings:
    """Amounts in micro-USD, fractions from 0 to 1."""

    base_rewards: bool = setting(
        "BASE_REWARDS",
        boolean(),
        default=False,
        group="Rewards",
        meaning="Pay machines a base income for being attested, online and loaded.",
    )
    base_rewards_k: float = setting(
        "BASE_REWARDS_K",
        number(0, 100),
        default=0.0,
        group="Rewards",
        meaning="How much of what a machine earns by work is taken off its base income; three decimals.",
    )
    base_rewards_pool_micro: int = setting(
        "BASE_REWARDS_POOL_MICRO",
        integer(0, _MAX_POOL),
        default=9_000_000_000,
        group="Rewards",
        meaning="The most that all base income of a calendar month may be, in micro-USD.",
    )
    base_rewards_min_uptime: float = setting(
        "BASE_REWARDS_MIN_UPTIME",
        number(0, 0.99),
        default=0.90,
        group="Rewards",
        meaning="Part of five minutes that a machine must be connected; base income grows from 0 there to all at 1.",
    )
    base_rewards_account_cap: float = setting(
        "BASE_REWARDS_ACCOUNT_CAP",
        number(0, 1),
        default=0.0,
        group="Rewards",
        meaning="The largest part of the budget that the machines of one account may draw; 0 for no limit.",
    )
    base_rewards_require_work: bool = setting(
        "BASE_REWARDS_REQUIRE_WORK",
        boolean(),
        default=True,
        group="Rewards",
        meaning="Pay base income only to machines that served another account's paid request in the last 45 days.",
    )
    pseudonym_secret: Secret | None = setting(
        "PSEUDONYM_SECRET",
        secret(),
        default=None,
        group="Rewards",
        meaning="Key of the names on the leaderboard; at least 24 characters; without it new names at each start.",
    )


def reward_problems(settings: RewardSettings) -> Iterable[str]:
    """Name every rule about rewards that is broken."""
    chosen = settings.pseudonym_secret
    if chosen is not None and len(chosen.reveal()) < MIN_SECRET_CHARACTERS:
        yield (
            f"DARKBLOOM_PSEUDONYM_SECRET is shorter than {MIN_SECRET_CHARACTERS} characters; "
            "use a longer random text, for example from 'openssl rand -hex 32'."
        )
