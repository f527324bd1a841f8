"""Running requests on the real engine with the tiny model."""

import msgspec
import pytest
import trio

from provider.engine import Delta, EngineFront, EngineLimits, GenerationRequest


def open_engine(headroom=1 << 30, **limits):
    return EngineFront.open(headroom=lambda: headroom, limits=EngineLimits(**limits), on_fatal=pytest.fail)


def request(model, prompt="hello", **fields):
    tokens = tuple(model.tokenizer.encode(prompt)) if isinstance(prompt, str) else tuple(prompt)
    fields.setdefault("max_tokens", 12)
    return GenerationRequest(model=model.model_id, prompt_tokens=tokens, **fields)


async def collect(engine, wanted):
    """(deltas, terminal event without how long the row waited)."""
    with trio.fail_after(60):
        events = [event async for event in engine.submit(wanted)]
    end = msgspec.structs.replace(events[-1], queued_seconds=None)
    return [event for event in events if isinstance(event, Delta)], end


async def run(engine, wanted):
    """(text, terminal event)."""
    deltas, end = await collect(engine, wanted)
    return "".join(delta.text for delta in deltas), end
