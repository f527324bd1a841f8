"""Prefix reuse on a real model: the same tokens, for the same customer, from memory that nobody else needs."""

import pytest
import trio

from provider.engine import CacheOutcome, Delta, FinishReason
from tests.testbed.engine_runs import open_engine, request, run
from tests.testbed.needs import module

module("mlx.core")

BASE = tuple(3 + place * 7 % 400 for place in range(300))


async def test_a_continued_prompt_gives_the_tokens_of_a_cold_run(tiny):
    first = request(tiny, BASE, max_tokens=10, cache_scope="a")
    follow = request(tiny, (*BASE, 9, 8, 7), max_tokens=10, cache_scope="a")
    async with open_engine() as engine:
        await engine.attach_model(tiny)
        cold = await run(engine, request(tiny, (*BASE, 9, 8, 7), max_tokens=10))
        _text, end = await run(engine, first)
        assert end.usage.cache_outcome is CacheOutcome.ABSENT
        warm_text, warm = await run(engine, follow)
    assert warm_text == cold[0]
    assert (warm.usage.cached_tokens, warm.usage.cache_outcome) == (300, CacheOutcome.HIT)
    assert warm.usage.prompt_tokens == 303
    assert warm.usage.completion_tokens == cold[1].usage.completion_tokens


async def test_the_same_prompt_again_computes_its_last_token(tiny):
    wanted = request(tiny, BASE, max_tokens=6, cache_scope="a")
    async with open_engine() as engine:
        await engine.attach_model(tiny)
        cold = await run(engine, wanted)
        warm = await run(engine, wanted)
    assert warm[0] == cold[0]
    assert warm[1].usage.cached_tokens == 299


async def test_cached_and_fresh_rows_share_a_batch(tiny):
    warm = request(tiny, BASE, max_tokens=16, cache_scope="a")
    fresh = request(tiny, BASE[:40], max_tokens=16)
    async with open_engine() as engine:
        await engine.attach_model(tiny)
        expected = [(await run(engine, each))[0] for each in (warm, fresh)]
        results = {}

        async def one(place, each):
            results[place] = await run(engine, each)

        async with trio.open_nursery() as nursery:
            for place, each in enumerate((warm, fresh, warm)):
                nursery.start_soon(one, place, each)
    assert [results[place][0] for place in range(3)] == [*expected, expected[0]]
    assert results[0][1].usage.cached_tokens == 299


@pytest.mark.parametrize("scope", ["b", ""])
async def test_another_customer_finds_nothing(tiny, scope):
    async with open_engine() as engine:
        await engine.attach_model(tiny)
        await run(engine, request(tiny, BASE, cache_scope="a"))
        _, end = await run(engine, request(tiny, BASE, cache_scope=scope))
    assert end.usage.cached_tokens == 0


async def test_what_ended_at_a_stop_string_is_kept_too(tiny):
    async with open_engine() as engine:
        await engine.attach_model(tiny)
        text, _ = await run(engine, request(tiny, BASE, max_tokens=30))
        _, end = await run(engine, request(tiny, BASE, max_tokens=30, stop=(text[5:7],), cache_scope="a"))
        assert end.reason is FinishReason.STOP
        again, warm = await run(engine, request(tiny, BASE, max_tokens=30, cache_scope="a"))
    assert again == text
    assert warm.usage.cached_tokens == 299


async def test_stored_prefixes_give_way_before_a_request_waits(tiny):
    """There is room for the entry, and for the next row, but not for both."""
    room = 2_100 * tiny.kv_bytes_per_token
    async with open_engine() as engine:
        await engine.attach_model(tiny)
        core = engine._core
        core._headroom = lambda: room - core._prefixes.bytes
        await run(engine, request(tiny, BASE, max_tokens=10, cache_scope="a"))
        await run(engine, request(tiny, (5,), max_tokens=1))
        assert core._prefixes.bytes > 52 * tiny.kv_bytes_per_token
        with trio.fail_after(10):
            async with engine.submit(request(tiny, BASE, max_tokens=1_700)) as generation:
                assert isinstance(await generation.receive(), Delta)
                assert core._prefixes.bytes == 0


async def test_trimming_and_closing_forget(tiny):
    async with open_engine() as engine:
        await engine.attach_model(tiny)
        core = engine._core

        async def store():
            await run(engine, request(tiny, BASE, cache_scope="a"))
            await run(engine, request(tiny, (5,), max_tokens=1))
            assert core._prefixes.bytes > 0

        await store()
        engine.trim_prefixes(0.0)
        await run(engine, request(tiny, (5,), max_tokens=1))
        assert core._prefixes.bytes == 0
        await store()
        engine.set_admission(is_open=False)
        await run(engine, request(tiny, (5,), max_tokens=1))
        assert core._prefixes.bytes == 0
