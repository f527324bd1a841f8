"""Declarations of balance, usage, prices, deposits and payouts."""

from __future__ import annotations

from typing import Annotated, Final, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from server.api.declared.forms import FORMAT, LIMIT, PERIOD, Amount, JsonObject, Moment
from server.openapi.operation import PLAIN, Also, Operation, Parameter

PricePerMillion = Annotated[int, Meta(gt=0, le=10**12)]
ToPay = Annotated[str, Meta(pattern=r"^[0-9]{1,6}(\.[0-9]{1,2})?$")]


class Balance(msgspec.Struct, kw_only=True):
    """What an account may spend, and what of it may be paid out."""

    balance_micro_usd: int
    balance_usd: Amount
    withdrawable_micro_usd: int
    withdrawable_usd: Amount


class WalletBalance(msgspec.Struct, kw_only=True):
    """What an account may spend."""

    credit_balance_micro_usd: int


class UsageLine(msgspec.Struct, kw_only=True):
    """One paid request; `model` is the name that was asked for."""

    job_id: str
    model: str
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    cost_micro_usd: int
    key_id: str
    timestamp: Moment


class Usage(msgspec.Struct, kw_only=True):
    """The newest requests; `next_before` leads to older ones."""

    usage: list[UsageLine]
    next_before: int | UnsetType = UNSET


class PriceLine(msgspec.Struct, kw_only=True):
    """Prices of one model, in micro-USD per million tokens."""

    model: str
    input_price: int
    output_price: int
    cache_read_price: int
    input_usd: str
    output_usd: str
    cache_read_usd: str


class Prices(msgspec.Struct, kw_only=True):
    """The platform's prices by model, and those of all other models."""

    prices: list[PriceLine]
    fallback_input_price: int
    fallback_output_price: int
    fallback_input_usd: str
    fallback_output_usd: str


class PriceWish(msgspec.Struct, kw_only=True):
    """Prices to set, in micro-USD per million tokens."""

    model: str
    input_price: PricePerMillion
    output_price: PricePerMillion
    cache_read_price: Annotated[int, Meta(ge=0, le=10**12)] | UnsetType | None = UNSET


class SetPrice(msgspec.Struct, kw_only=True):
    """Prices that are set."""

    status: str
    model: str
    input_price: int
    output_price: int
    input_usd: str
    output_usd: str
    cache_read_price: int | UnsetType = UNSET
    cache_read_usd: str | UnsetType = UNSET


class ModelName(msgspec.Struct, kw_only=True):
    """A model by name."""

    model: str


class DeletedPrice(msgspec.Struct, kw_only=True):
    """The price is gone."""

    status: str
    model: str


class PaymentMethod(msgspec.Struct, kw_only=True):
    """A way to pay."""

    method: str
    display_name: str
    currencies: list[str]


class PaymentMethods(msgspec.Struct, kw_only=True):
    """All ways to pay; none where nothing is sold."""

    methods: list[JsonObject]
    referral: JsonObject | UnsetType = UNSET


class DepositWish(msgspec.Struct, kw_only=True):
    """Credits to buy."""

    amount_usd: ToPay
    email: str | UnsetType = UNSET
    referral_code: str | UnsetType = UNSET


class Deposit(msgspec.Struct, kw_only=True):
    """Where to pay."""

    session_id: str
    stripe_session: str
    url: str
    amount_usd: Amount
    amount_micro_usd: int


class OnboardWish(msgspec.Struct, kw_only=True):
    """Where payouts go to."""

    country: str | UnsetType = UNSET
    return_url: str | UnsetType = UNSET
    refresh_url: str | UnsetType = UNSET


class Onboarding(msgspec.Struct, kw_only=True):
    """Where the person continues."""

    url: str
    stripe_account_id: str
    status: str


class PayoutAccount(msgspec.Struct, kw_only=True):
    """Whether an account can be paid out."""

    has_account: bool
    configured: bool
    stripe_account_id: str | UnsetType = UNSET
    status: str | UnsetType = UNSET
    stripe_account_country: str | UnsetType = UNSET
    destination_type: str | UnsetType = UNSET
    destination_last4: str | UnsetType = UNSET
    instant_eligible: bool | UnsetType = UNSET
    min_withdraw_micro_usd: int | UnsetType = UNSET
    instant_fee_bps: int | UnsetType = UNSET
    instant_fee_min_usd: float | UnsetType = UNSET
    currently_due: list[str] | UnsetType = UNSET


class WithdrawalWish(msgspec.Struct, kw_only=True):
    """Earnings to pay out."""

    amount_usd: ToPay
    method: Literal["standard", "instant"] | UnsetType = UNSET


class StartedWithdrawal(msgspec.Struct, kw_only=True):
    """A payout on its way."""

    status: str
    withdrawal_id: str
    transfer_id: str
    amount_usd: Amount
    fee_usd: Amount
    net_usd: Amount
    method: str
    eta: str
    message: str
    balance_micro_usd: int
    payout_id: str | UnsetType = UNSET
    arrival_unix: int | UnsetType = UNSET


class Withdrawal(msgspec.Struct, kw_only=True):
    """One payout."""

    id: str
    stripe_account_id: str
    transfer_id: str
    payout_id: str
    amount_micro_usd: int
    fee_micro_usd: int
    net_micro_usd: int
    method: str
    status: str
    failure_reason: str
    refunded: bool
    fee_refunded: bool
    created_at: Moment
    updated_at: Moment


