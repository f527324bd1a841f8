"""Simulated conversations carry keys as real ones do, and machines report of them in the same words."""

from __future__ import annotations

import pytest

from server.registry import PREFIX_DEPTHS
from server.sim.kernel import Kernel
from server.sim.prefixes import BLOCK_TOKENS, prefix_keys, usage_of
from server.sim.trace import Arrival
from server.sim.work import Work
from tests.unit.server.sim.test_engine import Ear


def turn(prompt: int, **fields: str) -> Arrival:
    return Arrival(t_ms=0.0, model="m", prompt=prompt, **{"account": "a", "prefix": "h1", **fields})


def test_keys_stand_at_the_same_lengths_as_those_of_real_prompts() -> None:
    found = prefix_keys(turn(8_000))
    assert [one.tokens // BLOCK_TOKENS for one in found] == [1, 2, 3, 4, 6, 8, 12, 16, 24]
    assert len(prefix_keys(turn(10**6))) == len(PREFIX_DEPTHS) == 20


def test_turns_share_their_beginning_and_nobody_else_does() -> None:
    short, long = prefix_keys(turn(900)), prefix_keys(turn(3_000))
    assert long[: len(short)] == short != ()
    for other in (turn(900, account="b"), turn(900, prefix="h2")):
        assert not {one.digest for one in short} & {one.digest for one in prefix_keys(other)}
    assert prefix_keys(turn(255)) == prefix_keys(Arrival(t_ms=0.0, model="m", prompt=900)) == ()


@pytest.mark.parametrize(
    ("prefix", "cached", "outcome"), [(None, 0, ""), ("a:h1", 0, "miss_absent"), ("a:h1", 600, "hit")]
)
def test_reports(prefix: str | None, cached: int, outcome: str) -> None:
    events = Ear(Kernel())
    work = Work(request_id="r", model="m", prompt=900, max_tokens=9, out=9, events=events, prefix=prefix)
    work.cached = cached
    usage = usage_of(work)
    assert (usage.prompt_tokens, usage.cached_tokens, usage.cache_outcome) == (900, cached, outcome)
