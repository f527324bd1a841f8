"""Caches that cannot be shortened are kept at boundaries of the prompt, and give the tokens of a cold run."""

import msgspec
import pytest
import trio

from provider.engine import CacheOutcome
from tests.testbed.engine_runs import open_engine, request, run
from tests.testbed.needs import module
from tests.testbed.tiny_kinds import WINDOW, in_clothes_of, recurrent_network, sliding_window_network

module("mlx.core")

SYSTEM = tuple(3 + place * 7 % 400 for place in range(2 * WINDOW))
QUESTION = tuple(5 + place * 11 % 400 for place in range(WINDOW))
OTHER = tuple(9 + place * 13 % 400 for place in range(70))
HEADER = (31, 32)
ENDS = (len(SYSTEM), len(SYSTEM) + len(QUESTION))


@pytest.fixture(scope="session", params=[sliding_window_network, recurrent_network], ids=["window", "recurrent"])
def kind(request, tiny):
    return in_clothes_of(tiny, request.param)


def ask(model, *parts, scope="a", ends=ENDS, **fields):
    return request(model, sum(parts, ()), cache_scope=scope, boundaries=ends, **fields)


async def cold(engine, wanted):
    return await run(engine, msgspec.structs.replace(wanted, cache_scope="", boundaries=()))


def test_such_caches_are_told_from_others(tiny, kind):
    assert tiny.rewindable
    assert not kind.rewindable


async def test_prompts_that_share_a_beginning_give_the_tokens_of_cold_runs(kind):
    first = ask(kind, SYSTEM, QUESTION, HEADER)
    same_system = ask(kind, SYSTEM, OTHER, HEADER, ends=(len(SYSTEM), len(SYSTEM) + len(OTHER)))
    goes_on = ask(kind, SYSTEM, QUESTION, OTHER, HEADER, ends=(len(SYSTEM), 358))
    async with open_engine() as engine:
        await engine.attach_model(kind)
        expected = [await cold(engine, wanted) for wanted in (first, same_system, goes_on, first)]
        warm = [await run(engine, wanted) for wanted in (first, same_system, goes_on, first)]
    assert [text for text, _end in warm] == [text for text, _end in expected]
    assert [end.usage.cached_tokens for _text, end in warm] == [0, ENDS[0], ENDS[1], ENDS[1]]
    assert [end.usage.cache_outcome for _text, end in warm] == [CacheOutcome.ABSENT, *[CacheOutcome.HIT] * 3]


async def test_prompts_of_one_batch_are_kept_apart(kind):
    """Their parts have different lengths, so that each is padded beside the others."""
    prompts = [
        ask(kind, SYSTEM[place:], QUESTION, HEADER, ends=(len(SYSTEM) - place, ENDS[1] - place))
        for place in (0, 17, 40, 41)
    ]
    async with open_engine() as engine:
        await engine.attach_model(kind)
        expected = [(await cold(engine, wanted))[0] for wanted in prompts]
        for cached in (False, True):
            texts = {}

            async def one(place, wanted, texts=texts, cached=cached):
                texts[place], end = await run(engine, wanted)
                assert bool(end.usage.cached_tokens) is cached

            async with trio.open_nursery() as nursery:
                for place, wanted in enumerate(prompts):
                    nursery.start_soon(one, place, wanted)
            assert [texts[place] for place in range(len(prompts))] == expected


@pytest.mark.parametrize("scope", ["b", ""])
async def test_another_customer_finds_no_boundary(kind, scope):
    async with open_engine() as engine:
        await engine.attach_model(kind)
        await run(engine, ask(kind, SYSTEM, QUESTION, HEADER))
        _text, end = await run(engine, ask(kind, SYSTEM, OTHER, HEADER, scope=scope, ends=()))
    assert end.usage.cached_tokens == 0


async def test_what_has_no_room_is_not_kept(kind):
    async with open_engine(headroom=1_000 * kind.kv_bytes_per_token) as engine:
        await engine.attach_model(kind)
        await run(engine, ask(kind, SYSTEM, QUESTION, HEADER))
        await run(engine, request(kind, (5,), max_tokens=1))
        assert engine._core._prefixes.bytes <= 150 * kind.kv_bytes_per_token
        _text, end = await run(engine, ask(kind, SYSTEM, QUESTION, HEADER))
    assert end.usage.cached_tokens == 0
