"""The engine on a tiny random model: batch invariance, pause, seeds, penalties, faults, fuzz."""

import random
from dataclasses import replace

import pytest
import trio

from provider.engine import Cause, FinishReason, GenerationRequest, SamplingParameters, Usage
from tests.testbed.engine_runs import open_engine, request, run
from tests.testbed.needs import module

mx = module("mlx.core")

PROMPTS = ["hello world", "x", "The quick brown fox jumps over", "😀 naïve"]


async def run_all(engine, wanted, *, stagger=0.0):
    results = {}

    async def one(place):
        await trio.sleep(place * stagger)
        results[place] = await run(engine, wanted[place])

    async with trio.open_nursery() as nursery:
        for place in range(len(wanted)):
            nursery.start_soon(one, place)
    return [results[place] for place in range(len(wanted))]


async def test_text_equals_the_library_alone(tiny):
    from mlx_lm import stream_generate

    pieces = list(stream_generate(tiny.network, tiny.tokenizer, tiny.tokenizer.encode(PROMPTS[2]), max_tokens=20))
    expected = tiny.vocabulary.decode([piece.token for piece in pieces])
    async with open_engine() as engine:
        await engine.attach_model(tiny)
        text, end = await run(engine, request(tiny, PROMPTS[2], max_tokens=20))
    assert text == expected
    assert end.usage == Usage(len(tiny.tokenizer.encode(PROMPTS[2])), 20)


async def test_greedy_rows_are_the_same_alone_together_and_staggered(tiny):
    wanted = [request(tiny, prompt, max_tokens=16) for prompt in PROMPTS]
    async with open_engine(max_concurrent=16) as engine:
        await engine.attach_model(tiny)
        alone = [await run(engine, each) for each in wanted]
        assert await run_all(engine, wanted) == alone
        assert await run_all(engine, wanted * 4, stagger=0.003) == alone * 4


async def test_long_prompt_in_chunks_equals_the_library(tiny):
    from mlx_lm import stream_generate

    prompt = [3 + place % 400 for place in range(700)]
    pieces = list(stream_generate(tiny.network, tiny.tokenizer, prompt, max_tokens=6))
    async with open_engine() as engine:
        await engine.attach_model(tiny)
        text, _ = await run(engine, request(tiny, prompt, max_tokens=6))
    assert text == tiny.vocabulary.decode([piece.token for piece in pieces])


@pytest.mark.parametrize(
    "sampling",
    [SamplingParameters(), SamplingParameters(temperature=0.9, seed=4), SamplingParameters(frequency_penalty=0.7)],
)
async def test_paused_row_continues_with_the_same_tokens(tiny, sampling):
    wanted = request(tiny, "hello", max_tokens=40, sampling=sampling)
    async with open_engine(window_events=6) as engine:
        await engine.attach_model(tiny)
        expected = await run(engine, wanted)
        slow = engine.submit(wanted)
        with trio.fail_after(10):
            while not engine.snapshot().slots[0].paused:
                await run(engine, request(tiny, "other", max_tokens=3))
            events = []
            async for event in slow:
                events.append(event)
                await trio.sleep(0.002)
    assert "".join(event.text for event in events[:-1]) == expected[0]
    assert (events[-1].reason, events[-1].usage) == (expected[1].reason, expected[1].usage)


async def test_seeded_rows_repeat_alone_and_in_a_batch(tiny):
    seeded = [
        request(tiny, "hello", sampling=SamplingParameters(temperature=1.0, top_p=0.95, top_k=50, seed=seed))
        for seed in (1, 2, 1)
    ]
    async with open_engine() as engine:
        await engine.attach_model(tiny)
        alone = [await run(engine, each) for each in seeded]
        assert await run_all(engine, seeded) == alone
    assert alone[0] == alone[2]
    assert alone[0] != alone[1]


async def test_unseeded_rows_differ(tiny):
    wanted = [request(tiny, "hello", sampling=SamplingParameters(temperature=1.5))] * 4
    async with open_engine() as engine:
        await engine.attach_model(tiny)
        texts = [text for text, _ in await run_all(engine, wanted)]
    assert len(set(texts)) > 1


async def test_top_k_one_is_greedy(tiny):
    async with open_engine() as engine:
        await engine.attach_model(tiny)
        greedy = await run(engine, request(tiny))
        assert await run(engine, request(tiny, sampling=SamplingParameters(temperature=1.0, top_k=1))) == greedy
        assert await run(engine, request(tiny, sampling=SamplingParameters(temperature=1.0, top_p=1e-6))) == greedy
        assert await run(engine, request(tiny, sampling=SamplingParameters(temperature=1.0, min_p=1.0))) == greedy


async def test_logit_bias_bans_and_forces(tiny):
    letter = tiny.tokenizer.encode("q")[0]
    force = SamplingParameters(logit_bias=((letter, 100.0),))
    both = SamplingParameters(logit_bias=((letter, 100.0), (letter, -100.0), (10**6, 5.0)))
    async with open_engine() as engine:
        await engine.attach_model(tiny)
        text, _ = await run(engine, request(tiny, sampling=force, max_tokens=4))
        assert text == "qqqq"
        plain = await run(engine, request(tiny, max_tokens=4))
        assert await run(engine, request(tiny, max_tokens=4, sampling=both)) == plain


