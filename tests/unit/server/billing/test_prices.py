"""Costs, reservations and splits: the table of prices and cost arithmetic, vector by vector, and what always holds."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.billing.amounts import MAX_MONEY
from server.billing.prices import FALLBACK_PRICE, Price, Split, Tariff, Tokens

TARIFF = Tariff()
CACHED = Price(30_000, 165_000)


@pytest.mark.parametrize(
    ("tokens", "price", "service", "direct"),
    [
        (Tokens(1000, 0, 500), FALLBACK_PRICE, 150, 150),
        (Tokens(10, 0, 5), FALLBACK_PRICE, 1, 100),
        (Tokens(1, 0, 0), FALLBACK_PRICE, 1, 100),
        (Tokens(10_000, 8_000, 200), CACHED, 213, 213),
        (Tokens(10_000, 20_000, 0), CACHED, 150, 150),
        (Tokens(33, 0, 7), CACHED, 1, 100),
        (Tokens(5, 0, -3), FALLBACK_PRICE, 1, 100),
        (Tokens(0, 0, 1), FALLBACK_PRICE, 1, 100),
        (Tokens(900, 0, 350), FALLBACK_PRICE, 115, 115),
        (Tokens(0, 0, 0), FALLBACK_PRICE, 0, 0),
        (Tokens(-1, -1, -1), FALLBACK_PRICE, 0, 0),
    ],
)
def test_cost_vectors(tokens: Tokens, price: Price, service: int, direct: int) -> None:
    assert TARIFF.cost(price, tokens, service=True) == service
    assert TARIFF.cost(price, tokens, service=False) == direct


def test_reservation_vector() -> None:
    assert TARIFF.reservation(FALLBACK_PRICE, prompt_tokens=4000, max_tokens=8192) == 1838
    assert TARIFF.reservation(FALLBACK_PRICE, prompt_tokens=0, max_tokens=0) == 100


def test_derived_cache_rate() -> None:
    assert TARIFF.cache_read_rate(Price(30_000, 1)) == 15_000
    assert TARIFF.cache_read_rate(Price(33, 1)) == 16
    assert TARIFF.cache_read_rate(Price(30_000, 1, 7)) == 7
    assert TARIFF.cache_read_rate(Price(30_000, 1, 0)) == 0
    assert Tariff(cache_read_discount_percent=0).cache_read_rate(Price(12_345, 1)) == 12_345


@pytest.mark.parametrize(
    ("cost", "fee", "referred", "parts"),
    [
        (213, 10, True, Split(192, 4, 17)),
        (213, 10, False, Split(192, 0, 21)),
        (150, 5, True, Split(143, 1, 6)),
        (150, 100, True, Split(0, 30, 120)),
        (150, 0, True, Split(150, 0, 0)),
        (150, 900, False, Split(0, 0, 150)),
        (150, -5, False, Split(150, 0, 0)),
    ],
)
def test_split_vectors(cost: int, fee: int, referred: bool, parts: Split) -> None:
    assert TARIFF.split(cost, fee_percent=fee, referred=referred) == parts


def test_split_uses_the_global_fee_without_an_own_one() -> None:
    assert Tariff(platform_fee_percent=10).split(213, fee_percent=None, referred=False) == (192, 0, 21)
    assert Tariff(platform_fee_percent=10).split(213, fee_percent=0, referred=False) == (213, 0, 0)


@pytest.mark.parametrize(("share", "reward"), [(20, 4), (50, 10), (1, 0), (0, 4), (51, 4), (-3, 4)])
def test_a_share_out_of_range_counts_as_twenty(share: int, reward: int) -> None:
    assert Tariff(referral_share_percent=share).split(213, fee_percent=10, referred=True).reward == reward


def test_terms_saturate_at_the_money_bound() -> None:
    assert TARIFF.wholesale_cost(Price(10**12, 1), Tokens(2**60, 2**59, 0)) == MAX_MONEY
    assert TARIFF.wholesale_cost(Price(10**12, 10**12), Tokens(2**60, 0, 2**60)) == MAX_MONEY


amounts = st.integers(0, 10**7)
rates = st.builds(Price, st.integers(1, 10**7), st.integers(1, 10**7), st.none())


@given(rates, amounts, amounts, amounts, amounts)
def test_cost_is_monotone_and_caches_only_save(price: Price, prompt: int, cached: int, output: int, more: int) -> None:
    tokens = Tokens(prompt, cached, output)
    for service in (True, False):
        cost = TARIFF.cost(price, tokens, service=service)
        assert TARIFF.cost(price, tokens._replace(completion=output + more), service=service) >= cost
        assert TARIFF.cost(price, tokens._replace(prompt=prompt + more), service=service) >= cost
        assert TARIFF.cost(price._replace(output=price.output + more), tokens, service=service) >= cost
        assert TARIFF.cost(price._replace(input=price.input + more), tokens, service=service) >= cost
        assert cost <= TARIFF.cost(price, tokens._replace(cached=0), service=service)
    assert TARIFF.cost(price, tokens, service=True) <= TARIFF.cost(price, tokens, service=False)


@given(rates, amounts, amounts, amounts, amounts)
def test_a_reservation_covers_all_that_its_bounds_allow(
    price: Price, prompt: int, output: int, less_prompt: int, less_output: int
) -> None:
    reserved = TARIFF.reservation(price, prompt_tokens=prompt, max_tokens=output)
    used = Tokens(min(prompt, less_prompt), 0, min(output, less_output))
    assert TARIFF.cost(price, used, service=False) <= reserved


@given(st.integers(0, MAX_MONEY), st.integers(-10, 110), st.booleans(), st.integers(0, 60))
def test_a_split_sums_to_the_charge(cost: int, fee: int, referred: bool, share: int) -> None:
    parts = Tariff(referral_share_percent=share).split(cost, fee_percent=fee, referred=referred)
    assert sum(parts) == cost
    assert min(parts) >= 0
