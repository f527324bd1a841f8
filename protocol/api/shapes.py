"""What the relay asks of an API dialect: assemblers that turn a provider's chat chunks into that dialect's answer.

Invariant: an assembler with a template gives, for every plain content delta, exactly what the template's splice gives,
as long as that template is the current one. A dialect whose output depends on what came before has no template.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol, runtime_checkable

import msgspec

from protocol.api import sse
from protocol.api.chat_answer import ChatAnswer
from protocol.api.chat_stream import ChatStream, Piece

if TYPE_CHECKING:
    from collections.abc import Mapping

    from native import SpliceTemplate
    from protocol.api.ending import UsageReport
    from protocol.api.errors import ApiError


class AnswerFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What the relay knows of an answer when an attempt begins.

    `job_id` is the attempt's id (a UUID with dashes), `created` Unix seconds, `requested_max` the output bound that
    was sent to the provider, `prompt_tokens` the routing estimate.
    """

    job_id: str
    public_model: str
    created: int
    requested_max: int
    prompt_tokens: int = 0
    include_usage: bool = False
    split_think: bool = False

    @property
    def job_hex(self) -> str:
        """The job's id without dashes."""
        return self.job_id.replace("-", "")


class Assembler(Protocol):
    """Takes the output of one attempt, in order. Sans-IO."""

    @property
    def deltas(self) -> int:
        """Non-empty deltas that were fed; spliced ones are counted elsewhere for streams."""

    @property
    def text_bytes(self) -> int:
        """UTF-8 bytes of their text."""

    @property
    def dropped_events(self) -> int:
        """Events that were no chunks."""

    @property
    def ended(self) -> bool:
        """True once the provider named a finish reason or said `[DONE]`: no more text is due."""

    @property
    def template(self) -> SpliceTemplate | None:
        """What the pump may splice from now on; None for nothing."""

    @property
    def dropped_calls(self) -> int:
        """Tool calls beyond the bound of one answer."""


class StreamAssembler(Assembler, Protocol):
    """Makes a streamed answer; call `finish` or `fail` once, at the end."""

    def feed(self, plaintext: bytes) -> list[Piece]:
        """Take one opened chunk, any number of events, and give ready bytes; may raise AnswerTooLarge."""

    def finish(
        self,
        usage: UsageReport,
        *,
        response_hash: str | None = None,
        se_signature: str | None = None,
        stop_sequence: str | None = None,
        attachments: Mapping[str, object] | None = None,
    ) -> bytes:
        """The end of a complete answer. `stop_sequence` is the stop string that matched, if the caller gave any.

        `attachments` are further top-level members (receipt, metadata).
        """

    def fail(self, error: ApiError) -> bytes:
        """The end of a broken answer: the dialect's error event."""


@runtime_checkable
class RunRaiser(Protocol):
    """What a StreamAssembler is too if its events depend on what came before, such as numbered ones.

    The output sides of its template are b"" and LF, so that a run is a row of JSON string bodies, each with its LF
    behind it; the pump writes nothing to the consumer itself.
    """

    def raise_run(self, bodies: bytes) -> bytes:
        """The ready bytes of a run, which is counted elsewhere; may raise AnswerTooLarge."""


class WholeAssembler(Assembler, Protocol):
    """Makes an answer in one piece. Its template has empty output sides: a run is a row of JSON string bodies."""

    def feed(self, plaintext: bytes) -> bool:
        """Collect one opened chunk, any number of events; True if anything generated was in it.

        May raise AnswerTooLarge.
        """

    def add_run(self, bodies: bytes, deltas: int, text_bytes: int) -> None:
        """Collect a run of the pump; may raise AnswerTooLarge."""

    def finish(
        self,
        usage: UsageReport,
        *,
        response_hash: str | None = None,
        se_signature: str | None = None,
        stop_sequence: str | None = None,
        attachments: Mapping[str, object] | None = None,
    ) -> dict[str, object]:
        """The complete answer; see StreamAssembler."""


class Dialect(Protocol):
    """One request's way of being answered; may hold what its answer echoes of the request."""

    @property
    def keep_alive(self) -> bytes:
        """A whole event or comment that clients skip, for a stream that is silent for long."""

    def new_stream(self, facts: AnswerFacts) -> StreamAssembler:
        """An assembler for one streamed attempt."""

    def new_answer(self, facts: AnswerFacts) -> WholeAssembler:
        """An assembler for one attempt that is answered in one piece."""


class ChatDialect:
    """Chat completions; a Dialect."""

    keep_alive: Final = sse.KEEP_ALIVE

    def new_stream(self, facts: AnswerFacts) -> ChatStream:
        """See Dialect."""
        return ChatStream(
            public_model=facts.public_model,
            completion_id=f"chatcmpl-{facts.job_id}",
            created=facts.created,
            include_usage=facts.include_usage,
            requested_max=facts.requested_max,
            split_think=facts.split_think,
        )

    def new_answer(self, facts: AnswerFacts) -> ChatAnswer:
        """See Dialect."""
        return ChatAnswer(
            public_model=facts.public_model,
            completion_id=f"chatcmpl-{facts.job_id}",
            created=facts.created,
            requested_max=facts.requested_max,
            split_think=facts.split_think,
        )


CHAT: Final = ChatDialect()
