"""One answer on its way out: events become sealed chunk frames, and the end becomes one terminal frame.

Invariant: every chunk of an answer is queued before its terminal, and `text` of the signature is what was queued.
"""

from protocol.codec import chunk_frame
from protocol.identity import Signer, sign_text
from protocol.messages.from_provider import InferenceComplete
from protocol.messages.from_provider import Usage as WireUsage
from protocol.response_hash import ResponseHasher
from protocol.sealing import SealingError, WipeableKey, seal_chunk
from provider.engine import Delta, Finished, Usage
from provider.requests.frames import EventWriter
from provider.requests.narration import Narration
from provider.requests.plan import AnswerPlan
from provider.requests.ports import FrameLane
from provider.requests.refusal import SEALING_FAILED, RequestRefused


class Answer:
    """Sends the chunks of one request; `shared` seals them and belongs to the caller."""

    def __init__(
        self,
        *,
        request_id: str,
        writer: EventWriter,
        plan: AnswerPlan,
        shared: WipeableKey,
        public_key: str,
        lane: FrameLane,
    ) -> None:
        self._request_id = request_id
        self._shared = shared
        self._public_key = public_key
        self._lane = lane
        self._hasher = ResponseHasher(request_id)
        self._narration = Narration(writer=writer, plan=plan, hasher=self._hasher)

    @property
    def has_output(self) -> bool:
        """Whether anything generated was sent."""
        return self._narration.has_output

    @property
    def spoiled_calls(self) -> int:
        """Tool calls that could not be read and were sent as text."""
        return self._narration.spoiled_calls

    @property
    def dropped_logprobs(self) -> int:
        """Log-probabilities that waited too long for their text."""
        return self._narration.dropped_logprobs

    async def send_delta(self, delta: Delta) -> None:
        """Seal and queue what one piece of text gives, waiting for room; raises `RequestRefused` if sealing fails."""
        for event in self._narration.delta(delta):
            await self._chunk(event)

    async def send_end(self, finished: Finished) -> None:
        """Queue the closing events of an answer that ended by itself; raises `RequestRefused` if it may not end so."""
        for event in self._narration.end(finished):
            await self._chunk(event)

    def usage(self, finished: Finished) -> WireUsage:
        """Give the counts of the answer."""
        return wire_usage(finished.usage, self._narration.reasoning_tokens(finished))

    def complete_frame(self, finished: Finished, signer: Signer | None) -> InferenceComplete:
        """Make the success terminal: usage, response hash and its signature."""
        digest = self._hasher.finish(finished.usage.completion_tokens)
        return InferenceComplete(
            request_id=self._request_id,
            usage=self.usage(finished),
            response_hash=digest,
            se_signature="" if signer is None else sign_text(signer, digest.encode()),
            stop_sequence=finished.stop_sequence,
        )

    def wipe(self) -> None:
        """Forget the text that was collected for the hash."""
        self._hasher.wipe()

    async def _chunk(self, plaintext: bytes) -> None:
        await self._lane.room()
        try:
            sealed = seal_chunk(plaintext, self._shared)
        except (SealingError, ValueError):
            sealed = None
        if sealed is None:
            raise RequestRefused(SEALING_FAILED)
        self._lane.put(chunk_frame(request_id=self._request_id, public_key=self._public_key, ciphertext=sealed))


def wire_usage(usage: Usage, reasoning_tokens: int = 0) -> WireUsage:
    """Give the wire form of the engine's counts."""
    return WireUsage(
        prompt_tokens=usage.prompt_tokens,
        completion_tokens=usage.completion_tokens,
        reasoning_tokens=reasoning_tokens,
        cached_tokens=usage.cached_tokens,
        prefill_tokens_saved=usage.cached_tokens,
        cache_outcome=usage.cache_outcome.value,
        cache_tier="memory" if usage.cached_tokens else "",
    )
