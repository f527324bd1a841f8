"""Frames that the codec refuses: the attempt that they name ends, and no other one."""

from __future__ import annotations

from typing import Any

import pytest
from trio.testing import wait_all_tasks_blocked

from protocol.messages.from_provider import InferenceComplete
from protocol.messages.to_provider import Cancel
from tests.unit.server.link.conftest import RecordingSink, attach

ID = "11111111-1111-4111-8111-111111111111"
OTHER = "22222222-2222-4222-8222-222222222222"

BROKEN_TERMINALS = {
    "wrong type": b'{"type":"inference_complete","request_id":"%b","usage":{"prompt_tokens":"3"}}',
    "negative usage": b'{"type":"inference_complete","request_id":"%b","usage":{"prompt_tokens":-3}}',
    "malformed": b'{"type":"inference_complete","request_id":"%b","usage":tru}',
    "error": b'{"type":"inference_error","request_id":"%b","error":"do not log me","status_code":5.5}',
    "id last": b'{"type":"inference_error","status_code":"500","request_id":"%b"}',
}
BROKEN_CHUNKS = {
    "ciphertext": b'{"type":"inference_response_chunk","request_id":"%b","encrypted_data":{"ciphertext":7}}',
    "data": b'{"type":"inference_response_chunk","request_id":"%b","data":["do not log me"]}',
    "malformed": b'{"type":"inference_response_chunk","request_id":"%b","data":nul}',
}


@pytest.mark.parametrize("how", BROKEN_TERMINALS)
async def test_a_broken_last_word_ends_its_attempt(world: Any, autojump_clock: Any, how: str, caplog: Any) -> None:
    provider, session = await world.registered()
    sink, other = RecordingSink(ID), RecordingSink(OTHER)
    sealed = attach(session, sink)
    attach(session, other)
    await provider.send_text(BROKEN_TERMINALS[how] % ID.encode())
    await provider.send(InferenceComplete(request_id=OTHER))
    await wait_all_tasks_blocked()
    assert sink.heard == [("error", "generation_failure")]
    assert other.heard == [("complete", 0)]
    assert sealed.shared.dead
    assert len(session.attempts) == 0
    assert world.registry.trust[session.session_id].untrusted is None
    assert world.meter.events["frame_malformed"] + world.meter.events["frame_invalid"] == 1
    assert not [message for message in await provider.drain() if isinstance(message, Cancel)]
    assert "do not log me" not in caplog.text


@pytest.mark.parametrize("how", BROKEN_CHUNKS)
async def test_a_broken_chunk_of_a_pending_attempt_is_a_violation(
    world: Any, autojump_clock: Any, how: str, caplog: Any
) -> None:
    provider, session = await world.registered()
    sink, other = RecordingSink(ID), RecordingSink(OTHER)
    sealed = attach(session, sink)
    attach(session, other)
    await provider.send_text(BROKEN_CHUNKS[how] % ID.encode())
    assert (await provider.expect(Cancel)).request_id == ID
    assert other.heard == []
    await provider.send(InferenceComplete(request_id=OTHER))
    assert sink.heard == [("violation", "malformed")]
    assert sealed.shared.dead
    assert world.registry.trust[session.session_id].untrusted == "hard"
    assert await provider.wait_closed() == 1008
    assert "do not log me" not in caplog.text


@pytest.mark.parametrize(
    "frame",
    [
        BROKEN_TERMINALS["wrong type"] % OTHER.encode(),
        BROKEN_CHUNKS["data"] % OTHER.encode(),
        b'{"type":"inference_accepted","request_id":["%b"]}' % ID.encode(),
        b'{"type":"inference_accepted","request_id":"%b","x":tru}' % ID.encode(),
        b'{"type":"inference_complete","request_id":7}',
        b'{"type":"inference_complete","usage":7}',
        b'{"type":"inference_error","request_id":"%b","request_id":"%b","error":1}' % (OTHER.encode(), ID.encode()),
        b'{"type":"heartbeat","request_id":"%b","status":7}' % ID.encode(),
        b'{"type":"no_such_type","request_id":"%b"}' % ID.encode(),
        b'{"nested":{"type":"inference_complete"},"request_id":"%b"}' % ID.encode(),
    ],
)
async def test_other_rejected_frames_end_nothing(world: Any, autojump_clock: Any, frame: bytes) -> None:
    provider, session = await world.registered()
    sink = RecordingSink(ID)
    attach(session, sink)
    await provider.send_text(frame)
    await wait_all_tasks_blocked()
    assert sink.heard == []
    assert len(session.attempts) == 1
    assert world.registry.trust[session.session_id].untrusted is None
