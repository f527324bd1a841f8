"""How a Messages request is answered."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from protocol.api.anthropic.events import PING
from protocol.api.anthropic.message import MessageAnswer
from protocol.api.anthropic.stream import MessageStream

if TYPE_CHECKING:
    from protocol.api.shapes import AnswerFacts


@dataclass(frozen=True, slots=True, kw_only=True)
class MessagesDialect:
    """A Dialect; `request_id` is the public id that errors name."""

    stop_sequences: tuple[str, ...] = ()
    has_tools: bool = False
    request_id: str | None = None

    @property
    def keep_alive(self) -> bytes:
        """See Dialect."""
        return PING

    def new_stream(self, facts: AnswerFacts) -> MessageStream:
        """See Dialect."""
        return MessageStream(
            facts, stop_sequences=self.stop_sequences, has_tools=self.has_tools, request_id=self.request_id
        )

    def new_answer(self, facts: AnswerFacts) -> MessageAnswer:
        """See Dialect."""
        return MessageAnswer(facts, stop_sequences=self.stop_sequences)