class Withdrawals(msgspec.Struct, kw_only=True):
    """The newest payouts."""

    withdrawals: list[Withdrawal]


class Link(msgspec.Struct, kw_only=True):
    """A page to open."""

    url: str


class Unlinked(msgspec.Struct, kw_only=True):
    """Whether there was an account to forget."""

    unlinked: bool


_STRIPE_ERRORS: Final = (409, 502)

MONEY: Final[tuple[Operation, ...]] = (
    Operation(
        method="GET",
        path="/v1/payments/balance",
        family="Money",
        summary="Show the balance",
        auth="key",
        answer=Balance,
    ),
    Operation(
        method="GET",
        path="/v1/billing/wallet/balance",
        family="Money",
        summary="Show what can be spent",
        auth="key",
        answer=WalletBalance,
    ),
    Operation(
        method="GET",
        path="/v1/payments/usage",
        family="Money",
        summary="List the newest paid requests",
        auth="key",
        parameters=(
            LIMIT,
            Parameter(name="before", meaning="Rows older than this one.", kind=int),
            Parameter(name="key_id", meaning="Only those of one key."),
        ),
        answer=Usage,
    ),
    Operation(
        method="GET",
        path="/v1/payments/usage/export",
        family="Money",
        summary="Download all paid requests of a period",
        auth="key",
        parameters=(*PERIOD, FORMAT, Parameter(name="key_id", meaning="Only those of one key.")),
        answer=str,
        answer_media="text/csv",
        also=(Also(status=200, meaning="", kind=list[JsonObject], media="application/json"),),
    ),
    Operation(
        method="GET",
        path="/v1/pricing",
        family="Money",
        summary="List prices",
        auth="none",
        answer=Prices,
        errors=(503,),
    ),
    Operation(
        method="PUT",
        path="/v1/pricing",
        family="Money",
        summary="Set a price for one's own machines",
        auth="user",
        body=PriceWish,
        answer=SetPrice,
    ),
    Operation(
        method="DELETE",
        path="/v1/pricing",
        family="Money",
        summary="Go back to the platform's price",
        auth="user",
        body=ModelName,
        answer=DeletedPrice,
    ),
    Operation(
        method="GET",
        path="/v1/billing/methods",
        family="Money",
        summary="List the ways to pay",
        auth="none",
        answer=PaymentMethods,
    ),
    Operation(
        method="POST",
        path="/v1/billing/stripe/create-session",
        family="Money",
        summary="Buy credits",
        auth="key",
        body=DepositWish,
        answer=Deposit,
        errors=_STRIPE_ERRORS,
    ),
    Operation(
        method="GET",
        path="/v1/billing/stripe/session",
        family="Money",
        summary="Show a purchase",
        auth="key",
        parameters=(Parameter(name="id", meaning="The id of the purchase.", required=True),),
        answer=JsonObject,
    ),
    Operation(
        method="POST",
        path="/v1/billing/stripe/onboard",
        family="Money",
        summary="Set up payouts",
        auth="session",
        body=OnboardWish,
        answer=Onboarding,
        errors=_STRIPE_ERRORS,
    ),
    Operation(
        method="GET",
        path="/v1/billing/stripe/status",
        family="Money",
        summary="Show whether payouts are set up",
        auth="user",
        parameters=(Parameter(name="refresh", meaning="`1` asks Stripe anew."),),
        answer=PayoutAccount,
        errors=(502,),
    ),
    Operation(
        method="POST",
        path="/v1/billing/stripe/dashboard",
        family="Money",
        summary="Open the page of the payout account",
        auth="session",
        answer=Link,
        errors=_STRIPE_ERRORS,
    ),
    Operation(
        method="DELETE",
        path="/v1/billing/stripe/account",
        family="Money",
        summary="Forget the payout account",
        auth="session",
        answer=Unlinked,
        errors=_STRIPE_ERRORS,
    ),
    Operation(
        method="POST",
        path="/v1/billing/withdraw/stripe",
        family="Money",
        summary="Pay earnings out",
        auth="session",
        parameters=(Parameter(name="Idempotency-Key", meaning="The same key pays once only.", where="header"),),
        body=WithdrawalWish,
        answer=StartedWithdrawal,
        also=(Also(status=202, meaning="Transferred; the payout follows.", kind=StartedWithdrawal),),
        errors=_STRIPE_ERRORS,
    ),
    Operation(
        method="GET",
        path="/v1/billing/stripe/withdrawals",
        family="Money",
        summary="List payouts",
        auth="user",
        parameters=(LIMIT,),
        answer=Withdrawals,
    ),
    Operation(
        method="POST",
        path="/v1/billing/stripe/webhook",
        family="Money",
        summary="Hear of a payment (Stripe calls this)",
        auth="stripe",
        body=JsonObject,
        answer=str,
        answer_media=PLAIN,
        also=(Also(status=400, meaning="The signature does not fit.", kind=str, media=PLAIN),),
    ),
    Operation(
        method="POST",
        path="/v1/billing/stripe/connect/webhook",
        family="Money",
        summary="Hear of a payout (Stripe calls this)",
        auth="stripe",
        body=JsonObject,
        answer=str,
        answer_media=PLAIN,
        also=(Also(status=400, meaning="The signature does not fit.", kind=str, media=PLAIN),),
    ),
)
