"""One answer on its way out: events become sealed chunk frames, and the end becomes one terminal frame.

Invariant: every chunk of an answer is queued before its terminal, and `text` of the signature is what was queued.
"""

import msgspec

from protocol.codec import chunk_frame
from protocol.identity import Signer, sign_text
from protocol.messages.from_provider import InferenceComplete
from protocol.messages.from_provider import Usage as WireUsage
from protocol.response_hash import ResponseHasher
from protocol.sealing import SealingError, WipeableKey, seal_chunk
from provider.engine import Delta, Finished, FinishReason, Usage
from provider.requests.frames import DONE, EventWriter, FinishWord
from provider.requests.ports import FrameLane
from provider.requests.refusal import SEALING_FAILED, RequestRefused


class Answer:
    """Sends the chunks of one request; `shared` seals them and belongs to the caller."""

    def __init__(
        self, *, request_id: str, writer: EventWriter, shared: WipeableKey, public_key: str, lane: FrameLane
    ) -> None:
        self.has_output = False
        self._request_id = request_id
        self._writer = writer
        self._shared = shared
        self._public_key = public_key
        self._lane = lane
        self._hasher = ResponseHasher(request_id)
        self._opened = False

    async def send_delta(self, delta: Delta) -> None:
        """Seal and queue one content delta, waiting for room first; raises `RequestRefused` if sealing fails."""
        await self._open()
        await self._chunk(self._writer.content(delta.text))
        self._hasher.add_text(delta.text)
        self.has_output = True

    async def send_end(self, finished: Finished) -> None:
        """Queue the closing events of an answer that ended by itself."""
        word: FinishWord = "length" if finished.reason is FinishReason.LENGTH else "stop"
        await self._open()
        await self._chunk(self._writer.finish(word))
        await self._chunk(self._writer.usage(finished.usage))
        await self._chunk(DONE)

    def complete_frame(self, finished: Finished, signer: Signer | None) -> InferenceComplete:
        """Make the success terminal: usage, response hash and its signature."""
        digest = self._hasher.finish(finished.usage.completion_tokens)
        return InferenceComplete(
            request_id=self._request_id,
            usage=wire_usage(finished.usage),
            response_hash=digest,
            se_signature="" if signer is None else sign_text(signer, digest.encode()),
            stop_sequence=finished.stop_sequence,
        )

    def wipe(self) -> None:
        """Forget the text that was collected for the hash."""
        self._hasher.wipe()

    async def _open(self) -> None:
        """Send what opens the stream, once, with the first thing that follows."""
        if self._opened:
            return
        self._opened = True
        first = self._writer.first()
        if first is not None:
            await self._chunk(first)

    async def _chunk(self, plaintext: bytes) -> None:
        await self._lane.room()
        try:
            sealed = seal_chunk(plaintext, self._shared)
        except (SealingError, ValueError):
            sealed = None
        if sealed is None:
            raise RequestRefused(SEALING_FAILED)
        self._lane.put(chunk_frame(request_id=self._request_id, public_key=self._public_key, ciphertext=sealed))


def wire_usage(usage: Usage) -> WireUsage:
    """Give the wire form of the engine's counts."""
    return msgspec.convert(msgspec.to_builtins(usage), WireUsage)
