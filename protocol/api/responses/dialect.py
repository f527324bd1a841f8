"""The Responses API as the relay sees it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from protocol.api import sse
from protocol.api.responses.answers import ResponseAnswer, ResponseStream

if TYPE_CHECKING:
    from collections.abc import Mapping

    from protocol.api.shapes import AnswerFacts


class ResponsesDialect:
    """Answers one request, whose members it repeats; a Dialect."""

    keep_alive: Final = sse.KEEP_ALIVE

    def __init__(self, echo: Mapping[str, object]) -> None:
        self._echo = echo

    def new_stream(self, facts: AnswerFacts) -> ResponseStream:
        """See Dialect."""
        return ResponseStream(facts, self._echo)

    def new_answer(self, facts: AnswerFacts) -> ResponseAnswer:
        """See Dialect."""
        return ResponseAnswer(facts, self._echo)
