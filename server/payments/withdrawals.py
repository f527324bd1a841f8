"""Paying earnings out: the checks, one transaction that takes the money, then the steps at Stripe.

Invariant: money leaves the account in the same transaction that writes the pending row, before Stripe is asked to move
any; one Idempotency-Key makes at most one row. A caller who leaves does not stop a withdrawal that has begun.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import trio

from server.accounts.suspension import account_suspended, is_suspended
from server.billing.ledger import read_balance
from server.payments import refusals
from server.payments.account_status import view_of
from server.payments.fees import Method, quote_withdrawal
from server.payments.withdrawal_answers import WithdrawalAnswer, answer_for
from server.payments.withdrawal_money import debit
from server.payments.withdrawal_rows import (
    Withdrawal,
    find_by_key,
    insert_withdrawal,
    list_withdrawals,
    read_withdrawal,
)
from server.store.errors import InsufficientBalance, StoreUnavailable

if TYPE_CHECKING:
    from server.payments.first_withdrawals import FirstWithdrawals
    from server.payments.payee_accounts import PayeeAccounts
    from server.payments.withdrawal_steps import WithdrawalSteps
    from server.store import Store, Tx

STRIPE_SECONDS: Final = 60
"""How long the steps at Stripe may take before the reconciler takes over."""


class Withdrawals:
    """Withdrawals of callers. `clock` gives microseconds."""

    def __init__(
        self,
        *,
        store: Store,
        accounts: PayeeAccounts,
        steps: WithdrawalSteps,
        reviews: FirstWithdrawals,
        clock: Callable[[], int],
    ) -> None:
        self._store = store
        self._reviews = reviews
        self._accounts = accounts
        self._steps = steps
        self._clock = clock
        self._running: dict[tuple[str, str], trio.Event] = {}

    async def withdraw(
        self, account_id: str, *, gross_micro_usd: int, method: Method, idempotency_key: str = ""
    ) -> WithdrawalAnswer:
        """Pay out; raises ApiError for every refusal and for an outcome in doubt.

        A repeated key gets the answer of its first request, which it awaits if that is still at work.
        """
        if not idempotency_key:
            return await self._begin(account_id, gross_micro_usd, method, "")
        slot = (account_id, idempotency_key)
        while (running := self._running.get(slot)) is not None:
            await running.wait()
        self._running[slot] = trio.Event()
        try:
            earlier = await self._store.read(lambda tx: find_by_key(tx, account_id, idempotency_key))
            if earlier is not None:
                return await self._repeat(earlier, gross_micro_usd, method)
            return await self._begin(account_id, gross_micro_usd, method, idempotency_key)
        finally:
            self._running.pop(slot).set()

    async def newest(self, account_id: str, limit: int) -> list[Withdrawal]:
        """Return an account's newest withdrawals."""
        return await self._store.read(lambda tx: list_withdrawals(tx, account_id, limit))

    async def _begin(self, account_id: str, gross_micro_usd: int, method: Method, key: str) -> WithdrawalAnswer:
        quote = quote_withdrawal(gross_micro_usd, method)
        if quote is None:
            raise refusals.below_minimum()
        payee = await self._accounts.payee(account_id)
        account = await self._accounts.ready_account(payee)
        if method == "instant" and not view_of(account).instant_eligible:
            raise refusals.instant_unavailable()
        if not await self._reviews.lets_pass(account_id):
            raise refusals.under_review()
        withdrawal_id = str(uuid.uuid4())

        async def take(tx: Tx) -> bool:
            now = self._clock()
            if await is_suspended(tx, account_id):
                raise account_suspended()
            mine = await insert_withdrawal(
                tx,
                withdrawal_id=withdrawal_id,
                account_id=account_id,
                idempotency_key=key,
                stripe_account_id=account.id,
                quote=quote,
                now=now,
            )
            if mine:
                await debit(tx, withdrawal_id, account_id, quote, now)
            return mine

        mine: bool | None = None
        # From here on the caller's leaving must not cut the way of the money.
        with trio.CancelScope(shield=True, deadline=trio.current_time() + STRIPE_SECONDS):
            try:
                mine = await self._store.write(take)
            except InsufficientBalance:
                raise refusals.insufficient_withdrawable() from None
            except StoreUnavailable:
                # The money may be on its way all the same: nobody must be told to try again.
                raise refusals.outcome_unconfirmed() from None
            if mine:
                await self._perform(withdrawal_id, method)
        if mine is None:
            raise refusals.outcome_unconfirmed()
        if not mine:
            # Another process has the key; its row says how far it is.
            earlier = await self._store.read(lambda tx: find_by_key(tx, account_id, key))
            assert earlier is not None
            return await self._repeat(earlier, gross_micro_usd, method)
        return await self._answer(await self._read(withdrawal_id))

    async def _perform(self, withdrawal_id: str, method: Method) -> None:
        """Take the steps at Stripe; what fails here is taken up by the reconciler."""
        try:
            row = await self._read(withdrawal_id)
            if await self._steps.transfer(row, doubt=False) and method == "instant":
                await self._steps.instant_payout(row, doubt=False)
        except StoreUnavailable:
            raise refusals.outcome_unconfirmed() from None

    async def _repeat(self, row: Withdrawal, gross_micro_usd: int, method: Method) -> WithdrawalAnswer:
        if (row.amount_micro_usd, row.method) != (gross_micro_usd, method):
            raise refusals.key_conflict()
        return await self._answer(row)

    async def _answer(self, row: Withdrawal) -> WithdrawalAnswer:
        balance = await self._store.read(lambda tx: read_balance(tx, row.account_id))
        return answer_for(row, balance.free)

    async def _read(self, withdrawal_id: str) -> Withdrawal:
        row = await self._store.read(lambda tx: read_withdrawal(tx, withdrawal_id))
        assert row is not None
        return row
