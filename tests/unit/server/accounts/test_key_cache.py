"""The cache of lookups: how long things are kept, what drops them, and the race with a slow lookup."""

from __future__ import annotations

import pytest

from server.accounts.key_cache import LookupCache
from tests.unit.server.accounts.people import Times


@pytest.fixture
def times() -> Times:
    return Times()


def cache_of(times: Times, **bounds: int) -> LookupCache[str]:
    """Values are texts such as `id account`."""
    return LookupCache(clock=times.clock, labels=lambda value: tuple(value.split()), **bounds)


def test_found_things_are_kept_for_15_seconds(times: Times) -> None:
    cache = cache_of(times)
    cache.keep("h1", "k1 ada", cache.generation)
    times.go(14.9)
    assert cache.find("h1") == "k1 ada"
    times.go(0.2)
    assert cache.find("h1") is None
    assert len(cache) == 0


def test_misses_are_kept_for_2_seconds(times: Times) -> None:
    cache = cache_of(times)
    cache.keep("h1", None, cache.generation)
    times.go(1.9)
    assert cache.is_missing("h1")
    times.go(0.2)
    assert not cache.is_missing("h1")
    assert len(cache) == 0


def test_a_key_found_after_a_miss_is_no_miss(times: Times) -> None:
    cache = cache_of(times)
    cache.keep("h1", None, cache.generation)
    cache.keep("h1", "k1 ada", cache.generation)
    assert not cache.is_missing("h1")
    assert cache.find("h1") == "k1 ada"


@pytest.mark.parametrize("subject", ["h1", "k1", "ada", "*"])
def test_a_value_is_dropped_by_key_by_label_and_with_everything(times: Times, subject: str) -> None:
    cache = cache_of(times)
    cache.keep("h1", "k1 ada", cache.generation)
    cache.keep("h2", "k2 eve", cache.generation)
    cache.drop(subject)
    assert cache.find("h1") is None
    assert (cache.find("h2") is None) == (subject == "*")


def test_a_lookup_that_began_before_a_change_is_not_kept(times: Times) -> None:
    cache = cache_of(times)
    began = cache.generation
    with cache.changing("k1"):
        pass
    cache.keep("h1", "k1 ada", began)
    assert cache.find("h1") is None


def test_a_lookup_that_began_and_ended_during_a_change_does_not_survive_it(times: Times) -> None:
    cache = cache_of(times)
    with cache.changing("k1"):
        cache.keep("h1", "k1 ada", cache.generation)
    assert cache.find("h1") is None


def test_a_lookup_that_spans_the_end_of_a_change_is_not_kept(times: Times) -> None:
    cache = cache_of(times)
    with cache.changing("k1"):
        began = cache.generation
    cache.keep("h1", "k1 ada", began)
    assert cache.find("h1") is None


def test_a_change_that_failed_drops_too(times: Times) -> None:
    cache = cache_of(times)
    cache.keep("h1", "k1 ada", cache.generation)

    def fail_while_it_is_read() -> None:
        with cache.changing("k1"):
            cache.keep("h1", "k1 ada", cache.generation)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail_while_it_is_read()
    assert cache.find("h1") is None


def test_both_sides_are_bounded(times: Times) -> None:
    cache = cache_of(times, max_entries=3, max_misses=2)
    for number in range(10):
        cache.keep(f"h{number}", f"k{number} ada", cache.generation)
        cache.keep(f"m{number}", None, cache.generation)
    assert len(cache) == 5
    assert cache.find("h9") == "k9 ada"
    assert cache.find("h0") is None
    cache.drop("ada")
    assert len(cache) == 2


def test_repr_shows_no_value(times: Times) -> None:
    cache = cache_of(times)
    cache.keep("h1", "k1 ada", cache.generation)
    assert repr(cache) == "<LookupCache 1 found, 0 missed>"
