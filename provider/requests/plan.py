"""How an answer is to be read and what it must hold; made when its prompt is rendered."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from provider.engine import Vocabulary
from provider.engine.dialect import AnswerReader, Dialect, make_reader
from provider.engine.grammar import SchemaCheck


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerPlan:
    """Reading rules of one answer; `dialect` None means that its text is what it shows.

    `prompt_tail` is the end of the prompt with its marks. `must_call` asks for at least one call, of the tool
    `only_tool` if that is set; `one_call` permits no second one. The whole visible text must pass `check`.
    `streams_calls`: a grammar permits nothing but calls, so their arguments are sent while they are generated.
    """

    vocabulary: Vocabulary = field(repr=False)
    dialect: Dialect | None = None
    tools: tuple[Mapping[str, object], ...] = field(default=(), repr=False)
    prompt_tail: str = field(default="", repr=False)
    must_call: bool = False
    only_tool: str | None = None
    one_call: bool = False
    check: SchemaCheck | None = None
    streams_calls: bool = False

    def reader(self) -> AnswerReader | None:
        """Return the reader of the answer, or None if it needs none."""
        if self.dialect is None:
            return None
        return make_reader(
            self.dialect,
            tools=self.tools,
            prompt_tail=self.prompt_tail,
            streams_calls=self.streams_calls,
            is_forced=self.must_call,
        )
