"""Log-probabilities of a real model, before penalties and biases."""

import msgspec
import pytest
import trio

from provider.engine import SamplingParameters
from tests.testbed.engine_runs import collect, open_engine, request, run
from tests.testbed.needs import module

mx = module("mlx.core")


def expected(model, prompt, tokens):
    """Log-softmax of every step, teacher-forced."""
    from mlx_lm.models.cache import make_prompt_cache

    cache = make_prompt_cache(model.network)
    logits = model.network(mx.array([[*prompt, *tokens]]), cache=cache)[0].astype(mx.float32)
    table = logits - mx.logsumexp(logits, axis=-1, keepdims=True)
    return [table[len(prompt) - 1 + step] for step in range(len(tokens))]


def described(deltas):
    return [entry for delta in deltas for entry in delta.logprobs]


@pytest.mark.parametrize(
    "sampling",
    [SamplingParameters(), SamplingParameters(frequency_penalty=1.0, logit_bias=((7, 3.0),), temperature=0.8, seed=3)],
)
async def test_values_are_the_models_own(tiny, sampling):
    visible = tuple((token, -100.0) for token in tiny.vocabulary.hidden)
    sampling = msgspec.structs.replace(sampling, logit_bias=sampling.logit_bias + visible)
    wanted = request(tiny, "The quick", max_tokens=14, logprobs=4, sampling=sampling)
    async with open_engine() as engine:
        await engine.attach_model(tiny)
        found = described((await collect(engine, wanted))[0])
    assert len(found) == 14
    tables = expected(tiny, wanted.prompt_tokens, [entry.token for entry in found])
    for entry, table in zip(found, tables, strict=True):
        assert entry.logprob == pytest.approx(table[entry.token].item(), abs=1e-4)
        assert [value for _, value in entry.top] == sorted((value for _, value in entry.top), reverse=True)
        likeliest = sorted(table.tolist(), reverse=True)[:4]
        assert [value for _, value in entry.top] == pytest.approx(likeliest, abs=1e-4)


async def test_asking_changes_no_token_and_every_text_has_its_entries(tiny):
    plain = request(tiny, "hello", max_tokens=20)
    asked = request(tiny, "hello", max_tokens=20, logprobs=0)
    async with open_engine() as engine:
        await engine.attach_model(tiny)
        text, _ = await run(engine, plain)
        deltas, _ = await collect(engine, asked)
    assert "".join(delta.text for delta in deltas) == text
    pieces = tiny.vocabulary.pieces
    for delta in deltas:
        assert delta.text.encode() == b"".join(pieces[entry.token] for entry in delta.logprobs)


async def test_a_paused_row_skips_and_repeats_no_entry(tiny):
    wanted = request(tiny, "hello", max_tokens=40, logprobs=2)
    async with open_engine(window_events=6) as engine:
        await engine.attach_model(tiny)
        whole = described((await collect(engine, wanted))[0])
        slow = engine.submit(wanted)
        with trio.fail_after(20):
            while not engine.snapshot().slots[0].paused:
                await run(engine, request(tiny, "other", max_tokens=3))
            events = [event async for event in slow]
    again = [entry for event in events[:-1] for entry in event.logprobs]
    assert [(entry.token, [token for token, _ in entry.top]) for entry in again] == [
        (entry.token, [token for token, _ in entry.top]) for entry in whole
    ]
