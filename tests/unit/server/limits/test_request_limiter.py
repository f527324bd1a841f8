"""Limits of authenticated callers: tiers, per-key overrides, all-or-nothing charges, headers, reconciliation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from server.accounts import Identity
from server.limits import Rate, RateLimited, RequestLimiter, TierRates, TokenRates

WALL = 1_780_000_000.0


@dataclass
class Clock:
    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


def caller(account: str = "a", key: str = "key_1", **limits: object) -> Identity:
    return Identity(account_id=account, key_id=key, **limits)  # type: ignore[arg-type]


def limiter(rates: TierRates | None = None, clock: Clock | None = None) -> RequestLimiter:
    return RequestLimiter(rates or TierRates(), clock=clock or Clock(), wall_clock=lambda: WALL)


def refusal(call: Callable[[], object]) -> RateLimited:
    with pytest.raises(RateLimited) as caught:
        call()
    return caught.value


def test_first_request_of_a_consumer() -> None:
    headers = dict(limiter().request(caller()).headers)
    assert headers == {
        "x-ratelimit-limit-requests": "1200",
        "x-ratelimit-remaining-requests": "119",
        "x-ratelimit-reset-requests": "1s",
    }


def test_burst_of_a_consumer_is_120_and_then_20_a_second() -> None:
    clock = Clock()
    limits = limiter(clock=clock)
    for _ in range(120):
        limits.request(caller())
    assert refusal(lambda: limits.request(caller())).tier == "consumer"
    clock.now += 1
    for _ in range(20):
        limits.request(caller())
    refusal(lambda: limits.request(caller()))


def test_fourth_financial_call_is_refused_with_its_headers() -> None:
    limits = limiter()
    for _ in range(3):
        limits.financial(caller())
    error = refusal(lambda: limits.financial(caller()))
    headers = dict(error.headers())
    assert error.status == 429
    assert error.code == "rate_limit_exceeded"
    assert headers["Retry-After"] == "5"
    assert headers["X-RateLimit-Reset"] == str(int(WALL) + 5)
    assert headers["x-ratelimit-limit-requests"] == "12"
    assert headers["x-ratelimit-remaining-requests"] == "0"


def test_financial_calls_are_the_same_for_every_role() -> None:
    limits = limiter()
    service = caller(role="service")
    for _ in range(3):
        limits.financial(service)
    refusal(lambda: limits.financial(service))


def test_key_with_60_a_minute_passes_60_and_refuses_the_next() -> None:
    limits = limiter()
    for _ in range(60):
        limits.request(caller(rpm_limit=60))
    error = refusal(lambda: limits.request(caller(rpm_limit=60)))
    assert (error.tier, error.dimension) == ("key", "requests")
    assert dict(error.headers())["x-ratelimit-limit-requests"] == "60"


def test_a_refusal_of_the_key_takes_nothing_from_the_account() -> None:
    limits = limiter(TierRates(consumer=Rate(1, 3)))
    limits.request(caller(rpm_limit=1))
    refusal(lambda: limits.request(caller(rpm_limit=1)))
    limits.request(caller(key="key_2"))
    limits.request(caller(key="key_2"))
    refusal(lambda: limits.request(caller(key="key_2")))


def test_a_refusal_of_the_account_takes_nothing_from_the_key() -> None:
    clock = Clock()
    limits = limiter(TierRates(consumer=Rate(1, 1)), clock)
    limits.request(caller(rpm_limit=2))
    refusal(lambda: limits.request(caller(rpm_limit=2)))
    clock.now += 1
    limits.request(caller(rpm_limit=2))


@pytest.mark.parametrize("override", [None, 0])
def test_no_override_inherits(override: int | None) -> None:
    headers = dict(limiter().request(caller(rpm_limit=override)).headers)
    assert headers["x-ratelimit-limit-requests"] == "1200"


def test_services_have_rates_of_their_own_and_zero_means_none() -> None:
    service = caller(role="service")
    assert dict(limiter().request(service).headers)["x-ratelimit-limit-requests"] == "12000"
    free = limiter(TierRates(service=Rate(0, 1)))
    for _ in range(2000):
        assert free.request(service).headers == ()


@pytest.mark.parametrize("who", [caller(unlimited=True), caller(account="")])
def test_the_unlimited_and_the_nameless_are_never_limited(who: Identity) -> None:
    limits = limiter(TierRates(consumer=Rate(0.001, 1), financial=Rate(0.001, 1)))
    for _ in range(10):
        assert limits.request(who).headers == ()
        assert limits.financial(who).headers == ()
        assert limits.tokens(who, prompt=10**9, output_bound=10**9).headers == ()


def test_accounts_do_not_share() -> None:
    limits = limiter(TierRates(consumer=Rate(1, 1)))
    limits.request(caller("a", "key_1"))
    limits.request(caller("b", "key_2"))
    refusal(lambda: limits.request(caller("a", "key_3")))


def test_both_token_triples_are_shown() -> None:
    headers = dict(limiter().tokens(caller(), prompt=1000, output_bound=4000).headers)
    assert headers == {
        "x-ratelimit-limit-input-tokens": "5000000",
        "x-ratelimit-remaining-input-tokens": "999000",
        "x-ratelimit-reset-input-tokens": "1s",
        "x-ratelimit-limit-output-tokens": "500000",
        "x-ratelimit-remaining-output-tokens": "60000",
        "x-ratelimit-reset-output-tokens": "1s",
    }


def test_a_refusal_on_output_leaves_the_input_untouched() -> None:
    limits = limiter()
    limits.tokens(caller(), prompt=0, output_bound=64_000)
    for _ in range(5):
        error = refusal(lambda: limits.tokens(caller(), prompt=400_000, output_bound=8192))
        assert (error.tier, error.dimension) == ("consumer", "output_tokens")
    headers = dict(error.headers())
    assert headers["x-ratelimit-remaining-input-tokens"] == "1000000"
    assert headers["x-ratelimit-remaining-output-tokens"] == "0"
    assert int(headers["Retry-After"]) == 1
    assert "X-RateLimit-Reset" not in headers


def test_a_refusal_on_the_key_leaves_the_account_untouched() -> None:
    limits = limiter()
    refused = caller(otpm_limit=100)
    limits.tokens(refused, prompt=0, output_bound=100)
    assert refusal(lambda: limits.tokens(refused, prompt=5, output_bound=1)).tier == "key"
    headers = dict(limits.tokens(caller(key="key_2"), prompt=0, output_bound=1).headers)
    assert headers["x-ratelimit-remaining-output-tokens"] == str(64_000 - 100 - 1)


def test_a_request_larger_than_the_burst_is_charged_the_burst() -> None:
    clock = Clock()
    limits = limiter(clock=clock)
    admission = limits.tokens(caller(), prompt=10**9, output_bound=10**9)
    assert dict(admission.headers)["x-ratelimit-remaining-output-tokens"] == "0"
    refusal(lambda: limits.tokens(caller(), prompt=1, output_bound=1))


@pytest.mark.parametrize(("produced", "left"), [(0, 64_000), (500, 63_500), (4000, 60_000), (9000, 55_000)])
def test_the_output_bucket_is_set_right_afterwards(produced: int, left: int) -> None:
    limits = limiter()
    admission = limits.tokens(caller(), prompt=0, output_bound=4000)
    limits.reconcile(admission, produced=produced)
    headers = dict(limits.tokens(caller(), prompt=0, output_bound=0).headers)
    assert headers["x-ratelimit-remaining-output-tokens"] == str(left)


def test_reconciling_a_clamped_charge_uses_what_was_really_taken() -> None:
    limits = limiter(TierRates(consumer_tokens=TokenRates(Rate(0, 1), Rate(1, 100))))
    admission = limits.tokens(caller(), prompt=0, output_bound=1000)
    limits.reconcile(admission, produced=30)
    headers = dict(limits.tokens(caller(), prompt=0, output_bound=0).headers)
    assert headers["x-ratelimit-remaining-output-tokens"] == "70"


def test_more_than_the_bound_is_debited_from_key_and_account() -> None:
    limits = limiter()
    who = caller(otpm_limit=1000)
    limits.reconcile(limits.tokens(who, prompt=0, output_bound=100), produced=1500)
    assert refusal(lambda: limits.tokens(who, prompt=0, output_bound=1)).tier == "key"


@pytest.mark.parametrize(
    ("bound", "charge"),
    [(100, 100), (512, 512), (600, 512), (2048, 512), (4000, 1000), (32_768, 8192), (10**6, 8192), (0, 0)],
)
def test_a_partners_output_is_estimated_where_that_is_switched_on(bound: int, charge: int) -> None:
    limits = limiter(TierRates(service_estimate=True))
    partner = caller(role="service")
    admission = limits.tokens(partner, prompt=0, output_bound=bound)
    assert dict(admission.headers)["x-ratelimit-remaining-output-tokens"] == str(512_000 - charge)
    limits.reconcile(admission, produced=bound)
    headers = dict(limits.tokens(partner, prompt=0, output_bound=0).headers)
    assert headers["x-ratelimit-remaining-output-tokens"] == str(max(0, 512_000 - bound))


def test_nobodys_output_is_estimated_without_being_asked() -> None:
    for limits, who in (
        (limiter(), caller(role="service")),
        (limiter(TierRates(service_estimate=True)), caller()),
    ):
        headers = dict(limits.tokens(who, prompt=0, output_bound=40_000).headers)
        assert int(headers["x-ratelimit-remaining-output-tokens"]) in (512_000 - 40_000, 64_000 - 40_000)


def test_a_dimension_without_limit_is_left_out() -> None:
    limits = limiter(TierRates(consumer_tokens=TokenRates(Rate(0, 1), Rate(0, 1))))
    assert limits.tokens(caller(), prompt=10**9, output_bound=10**9).headers == ()


def test_rejections_are_told_with_tier_and_dimension() -> None:
    told: list[tuple[str, str]] = []
    limits = RequestLimiter(
        TierRates(consumer=Rate(1, 1)),
        clock=Clock(),
        wall_clock=lambda: WALL,
        on_rejected=lambda tier, dimension: told.append((tier, dimension)),
    )
    limits.request(caller())
    refusal(lambda: limits.request(caller()))
    refusal(
        lambda: (
            limits.tokens(caller(otpm_limit=1), prompt=0, output_bound=1)
            and limits.tokens(caller(otpm_limit=1), prompt=0, output_bound=1)
        )
    )
    assert told == [("consumer", "requests"), ("key", "output_tokens")]
