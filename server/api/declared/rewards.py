"""Declarations of referrals and invites."""

from __future__ import annotations

from typing import Final, Literal

import msgspec

from server.api.declared.forms import Amount
from server.openapi.operation import Operation


class Code(msgspec.Struct, kw_only=True):
    """A code."""

    code: str


class ReferralCode(msgspec.Struct, kw_only=True):
    """A code of one's own."""

    code: str
    share_percent: int
    message: str


class AppliedReferral(msgspec.Struct, kw_only=True):
    """The code by which an account came."""

    status: Literal["applied"]
    code: str
    message: str


class ReferralStats(msgspec.Struct, kw_only=True):
    """What a code brought."""

    code: str
    share_percent: int
    total_referred: int
    total_rewards_micro_usd: int
    total_rewards_usd: Amount
    balance_micro_usd: int
    balance_usd: Amount


class ReferralInfo(msgspec.Struct, kw_only=True):
    """The own code, and the one by which the account came."""

    code: str | None
    share_percent: int
    referred_by: str | None


class Redeemed(msgspec.Struct, kw_only=True):
    """What an invite gave."""

    credited_usd: Amount
    balance_usd: Amount


REWARDS: Final[tuple[Operation, ...]] = (
    Operation(
        method="POST",
        path="/v1/referral/register",
        family="Rewards",
        summary="Register a referral code",
        auth="user",
        body=Code,
        answer=ReferralCode,
    ),
    Operation(
        method="POST",
        path="/v1/referral/apply",
        family="Rewards",
        summary="Say by whose code one came",
        auth="user",
        body=Code,
        answer=AppliedReferral,
    ),
    Operation(
        method="GET",
        path="/v1/referral/stats",
        family="Rewards",
        summary="Show what the own code brought",
        auth="key",
        answer=ReferralStats,
    ),
    Operation(
        method="GET",
        path="/v1/referral/info",
        family="Rewards",
        summary="Show the referral codes of the account",
        auth="key",
        answer=ReferralInfo,
    ),
    Operation(
        method="POST",
        path="/v1/invite/redeem",
        family="Rewards",
        summary="Redeem an invite",
        auth="key",
        body=Code,
        answer=Redeemed,
    ),
)
