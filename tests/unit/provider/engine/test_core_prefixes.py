"""What the end of an answer says of the cache: whoever reads that nothing was found may think that it was kept."""

import pytest

from provider.engine import CacheOutcome
from tests.testbed.engine_core import CoreBench

PROMPT = "z" * 100
LONGER = PROMPT + "abc" + "z" * 200


def outcome(bench, prompt, **fields):
    """Run a row to its stop string, after which its cache is taken."""
    sink = bench.submit(prompt, stop=("c",), max_tokens=9, cache_scope="a", **fields)
    bench.turn(20)
    return sink.end.usage.cache_outcome


@pytest.mark.parametrize(
    ("headroom", "told"),
    [(1_000_000, [CacheOutcome.ABSENT, CacheOutcome.HIT]), (60_000, [CacheOutcome.CAPACITY] * 2)],
    ids=["room", "none"],
)
def test_what_there_is_no_room_for_is_told(headroom, told):
    bench = CoreBench(headroom=headroom)
    assert [outcome(bench, PROMPT), outcome(bench, PROMPT)] == told


def test_a_hit_stays_one_where_there_is_no_room_for_more():
    bench = CoreBench(headroom=100_000)
    assert outcome(bench, PROMPT) is CacheOutcome.ABSENT
    assert outcome(bench, LONGER) is CacheOutcome.HIT
    assert bench.core._prefixes.room < 100 * len(LONGER)


def test_what_no_customer_asked_for_says_nothing_of_room():
    bench = CoreBench(headroom=60_000)
    sink = bench.submit(PROMPT, stop=("c",), max_tokens=9)
    bench.turn(20)
    assert sink.end.usage.cache_outcome is CacheOutcome.NONE
