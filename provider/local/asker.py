"""Requests of this machine's own programs, asked the way a coordinator asks: sealed, over a lane, one terminal each.

So admission, model loads, drain, cancels and every check are those of the one request life cycle; there is no second
way for a prompt into the engine. Sealing costs a tenth of a millisecond a request and some microseconds a chunk.

Invariant: leaving `ask` before the terminal cancels the request.
"""

import uuid
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from protocol.codec import decode_from_provider
from protocol.failure import AttemptFailure, sanitise
from protocol.messages.from_provider import (
    InferenceAccepted,
    InferenceComplete,
    InferenceError,
    InferenceResponseChunk,
)
from protocol.messages.to_provider import InferenceRequest
from protocol.messages.wire import EncryptedPayload
from protocol.sealing import ProviderKeyPair, WipeableKey, open_chunk, parse_public_key, seal_for_provider
from provider.local.lane import LocalLane
from provider.observe.meter import RequestMeter
from provider.requests import RequestDesk

SOURCE: Final = "local"


class LocalAttempt:
    """One asked request: `plaintexts` to its end, then exactly one of `complete` and `failure` is set."""

    def __init__(self, request_id: str, lane: LocalLane, shared: WipeableKey) -> None:
        self.request_id: Final = request_id
        self.complete: InferenceComplete | None = None
        self.failure: AttemptFailure | None = None
        self._lane = lane
        self._shared = shared

    @property
    def is_over(self) -> bool:
        """Whether the terminal was seen."""
        return self.complete is not None or self.failure is not None

    async def batches(self) -> AsyncGenerator[list[bytes], None]:
        """Give the opened chunks in order, those that are ready together at once; ends with the terminal."""
        while not self.is_over:
            plaintexts: list[bytes] = []
            for frame in await self._lane.take():
                self._hear(frame, plaintexts)
            if plaintexts:
                yield plaintexts

    def _hear(self, frame: bytes, plaintexts: list[bytes]) -> None:
        message = decode_from_provider(frame)
        match message:
            case InferenceResponseChunk():
                assert message.encrypted_data is not None
                plaintexts.append(open_chunk(message.encrypted_data.ciphertext.encode(), self._shared))
            case InferenceComplete():
                self.complete = message
            case InferenceError():
                self.failure = sanitise(message)
            case InferenceAccepted():
                pass
            case _:
                raise TypeError(f"{type(message).__name__} does not belong to a request.")


class LocalAsker:
    """Asks the desk of this daemon. `scope` is the one partition of the prompt cache for all local requests."""

    def __init__(self, desk: RequestDesk, keys: ProviderKeyPair, meter: RequestMeter, *, scope: str) -> None:
        self.asked = 0
        self._desk = desk
        self._public = parse_public_key(keys.public_text)
        self._meter = meter
        self._scope = scope

    @asynccontextmanager
    async def ask(self, body: bytes) -> AsyncIterator[LocalAttempt]:
        """Ask with a chat body; refusals come as the attempt's failure."""
        self.asked += 1
        sealed = seal_for_provider(body, self._public)
        request_id = f"local-{uuid.uuid4()}"
        lane = LocalLane()
        attempt = LocalAttempt(request_id, lane, sealed.shared)
        payload = EncryptedPayload(
            ephemeral_public_key=sealed.ephemeral_public_key, ciphertext=sealed.ciphertext.decode()
        )
        message = InferenceRequest(request_id=request_id, encrypted_body=payload, cache_scope=self._scope)
        try:
            self._desk.accept(message, self._meter.lane(lane, source=SOURCE))
            yield attempt
        finally:
            if not attempt.is_over:
                self._desk.cancel(request_id)
            sealed.shared.wipe()
