"""Stripe itself: the official library with its httpx client on trio, its errors turned into what they prove.

Calls that move money make one attempt each: the library's own retries would hide that an earlier attempt had no clear
outcome, and the answer to the last attempt says nothing about the first.
"""

from __future__ import annotations

from collections.abc import Awaitable, Mapping
from typing import TYPE_CHECKING, Any, Final, TypeVar

import stripe

from server.payments.countries import WEEKLY_ONLY
from server.payments.failures import StripeRejected, StripeUnclear
from server.payments.stripe_http import StripeHttp
from server.payments.stripe_objects import (
    Account,
    CheckoutSession,
    Link,
    Payout,
    Transfer,
    UnreadableObject,
    read_builtins,
)

if TYPE_CHECKING:
    from stripe import RequestOptions
    from stripe.params import AccountCreateParams, AccountUpdateParams
    from stripe.params.checkout import SessionCreateParams

    from protocol.settings import Secret
    from server.payments.stripe_api import CheckoutOrder, NewAccount, TransferOrder

T = TypeVar("T")
S = TypeVar("S", bound=stripe.StripeObject)

NETWORK_RETRIES: Final = 2
_KEY_IN_USE: Final = "idempotency_key_in_use"


class StripeClient:
    """A StripeApi over the network. `api_url` points it at another server that behaves like Stripe."""

    def __init__(
        self,
        key: Secret,
        *,
        api_url: str | None = None,
        http: StripeHttp | None = None,
        network_retries: int = NETWORK_RETRIES,
    ) -> None:
        # The library would send details of this machine along with every call.
        stripe.enable_telemetry = False
        self._http = http or StripeHttp()
        self._client = stripe.StripeClient(
            key.reveal(),
            base_addresses={"api": api_url.rstrip("/")} if api_url is not None else None,
            max_network_retries=network_retries,
            http_client=self._http,
        )

    def __repr__(self) -> str:
        return "<StripeClient>"

    async def aclose(self) -> None:
        """Close the connections."""
        await self._http.close_async()

    async def create_checkout(self, order: CheckoutOrder) -> CheckoutSession:
        """See StripeApi."""
        metadata = dict(order.metadata)
        params: SessionCreateParams = {
            "mode": "payment",
            "allowed_payment_method_types": ["card"],
            "line_items": [
                {
                    "quantity": 1,
                    "price_data": {
                        "currency": "usd",
                        "unit_amount": order.cents,
                        "product_data": {"name": "Inference credits"},
                    },
                }
            ],
            "success_url": order.success_url,
            "cancel_url": order.cancel_url,
            "metadata": metadata,
            "payment_intent_data": {"metadata": metadata},
        }
        if order.email:
            params["customer_email"] = order.email
        options: RequestOptions = {"idempotency_key": f"cs-{order.order_id}"}
        return await _read(self._client.v1.checkout.sessions.create_async(params, options), CheckoutSession)

    async def payment_metadata(self, payment_intent_id: str) -> Mapping[str, str]:
        """See StripeApi."""
        found = await _outcome(self._client.v1.payment_intents.retrieve_async(payment_intent_id))
        metadata: Mapping[str, Any] = found.to_dict().get("metadata") or {}
        return {name: value for name, value in metadata.items() if isinstance(value, str)}

    async def create_account(self, new: NewAccount) -> Account:
        """See StripeApi."""
        params: AccountCreateParams = {
            "type": "express",
            "country": new.country,
            "business_type": "individual",
            "capabilities": {"transfers": {"requested": True}},
            "settings": {"payouts": {"schedule": _schedule(new.country)}},
            "metadata": {"app": "darkbloom", "account_id": new.account_id},
        }
        if new.email:
            params["email"] = new.email
        if new.agreement == "recipient":
            params["tos_acceptance"] = {"service_agreement": "recipient"}
        else:
            params["capabilities"] = {"transfers": {"requested": True}, "card_payments": {"requested": True}}
        options: RequestOptions = {"idempotency_key": f"acct-{new.account_id}-{new.nonce}"}
        return await _read(self._client.v1.accounts.create_async(params, options), Account)

    async def account(self, stripe_account_id: str) -> Account:
        """See StripeApi."""
        found = await _read(self._client.v1.accounts.retrieve_async(stripe_account_id), Account)
        if found.deleted:
            raise StripeRejected(404, "account_invalid")
        return found

    async def set_automatic_payouts(self, stripe_account_id: str, country: str) -> None:
        """See StripeApi."""
        params: AccountUpdateParams = {"settings": {"payouts": {"schedule": _schedule(country)}}}
        await _outcome(self._client.v1.accounts.update_async(stripe_account_id, params))

    async def onboarding_url(self, stripe_account_id: str, *, return_url: str, refresh_url: str) -> str:
        """See StripeApi."""
        call = self._client.v1.account_links.create_async(
            {
                "account": stripe_account_id,
                "type": "account_onboarding",
                "collection_options": {"fields": "eventually_due"},
                "return_url": return_url,
                "refresh_url": refresh_url,
            }
        )
        return (await _read(call, Link)).url

    async def dashboard_url(self, stripe_account_id: str) -> str:
        """See StripeApi."""
        return (await _read(self._client.v1.accounts.login_links.create_async(stripe_account_id), Link)).url

    async def create_transfer(self, order: TransferOrder) -> Transfer:
        """See StripeApi."""
        call = self._client.v1.transfers.create_async(
            {
                "amount": order.cents,
                "currency": "usd",
                "destination": order.stripe_account_id,
                "transfer_group": order.withdrawal_id,
                "metadata": {"app": "darkbloom", "withdrawal_id": order.withdrawal_id},
            },
            {"idempotency_key": f"wd-tr-{order.withdrawal_id}", "max_network_retries": 0},
        )
        return await _read(call, Transfer)

    async def create_instant_payout(self, order: TransferOrder) -> Payout:
        """See StripeApi."""
        call = self._client.v1.payouts.create_async(
            {
                "amount": order.cents,
                "currency": "usd",
                "method": "instant",
                "metadata": {"app": "darkbloom", "withdrawal_id": order.withdrawal_id},
            },
            {
                "idempotency_key": f"wd-po-{order.withdrawal_id}",
                "max_network_retries": 0,
                "stripe_account": order.stripe_account_id,
            },
        )
        return await _read(call, Payout)

    async def payout(self, stripe_account_id: str, payout_id: str) -> Payout:
        """See StripeApi."""
        return await _read(
            self._client.v1.payouts.retrieve_async(payout_id, options={"stripe_account": stripe_account_id}), Payout
        )