async def test_presence_penalty_counts_generated_tokens_only(tiny):
    letter, other = (tiny.tokenizer.encode(each)[0] for each in "qw")
    bias = ((letter, 100.0), (other, 99.0))
    async with open_engine() as engine:
        await engine.attach_model(tiny)
        wanted = request(tiny, "qqqq", max_tokens=3, sampling=SamplingParameters(logit_bias=bias, presence_penalty=2.0))
        text, _ = await run(engine, wanted)
        repeated = SamplingParameters(logit_bias=bias, repetition_penalty=2.0)
        text_with_window, _ = await run(engine, request(tiny, "qqqq", max_tokens=1, sampling=repeated))
    assert text[:2] == "qw"
    assert text_with_window in "qw"


async def test_stop_string_ends_the_row_early(tiny):
    async with open_engine() as engine:
        await engine.attach_model(tiny)
        text, _ = await run(engine, request(tiny, max_tokens=30))
        stop = text[5:8]
        cut, end = await run(engine, request(tiny, max_tokens=30, stop=(stop,)))
    assert end.reason is FinishReason.STOP
    assert end.stop_sequence == stop
    assert cut == text[: text.index(stop)]
    assert end.usage.completion_tokens < 30


async def test_end_token_is_counted_and_not_shown(tiny):
    end_id = min(tiny.eos_ids)
    async with open_engine() as engine:
        await engine.attach_model(tiny)
        text, end = await run(engine, request(tiny, sampling=SamplingParameters(logit_bias=((end_id, 100.0),))))
    assert text == ""
    assert end.reason is FinishReason.STOP
    assert end.usage.completion_tokens == 1


async def test_infinite_logits_end_that_row_only(tiny):
    broken = SamplingParameters(logit_bias=((9, float("inf")),))
    async with open_engine() as engine:
        await engine.attach_model(tiny)
        plain = request(tiny, max_tokens=10)
        expected = await run(engine, plain)
        good, bad = await run_all(engine, [plain, request(tiny, sampling=broken)])
    assert bad[1].failure.cause is Cause.GENERATION_FAILURE
    assert good == expected


async def test_exception_in_a_step_ends_its_rows_and_the_next_request_works(tiny, monkeypatch):
    async with open_engine() as engine:
        await engine.attach_model(tiny)
        expected = await run(engine, request(tiny))
        network = type(tiny.network)
        with monkeypatch.context() as patch:
            patch.setattr(network, "__call__", lambda *_, **__: 1 / 0)
            _, end = await run(engine, request(tiny))
        assert end.failure.cause is Cause.ENGINE_ERROR
        assert await run(engine, request(tiny)) == expected


async def test_exception_in_a_logits_processor_ends_the_rows_of_its_model_alone(tiny, monkeypatch):
    from provider.engine import sampling

    twin = replace(tiny, model_id="twin")
    wanted = request(tiny, max_tokens=30)
    async with open_engine() as engine:
        await engine.attach_model(tiny)
        await engine.attach_model(twin)
        expected = await run(engine, wanted)

        def faulty(*_):
            def processor(_context, _logits):
                raise RuntimeError("secret")

            return processor

        monkeypatch.setattr(sampling, "make_bias", faulty)
        biased = SamplingParameters(logit_bias=((5, 1.0),))
        bad = GenerationRequest(model="twin", prompt_tokens=wanted.prompt_tokens, max_tokens=30, sampling=biased)
        beside = GenerationRequest(model="twin", prompt_tokens=wanted.prompt_tokens, max_tokens=400)
        good, hurt, victim = await run_all(engine, [wanted, bad, beside])
        monkeypatch.undo()
        again = await run(engine, GenerationRequest(model="twin", prompt_tokens=wanted.prompt_tokens, max_tokens=30))
    assert good == again == expected
    assert hurt[1].failure.cause is victim[1].failure.cause is Cause.ENGINE_ERROR
    assert "secret" not in hurt[1].failure.text


async def test_sixteen_streams_and_random_cancels_leave_nothing(tiny):
    chance = random.Random(3)
    plans = [
        (request(tiny, chance.choice(PROMPTS), max_tokens=chance.randrange(1, 14)), chance.random()) for _ in range(100)
    ]
    async with open_engine(max_concurrent=16, max_waiting=64, window_events=4) as engine:
        await engine.attach_model(tiny)
        reference = {}
        for wanted in {wanted.prompt_tokens for wanted, _ in plans}:
            reference[wanted] = (await run(engine, request(tiny, wanted, max_tokens=14)))[0]
        mismatches = []

        async def one(wanted, luck):
            async with engine.submit(wanted) as generation:
                events = []
                async for event in generation:
                    events.append(event)
                    if luck < 0.3 and len(events) > luck * 20:
                        generation.cancel()
            text = "".join(event.text for event in events[:-1]).rstrip("\ufffd")
            if not reference[wanted.prompt_tokens].startswith(text):
                mismatches.append(wanted)

        limit = trio.CapacityLimiter(40)

        async def limited(wanted, luck):
            async with limit:
                await one(wanted, luck)

        with trio.fail_after(60):
            async with trio.open_nursery() as nursery:
                for wanted, luck in plans:
                    nursery.start_soon(limited, wanted, luck)
        snapshot = engine.snapshot()
        while snapshot.slots[0].running:
            snapshot = await engine.wait_change(snapshot.change)
    assert mismatches == []
    assert snapshot.slots[0].budget_used == 0


async def test_half_precision_numbers_are_checked_too(tiny_directory):
    from provider.engine.mlx_backend import MlxBackend
    from tests.testbed.scripted_backend import Token

    backend = MlxBackend.__new__(MlxBackend)
    for kind in (mx.float32, mx.float16, mx.bfloat16):
        for value, broken in ((float("nan"), True), (-float("inf"), True), (-0.5, False)):
            row = mx.full((4,), value).astype(kind)
            mx.eval(row)
            assert backend.is_broken(Token(0, 1, None, row)) is broken
