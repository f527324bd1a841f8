"""The limits of authenticated callers: requests, tokens, and money-moving calls.

Invariant: a refused request takes nothing from any bucket: all buckets are asked first, then all are charged, with no
checkpoint in between.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Final, NamedTuple

from server.limits.answer_headers import Header, limit_headers, reset_header, token_headers
from server.limits.bucket import Rate, TokenBucket
from server.limits.rejection import Dimension, RateLimited, Tier
from server.limits.table import BucketTable
from server.limits.tiers import TierRates, TokenRates, estimated_output

if TYPE_CHECKING:
    from server.limits.caller import LimitedCaller

OnRejected = Callable[[Tier, Dimension], None]
_HEADER_NAMES: Final[dict[Dimension, str]] = {"input_tokens": "input-tokens", "output_tokens": "output-tokens"}


_minute_rate = lru_cache(maxsize=4096)(Rate.per_minute)


class _Charge(NamedTuple):
    """One bucket that a request touches, and by how much; `shown` buckets appear in the headers."""

    tier: Tier
    dimension: Dimension
    bucket: TokenBucket
    amount: float
    shown: bool


@dataclass(frozen=True, slots=True)
class Admission:
    """An admitted request: the headers of its answer, and the output buckets that `reconcile` sets right."""

    headers: tuple[Header, ...] = ()
    output: tuple[TokenBucket, ...] = ()
    charged_output: int = 0


_UNLIMITED: Final = Admission()


class RequestLimiter:
    """One per process. `clock` is monotonic seconds; `wall_clock` Unix seconds for the reset header."""

    def __init__(
        self,
        rates: TierRates,
        *,
        clock: Callable[[], float],
        wall_clock: Callable[[], float],
        on_rejected: OnRejected | None = None,
    ) -> None:
        self._rates = rates
        self._clock = clock
        self._wall_clock = wall_clock
        self._on_rejected = on_rejected
        self._requests = BucketTable()
        self._tokens = BucketTable()
        self._financial = BucketTable()

    def request(self, caller: LimitedCaller) -> Admission:
        """Admit one inference request, before its body is looked at; raises RateLimited."""
        if caller.unlimited or not caller.account_id:
            return _UNLIMITED
        now = self._clock()
        charges = list(self._request_charges(caller, now))
        self._commit(charges, now)
        return Admission(tuple(header for one in charges if one.shown for header in limit_headers(one.bucket, now)))

    def tokens(self, caller: LimitedCaller, *, prompt: int, output_bound: int) -> Admission:
        """Charge the estimated prompt and the bounded output of a request (a partner's may be estimated, too).

        Raises RateLimited. Keep the admission and pass it to `reconcile` once the real output is known.
        """
        if caller.unlimited or not caller.account_id:
            return _UNLIMITED
        now = self._clock()
        estimates = caller.is_service and self._rates.service_estimate
        charged = estimated_output(output_bound) if estimates else output_bound
        charges = list(self._token_charges(caller, prompt, charged, now))
        self._commit(charges, now)
        output = tuple(one.bucket for one in charges if one.dimension == "output_tokens")
        return Admission(_token_headers([one for one in charges if one.shown], now), output, charged)

    def reconcile(self, admission: Admission, *, produced: int) -> None:
        """Replace what was charged by what was produced; 0 for a request that was released."""
        now = self._clock()
        for bucket in admission.output:
            charged = min(admission.charged_output, bucket.rate.burst)
            if produced < charged:
                bucket.credit(charged - produced, now)
            else:
                bucket.debit(produced - charged, now)

    def financial(self, caller: LimitedCaller) -> Admission:
        """Admit one call that moves money or makes credentials; raises RateLimited."""
        rate = self._rates.financial
        if caller.unlimited or not caller.account_id or not rate.limited:
            return _UNLIMITED
        now = self._clock()
        bucket = self._financial.get(caller.account_id, rate, now)
        self._commit([_Charge("financial", "requests", bucket, 1, shown=True)], now)
        return Admission(limit_headers(bucket, now))

    def _request_charges(self, caller: LimitedCaller, now: float) -> list[_Charge]:
        charges = []
        own = _minute_rate(caller.rpm_limit or 0)
        if own.limited and caller.key_id:
            charges.append(
                _Charge("key", "requests", self._requests.get(f"k:{caller.key_id}", own, now), 1, shown=True)
            )
        tier: Tier = "service" if caller.is_service else "consumer"
        rate = self._rates.service if caller.is_service else self._rates.consumer
        if rate.limited:
            bucket = self._requests.get(f"a:{caller.account_id}", rate, now)
            charges.append(_Charge(tier, "requests", bucket, 1, shown=True))
        return _show_tightest(charges, now)

    def _token_charges(self, caller: LimitedCaller, prompt: int, output: int, now: float) -> list[_Charge]:
        tier: Tier = "service" if caller.is_service else "consumer"
        account = self._rates.service_tokens if caller.is_service else self._rates.consumer_tokens
        own = TokenRates(_minute_rate(caller.itpm_limit or 0), _minute_rate(caller.otpm_limit or 0))
        wanted: tuple[tuple[Dimension, Rate, Rate, int], ...] = (
            ("input_tokens", own.input, account.input, prompt),
            ("output_tokens", own.output, account.output, output),
        )
        found: list[_Charge] = []
        for dimension, key_rate, rate, amount in wanted:
            charges = []
            if key_rate.limited and caller.key_id:
                bucket = self._tokens.get(f"k:{dimension}:{caller.key_id}", key_rate, now)
                charges.append(_Charge("key", dimension, bucket, min(amount, key_rate.burst), shown=True))
            if rate.limited:
                bucket = self._tokens.get(f"a:{dimension}:{caller.account_id}", rate, now)
                charges.append(_Charge(tier, dimension, bucket, min(amount, rate.burst), shown=True))
            found += _show_tightest(charges, now)
        return found

    def _commit(self, charges: list[_Charge], now: float) -> None:
        """Take everything, or nothing; the key's buckets come first in `charges`."""
        for one in charges:
            if not one.bucket.has(one.amount, now):
                raise self._refusal(one, charges, now)
        for one in charges:
            one.bucket.debit(one.amount, now)

    def _refusal(self, one: _Charge, charges: list[_Charge], now: float) -> RateLimited:
        if self._on_rejected is not None:
            self._on_rejected(one.tier, one.dimension)
        wait = one.bucket.retry_after(one.amount, now)
        if one.dimension == "requests":
            extra = (reset_header(wait, self._wall_clock()), *limit_headers(one.bucket, now))
        else:
            # In its own dimension the bucket that refused is the one to show.
            shown = [other for other in charges if other is one or (other.shown and other.dimension != one.dimension)]
            extra = _token_headers(shown, now)
        return RateLimited(one.tier, one.dimension, retry_after_seconds=wait, extra=extra)


def _token_headers(charges: list[_Charge], now: float) -> tuple[Header, ...]:
    return tuple(header for one in charges for header in token_headers(_HEADER_NAMES[one.dimension], one.bucket, now))


def _show_tightest(charges: list[_Charge], now: float) -> list[_Charge]:
    """Mark the bucket with the least left of one dimension: that is what the caller will meet first."""
    if len(charges) < 2:
        return charges
    tightest = min(range(len(charges)), key=lambda index: charges[index].bucket.level(now))
    return [one._replace(shown=index == tightest) for index, one in enumerate(charges)]