def _schedule(country: str) -> Any:
    """The payout schedule of a country; `Any` because creation and update type the same value apart."""
    if country in WEEKLY_ONLY:
        return {"interval": "weekly", "weekly_anchor": "monday"}
    return {"interval": "daily"}


async def _read(call: Awaitable[S], kind: type[T]) -> T:
    answer = await _outcome(call)
    try:
        return read_builtins(answer.to_dict(), kind)
    except UnreadableObject:
        raise StripeUnclear("unreadable answer") from None


async def _outcome(call: Awaitable[S]) -> S:
    """Await a call; the library's errors stop here, because they carry Stripe's answer."""
    try:
        return await call
    except stripe.StripeError as error:
        failure = _failure(error)
    raise failure


def _failure(error: stripe.StripeError) -> StripeRejected | StripeUnclear:
    status, code = error.http_status or 0, _code(error)
    if status == 0:
        return StripeUnclear("no answer")
    if code == _KEY_IN_USE or status == 409:
        return StripeUnclear("the key is in use")
    if isinstance(error, stripe.IdempotencyError):
        # An earlier call had this key and other parameters: what that one did is not known here.
        return StripeUnclear("the key was used for other parameters")
    if 400 <= status < 500 and error.error is not None:
        # Without Stripe's own error in it, the answer may come from something in between.
        return StripeRejected(status, code)
    return StripeUnclear(f"status {status}")


def _code(error: stripe.StripeError) -> str:
    """Return the error code; some error classes of the library leave theirs empty."""
    body = error.json_body
    if not isinstance(body, dict) or not isinstance(body.get("error"), dict):
        return error.code or ""
    return str(body["error"].get("code") or error.code or "")[:100]
