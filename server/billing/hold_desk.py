"""Takes, adjusts and gives back the holds of running requests, and remembers what each was promised.

Invariant: a hold is in `open` from before its transaction until its request is settled or released; the price that a
request pays is the one that was looked up for its last dispatch, whatever happens to the price list afterwards.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Generator, Iterable
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from time import perf_counter
from typing import TYPE_CHECKING, Final, Literal, NamedTuple, TypeAlias

import msgspec
import trio

from protocol.api.errors import ApiError, internal_error
from server.billing import holds
from server.billing.key_spend import SpendCache
from server.billing.refusals import insufficient_funds, spend_cap_reached, store_unavailable
from server.store.errors import CapExceeded, InsufficientBalance, NotFound, StoreError, StoreUnavailable

if TYPE_CHECKING:
    from server.billing.key_spend import KeyCap, SpentBefore
    from server.billing.observer import BillingObserver
    from server.billing.price_book import PriceBook
    from server.billing.prices import Price, Tariff
    from server.billing.retry_queue import RetryQueue
    from server.store.engine import Store

log = logging.getLogger("darkbloom.billing")

Exemption: TypeAlias = Literal["none", "covered", "self"]
"""Why a request takes no hold: the platform pays for the account, or it may only run on the caller's own machines."""

RESERVATION_SECONDS: Final = 900.0
_MICROSECONDS: Final = 1_000_000


class HoldRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A checked request. `prompt_tokens` is the larger of the billing bound and the routing estimate."""

    request_id: str
    account_id: str
    model: str
    prompt_tokens: int
    max_tokens: int
    key_id: str = ""
    key_cap: KeyCap | None = None
    service: bool = False
    exempt: Exemption = "none"


class Serving(msgspec.Struct, frozen=True, kw_only=True):
    """The machine that a request is dispatched to: its owner (None: not linked), its public key, the build it runs."""

    account_id: str | None
    provider_key: str
    model: str


@dataclass(slots=True)
class Hold:
    """An open hold. `amount` is what is reserved now, `base` what was reserved at admission, both micro-USD."""

    request: HoldRequest
    price: Price
    base: int
    opened_at: int
    expires_at: int
    amount: int = field(init=False)
    serving: Serving | None = None

    def __post_init__(self) -> None:
        self.amount = self.base

    @property
    def request_id(self) -> str:
        """The id under which money is moved."""
        return self.request.request_id

    @property
    def durable(self) -> bool:
        """Whether there is a reservation row."""
        return self.request.exempt == "none"


class OpenHolds(NamedTuple):
    """How many, micro-USD, seconds."""

    number: int
    amount: int
    oldest_seconds: float


class HoldDesk:
    """The holds of this process. Errors of the store that a caller may see come out as ApiError."""

    def __init__(
        self,
        store: Store,
        prices: PriceBook,
        tariff: Tariff,
        queue: RetryQueue,
        observer: BillingObserver,
        *,
        wall_clock: Callable[[], int],
        instance_id: str,
        reservation_seconds: float = RESERVATION_SECONDS,
    ) -> None:
        self._store = store
        self._prices = prices
        self._tariff = tariff
        self._queue = queue
        self._observer = observer
        self._wall_clock = wall_clock
        self._instance_id = instance_id
        self._lifetime = int(reservation_seconds * _MICROSECONDS)
        self._spend = SpendCache(store)
        self._open: dict[str, Hold] = {}

    @property
    def open(self) -> Iterable[Hold]:
        """The holds whose requests are neither settled nor released."""
        return self._open.values()

    def gauge(self) -> OpenHolds:
        """How many holds are open, what they reserve, and the age of the oldest; for metrics."""
        open_ = [hold for hold in self._open.values() if hold.durable]
        oldest = min((hold.opened_at for hold in open_), default=None)
        age = 0.0 if oldest is None else (self._wall_clock() - oldest) / _MICROSECONDS
        return OpenHolds(len(open_), sum(hold.amount for hold in open_), age)

    def find(self, request_id: str) -> Hold | None:
        """The open hold of a request."""
        return self._open.get(request_id)

    def forget(self, request_id: str) -> None:
        """The request is settled or released."""
        self._open.pop(request_id, None)

    def put_off(self, name: str, request_id: str, work: Callable[[], Awaitable[None]]) -> None:
        """Leave an operation to the queue; one that finds no place there leaves the hold to expire."""
        if not self._queue.put(name, request_id, work):
            self.forget(request_id)

    async def open_hold(self, request: HoldRequest) -> Hold:
        """Reserve what the request may cost at most; call it once per request, before routing.

        Raises ApiError 402 (spend cap, balance), 503 (database away). Cancelled, it leaves no hold behind.
        """
        try:
            # What is free needs no price; the fallback keeps a foreign machine from being free, should one serve it.
            price = self._tariff.fallback if request.exempt == "self" else await self._prices.price(request.model)
        except StoreUnavailable:
            self._observer.hold_taken("unavailable", 0)
            raise store_unavailable() from None
        amount = self._reservation(request, price)
        now = self._wall_clock()
        hold = Hold(request, price, amount, now, now + self._lifetime)
        if not hold.durable:
            self._observer.hold_taken("exempt", amount)
            self._open[request.request_id] = hold
            return hold
        if request.request_id in self._open:
            raise internal_error()
        self._open[request.request_id] = hold
        try:
            await self._take(hold, now)
        except BaseException as error:
            if isinstance(error, ApiError) and error.status != 503:
                self.forget(request.request_id)
            else:
                # The transaction may have been committed all the same: after a cancellation, or a lost answer.
                self.put_off("release", hold.request_id, partial(self._give_back, hold, "cancelled"))
            raise
        return hold

    async def grow(self, hold: Hold, prompt_tokens: int) -> None:
        """Raise what was reserved at admission, because the prompt turned out larger (media that was fetched).

        Raises ApiError as `open_hold`; the hold is then as it was.
        """
        total = self._tariff.reservation(hold.price, prompt_tokens=prompt_tokens, max_tokens=hold.request.max_tokens)
        if total <= hold.base:
            return
        if hold.durable:
            with self._refusals(max(total, hold.amount)):
                await self._resize(hold, max(total, hold.amount))
        hold.base = total
        hold.request = msgspec.structs.replace(hold.request, prompt_tokens=prompt_tokens)

    async def raise_for_provider(self, hold: Hold, serving: Serving) -> bool:
        """Fix price and machine for a dispatch; call it before each one, once the provider is chosen.

        The hold grows if this provider's price wants more, and shrinks back if it wants less. False: the balance or the
        key's cap does not carry this provider's price; exclude it and choose another. Raises ApiError 503.
        """
        promise = await self._promise(hold, serving, at_least=hold.base)
        if promise is None:
            return False
        promise()
        return True

    async def carry_as_well(self, hold: Hold, serving: Serving) -> Callable[[], None] | None:
        """Make the hold carry a second machine beside the one that was fixed: the dearer one counts, not their sum.

        The result fixes price and machine as `raise_for_provider` does; until it is called nothing but the amount has
        changed. None: the money does not carry it. Raises ApiError 503.
        """
        return await self._promise(hold, serving, at_least=hold.amount)

    async def _promise(self, hold: Hold, serving: Serving, *, at_least: int) -> Callable[[], None] | None:
        request, price = hold.request, hold.price
        own = serving.account_id == request.account_id
        try:
            if not own:
                price = await self._prices.price(serving.model, None if request.service else serving.account_id)
            if hold.durable:
                wanted = hold.base if own else self._reservation(request, price)
                await self._resize(hold, max(at_least, wanted))
        except (CapExceeded, InsufficientBalance):
            self._observer.hold_taken("provider_price", hold.amount)
            return None
        except NotFound:
            raise internal_error() from None
        except StoreUnavailable:
            raise store_unavailable() from None

        def fix() -> None:
            hold.price, hold.serving = price, serving

        return fix

    async def lower(self, hold: Hold) -> None:
        """Bring the hold back to what was reserved at admission; a database that is away leaves it as it is."""
        if not hold.durable:
            return
        try:
            await self._resize(hold, hold.base)
        except (NotFound, StoreUnavailable):
            return

    async def cancel(self, hold: Hold) -> None:
        """Give the hold back: nothing is charged. What a database that is away cannot do now is done later."""
        give_back = partial(self._give_back, hold, "unused")
        try:
            await give_back()
        except StoreUnavailable:
            self.put_off("release", hold.request_id, give_back)
        except trio.Cancelled:
            self.put_off("release", hold.request_id, give_back)
            raise

    def _reservation(self, request: HoldRequest, price: Price) -> int:
        return self._tariff.reservation(price, prompt_tokens=request.prompt_tokens, max_tokens=request.max_tokens)

    async def _take(self, hold: Hold, now: int) -> None:
        request = hold.request
        with self._refusals(hold.base):
            before = await self._spent_before(request, now)
            started = perf_counter()
            await self._store.write(
                lambda tx: holds.hold(
                    tx,
                    request_id=request.request_id,
                    account_id=request.account_id,
                    amount=hold.base,
                    now=now,
                    expires_at=hold.expires_at,
                    key_id=request.key_id,
                    cap=request.key_cap,
                    before=before,
                    model=request.model,
                    instance_id=self._instance_id,
                )
            )
        self._observer.took("hold", perf_counter() - started)
        self._observer.hold_taken("held", hold.base)

    @contextmanager
    def _refusals(self, amount: int) -> Generator[None]:
        """Turn what the store says about a hold of this amount into the answers of the API."""
        try:
            yield
        except CapExceeded as error:
            self._observer.hold_taken("spend_cap", amount)
            raise spend_cap_reached(error, amount) from None
        except InsufficientBalance:
            self._observer.hold_taken("insufficient_funds", amount)
            raise insufficient_funds(amount) from None
        except StoreUnavailable:
            self._observer.hold_taken("unavailable", amount)
            raise store_unavailable() from None
        except StoreError as error:
            log.error("hold_failed", extra={"kind": type(error).__name__})
            raise internal_error() from None

    async def _spent_before(self, request: HoldRequest, now: int) -> SpentBefore | None:
        if request.key_cap is None or not request.key_id:
            return None
        return await self._spend.before(request.key_id, request.key_cap.window, now)

    async def _resize(self, hold: Hold, total: int) -> None:
        now = self._wall_clock()
        if total == hold.amount:
            return
        started = perf_counter()
        if total > hold.amount:
            before = await self._spent_before(hold.request, now)
            await self._store.write(
                lambda tx: holds.raise_hold(tx, hold.request_id, total, now, cap=hold.request.key_cap, before=before)
            )
        else:
            await self._store.write(lambda tx: holds.lower_hold(tx, hold.request_id, total, now))
        self._observer.took("resize", perf_counter() - started)
        hold.amount = total

    async def _give_back(self, hold: Hold, reason: holds.ReleaseReason) -> None:
        try:
            await self._release(hold, reason)
        except StoreUnavailable:
            raise
        except Exception:
            # It cannot be released by us: forget it, so that it is no longer extended.
            self.forget(hold.request_id)
            raise

    async def _release(self, hold: Hold, reason: holds.ReleaseReason) -> None:
        if hold.durable:
            now, started = self._wall_clock(), perf_counter()
            if await self._store.write(lambda tx: holds.release(tx, hold.request_id, reason, now)):
                self._observer.hold_released(hold.amount, reason)
            self._observer.took("release", perf_counter() - started)
        self.forget(hold.request_id)
