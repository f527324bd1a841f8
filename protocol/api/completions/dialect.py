"""Legacy completions as the relay sees them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from protocol.api import sse
from protocol.api.completions.answers import CompletionAnswer, CompletionStream

if TYPE_CHECKING:
    from protocol.api.shapes import AnswerFacts


class CompletionsDialect:
    """Answers in the form of legacy completions; a Dialect."""

    keep_alive: Final = sse.KEEP_ALIVE

    def new_stream(self, facts: AnswerFacts) -> CompletionStream:
        """See Dialect."""
        return CompletionStream(facts)

    def new_answer(self, facts: AnswerFacts) -> CompletionAnswer:
        """See Dialect."""
        return CompletionAnswer(
            public_model=facts.public_model,
            completion_id=f"cmpl-{facts.job_hex}",
            created=facts.created,
            requested_max=facts.requested_max,
            split_think=facts.split_think,
        )


COMPLETIONS: Final = CompletionsDialect()
