"""Which reader an answer needs, if any."""

from provider.engine.dialect.bare import BareReader
from provider.engine.dialect.calls import Tools
from provider.engine.dialect.family import Dialect
from provider.engine.dialect.harmony import HarmonyReader
from provider.engine.dialect.parts import AnswerReader
from provider.engine.dialect.tagged import TaggedReader


def starts_in_thought(dialect: Dialect, prompt_tail: str) -> bool | None:
    """Whether the rendered prompt left the model inside its reasoning; None when it left that open.

    `prompt_tail` is the end of the prompt with its marks.
    """
    if dialect.think is None:
        return False
    begins, ends = dialect.think
    tail = prompt_tail.rstrip()
    if tail.endswith(begins):
        return True
    if tail.endswith(ends):
        return False
    return True if dialect.lone_close else None


def make_reader(
    dialect: Dialect,
    *,
    tools: Tools = (),
    prompt_tail: str = "",
    streams_calls: bool = False,
    is_forced: bool = False,
) -> AnswerReader | None:
    """Return a reader for one answer, or None when its text is what it shows.

    `streams_calls` says that a grammar holds the answer to calls, so that their arguments may be shown early;
    `is_forced` that nothing but calls was asked for, so that a piece of one is never text.
    """
    if dialect.is_harmony or dialect.parser == "harmony":
        return HarmonyReader(prompt_tail, has_tools=bool(tools))
    if dialect.think is None and not dialect.dropped and not tools:
        return None
    if dialect.think is None and dialect.parser == "llama3" and tools:
        return BareReader(is_forced=is_forced)
    in_thought = bool(starts_in_thought(dialect, prompt_tail))
    return TaggedReader(dialect, tools, in_thought=in_thought, streams_calls=streams_calls, is_forced=is_forced)
