"""Declarations of what machines earned."""

from __future__ import annotations

from typing import Final, Literal

import msgspec

from server.api.declared.forms import FORMAT, LIMIT, PERIOD, Amount, JsonObject, Moment
from server.openapi.operation import Also, Operation, Parameter


class Earning(msgspec.Struct, kw_only=True):
    """One row of earnings."""

    id: int
    account_id: str
    provider_id: str
    provider_key: str
    job_id: str
    model: str
    amount_micro_usd: int
    prompt_tokens: int
    completion_tokens: int
    created_at: Moment


class History(msgspec.Struct, kw_only=True):
    """The newest earnings and the sum of all."""

    earnings: list[Earning]
    total_micro_usd: int
    total_usd: Amount
    count: int
    recent_count: int
    history_limit: int


class AccountEarnings(History, kw_only=True):
    """What all machines of an account earned."""

    account_id: str
    available_balance_micro_usd: int
    available_balance_usd: Amount
    withdrawable_balance_micro_usd: int
    withdrawable_balance_usd: Amount


class NodeEarnings(History, kw_only=True):
    """What one machine earned."""

    provider_key: str


class WalletEarnings(msgspec.Struct, kw_only=True):
    """Earnings of a wallet: there are none any more, accounts are paid."""

    balance_micro_usd: int
    balance_usd: Amount
    total_earned_micro_usd: int
    total_earned_usd: Amount
    total_jobs: int
    payouts: list[JsonObject]
    ledger: list[JsonObject]


class Groups(msgspec.Struct, kw_only=True):
    """Sums by machine or by model."""

    object: Literal["list"]
    data: list[JsonObject]
    since: Moment | None
    until: Moment | None


class Summary(msgspec.Struct, kw_only=True):
    """The state of an account on one page."""

    account_id: str
    available_balance_micro_usd: int
    withdrawable_balance_micro_usd: int
    payout_ready: bool
    lifetime_micro_usd: int
    lifetime_jobs: int
    last_24h_micro_usd: int
    last_24h_jobs: int
    last_7d_micro_usd: int
    last_7d_jobs: int
    counts: dict[str, int]
    latest_provider_version: str
    min_provider_version: str


_TABLE: Final = (Also(status=200, meaning="", kind=str, media="text/csv"),)

EARNINGS: Final[tuple[Operation, ...]] = (
    Operation(
        method="GET",
        path="/v1/me/summary",
        family="Earnings",
        summary="Show the account on one page",
        auth="session",
        answer=Summary,
    ),
    Operation(
        method="GET",
        path="/v1/provider/account-earnings",
        family="Earnings",
        summary="List what the account earned",
        auth="machine",
        parameters=(LIMIT,),
        answer=AccountEarnings,
    ),
    Operation(
        method="GET",
        path="/v1/provider/account-earnings/export",
        family="Earnings",
        summary="Download all earnings of a period",
        auth="machine",
        parameters=(*PERIOD, FORMAT, Parameter(name="provider_key", meaning="Only those of one machine.")),
        answer=str,
        answer_media="text/csv",
        also=(Also(status=200, meaning="", kind=list[JsonObject]),),
    ),
    Operation(
        method="GET",
        path="/v1/provider/node-earnings",
        family="Earnings",
        summary="List what one machine earned",
        auth="key",
        parameters=(Parameter(name="provider_key", meaning="The machine's public key.", required=True), LIMIT),
        answer=NodeEarnings,
    ),
    Operation(
        method="GET",
        path="/v1/provider/earnings",
        family="Earnings",
        summary="Show the earnings of a wallet (older form)",
        auth="none",
        parameters=(
            Parameter(name="wallet", meaning="The wallet."),
            Parameter(name="X-Provider-Wallet", meaning="The wallet.", where="header"),
        ),
        answer=WalletEarnings,
    ),
    Operation(
        method="GET",
        path="/v1/provider/earnings/by-device",
        family="Earnings",
        summary="Sum earnings up by machine",
        auth="machine",
        parameters=(*PERIOD, FORMAT),
        answer=Groups,
        also=_TABLE,
    ),
    Operation(
        method="GET",
        path="/v1/provider/earnings/by-model",
        family="Earnings",
        summary="Sum earnings up by model",
        auth="machine",
        parameters=(*PERIOD, FORMAT),
        answer=Groups,
        also=_TABLE,
    ),
)
