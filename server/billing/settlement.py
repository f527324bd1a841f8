"""The relay's settlement: turns the record of a finished request into a charge, or gives its hold back.

Invariant: for every hold that was opened, one settlement or one release takes effect, however often it is tried; a
request without usage is never charged.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from time import perf_counter
from typing import TYPE_CHECKING

import trio

from server.billing.prices import Tokens
from server.billing.settle import Bill, Settled, settle
from server.store.errors import StoreUnavailable

if TYPE_CHECKING:
    from server.billing.hold_desk import Hold, HoldDesk
    from server.billing.observer import BillingObserver
    from server.billing.price_book import PriceBook
    from server.billing.prices import Price, Tariff
    from server.billing.settle import Funding
    from server.billing.usage_totals import UsageTotals
    from server.relay.settlement import BilledUsage, SettlementRecord
    from server.store.engine import Store

log = logging.getLogger("darkbloom.billing")


class LedgerSettlement:
    """Settles into the ledger; implements `server.relay.settlement.Settlement`."""

    def __init__(
        self,
        store: Store,
        desk: HoldDesk,
        prices: PriceBook,
        tariff: Tariff,
        totals: UsageTotals,
        observer: BillingObserver,
        *,
        wall_clock: Callable[[], int],
    ) -> None:
        self._store = store
        self._desk = desk
        self._prices = prices
        self._tariff = tariff
        self._totals = totals
        self._observer = observer
        self._wall_clock = wall_clock

    async def settle(self, record: SettlementRecord) -> None:
        """Charge the request, or release its hold; repeating it changes nothing.

        A database that is away moves the operation to the queue, and this returns. Anything else that goes wrong is
        raised; the hold then stays until it expires. Cancelled, the operation is done or queued all the same.
        """
        hold = self._desk.find(record.coord_request_id)
        if record.usage is None:
            if hold is not None:
                await self._desk.cancel(hold)
            return
        if record.account_id is None:
            log.error("usage_without_account", extra={"coord_request_id": record.coord_request_id})
            return
        attempt = partial(self._attempt, record, record.usage, record.account_id, hold)
        try:
            await attempt()
        except StoreUnavailable:
            self._desk.put_off("settle", record.coord_request_id, attempt)
        except trio.Cancelled:
            self._desk.put_off("settle", record.coord_request_id, attempt)
            raise

    async def _attempt(self, record: SettlementRecord, usage: BilledUsage, account_id: str, hold: Hold | None) -> None:
        try:
            await self._charge(record, usage, account_id, hold)
        except StoreUnavailable:
            raise
        except Exception:
            # It can never be settled: forget it, so that its hold is no longer extended.
            self._desk.forget(record.coord_request_id)
            raise

    async def _charge(self, record: SettlementRecord, usage: BilledUsage, account_id: str, hold: Hold | None) -> None:
        price = hold.price if hold is not None else await self._prices.price(record.build or record.public_model)
        tokens, guessed = billable(usage, delivered_deltas=record.delivered_deltas, max_tokens=record.max_tokens)
        service = hold is not None and hold.request.service
        bill = self._bill(record, account_id, hold, tokens, self._tariff.cost(price, tokens, service=service))
        started = perf_counter()
        # The clock is read inside the transaction: sums of spend rely on usage being no older than its commit.
        result = await self._store.write(lambda tx: settle(tx, bill, self._tariff, self._wall_clock()))
        self._observer.took("settle", perf_counter() - started)
        self._desk.forget(record.coord_request_id)
        if guessed:
            self._observer.zero_usage()
        self._note(bill, result, price)

    def _bill(self, record: SettlementRecord, account_id: str, hold: Hold | None, tokens: Tokens, cost: int) -> Bill:
        serving = hold.serving if hold is not None else None
        usage = record.usage
        return Bill(
            request_id=record.coord_request_id,
            account_id=account_id,
            funding=_funding(hold),
            cost=cost,
            tokens=tokens,
            reasoning_tokens=usage.reasoning_tokens if usage is not None else 0,
            model=record.build or record.public_model,
            public_model=record.public_model,
            # The key that the hold was counted against, so that its cap stays exact.
            key_id=hold.request.key_id if hold is not None else record.key_id or "",
            provider_id=record.provider_id or "",
            provider_key=serving.provider_key if serving is not None else "",
            job_id=record.job_id or "",
            owner=serving.account_id if serving is not None else record.provider_account_id,
            reserved=hold.amount if hold is not None else None,
        )

    def _note(self, bill: Bill, result: Settled, price: Price) -> None:
        if not result.fresh:
            log.info("settled_before", extra={"coord_request_id": bill.request_id})
            return
        if not result.private:
            self._totals.add(bill.tokens.prompt, bill.tokens.completion)
        if result.uncollected and bill.funding == "direct":
            log.error("usage_without_hold", extra={"coord_request_id": bill.request_id})
        self._observer.settled(result, discount=self._saved(price, bill.tokens) if result.cost else 0)

    def _saved(self, price: Price, tokens: Tokens) -> int:
        """What the discount on cached input took off."""
        if tokens.cached <= 0:
            return 0
        whole = self._tariff.wholesale_cost(price, tokens._replace(cached=0))
        return whole - self._tariff.wholesale_cost(price, tokens)


def billable(usage: BilledUsage, *, delivered_deltas: int, max_tokens: int) -> tuple[Tokens, bool]:
    """Tokens to charge for, and whether the completion had to be counted by us.

    Content without a report is charged by the pieces that were relayed, a floor that we can see. A cache report that
    cannot be true is dropped, so that it cannot lower a bill.
    """
    cached = usage.cached_tokens if 0 <= usage.cached_tokens <= usage.prompt_tokens else 0
    guessed = usage.completion_tokens <= 0 and delivered_deltas > 0
    completion = min(delivered_deltas, max_tokens) if guessed else usage.completion_tokens
    return Tokens(usage.prompt_tokens, cached, completion), guessed


def _funding(hold: Hold | None) -> Funding:
    if hold is None or hold.request.exempt == "self":
        return "direct"
    return "covered" if hold.request.exempt == "covered" else "hold"
