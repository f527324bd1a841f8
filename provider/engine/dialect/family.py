"""Which marks and which tool parser a model's answers use, from its type, its template and its vocabulary.

Source: provider rules, reasoning split, and tool calls.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Final

HARMONY_MARKS: Final = ("<|start|>", "<|channel|>", "<|constrain|>", "<|message|>", "<|end|>", "<|return|>", "<|call|>")

LLAMA3_VOCABULARY: Final = 128_000
"""Llama models of this vocabulary or a larger one write calls as bare JSON."""

PYTHON_TAG: Final = "<|python_tag|>"
"""What Llama may write before a call."""

TOOL_FRAMES: Final[Mapping[str, tuple[str, str]]] = {
    "json_tools": ("<tool_call>", "</tool_call>"),
    "qwen3_coder": ("<tool_call>", "</tool_call>"),
    "qwen3_5": ("<tool_call>", "</tool_call>"),
    "nemotron": ("<TOOLCALL>", "</TOOLCALL>"),
    "pythonic": ("<|tool_call_start|>", "<|tool_call_end|>"),
    "glm47": ("<tool_call>", "</tool_call>"),
    "laguna": ("<tool_call>", "</tool_call>"),
    "mistral": ("[TOOL_CALLS]", ""),
    "gemma4": ("<|tool_call>", "<tool_call|>"),
    "function_gemma": ("<start_function_call>", "<end_function_call>"),
    "kimi_k2": ("<|tool_calls_section_begin|>", "<|tool_calls_section_end|>"),
    "kimi_k3": ("<|open|>tools<|sep|>", "<|close|>tools<|sep|>"),
    "longcat": ("<longcat_tool_call>", "</longcat_tool_call>"),
    "minimax_m2": ("<minimax:tool_call>", "</minimax:tool_call>"),
    "minicpm5": ("<function name=", "</function>"),
    "muse_spark": ("<atem:function_calls>", "</atem:function_calls>"),
}
"""Parsers of framed calls with their opening and closing marks; without a closing one a call ends with the turn."""

INNER_MARKS: Final[Mapping[str, tuple[str, ...]]] = {
    "gemma4": ('<|"|>',),
    "function_gemma": ("<escape>",),
    "glm47": ("<arg_key>", "</arg_key>", "<arg_value>", "</arg_value>"),
    "laguna": ("<arg_key>", "</arg_key>", "<arg_value>", "</arg_value>"),
    "kimi_k2": ("<|tool_call_begin|>", "<|tool_call_argument_begin|>", "<|tool_call_end|>"),
    "kimi_k3": ("<|open|>", "<|close|>", "<|sep|>", "<|end_of_msg|>"),
    "mistral": ("[ARGS]", "[CALL_ID]"),
    "llama3": (PYTHON_TAG,),
}
"""Marks inside a call, which may be special tokens too."""

JSON_PARSER: Final = "json_tools"
"""The family whose calls are JSON in a frame."""

UNFRAMED: Final = ("harmony", "llama3")
PARSERS: Final = frozenset(TOOL_FRAMES) | frozenset(UNFRAMED)

_BY_TYPE: Final[tuple[tuple[str, str], ...]] = (
    ("gpt_oss", "harmony"),
    ("gemma", "gemma4"),
    ("qwen3_5", "qwen3_5"),
    ("qwen3_next", "qwen3_coder"),
    ("nemotron", "nemotron"),
    ("lfm2", "pythonic"),
    ("glm4", "glm47"),
    ("mistral3", "mistral"),
)
"""Parser by the beginning of the model type."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """How a model writes; `think` holds the marks around its reasoning, or None.

    `lone_close` says that reasoning may have begun without its mark. `dropped` are marks that never show, wherever they
    mean nothing: special tokens that a reader must see. `mark_ids` are their ids, to be decoded for a reader.
    """

    parser: str = JSON_PARSER
    think: tuple[str, str] | None = None
    lone_close: bool = False
    is_harmony: bool = False
    dropped: tuple[str, ...] = ()
    mark_ids: frozenset[int] = frozenset()

    @property
    def frame(self) -> tuple[str, str] | None:
        """Marks around a call, if it has any."""
        return TOOL_FRAMES.get(self.parser)

    def with_parser(self, parser: str) -> "Dialect":
        """Return the dialect with another tool parser; raises ValueError for a name that is not known."""
        if parser not in PARSERS:
            raise ValueError(f"The tool parser {parser!r} is not known; use one of {', '.join(sorted(PARSERS))}.")
        return replace(self, parser=parser)


PLAIN: Final = Dialect()
"""No reasoning; calls, where tools are given, as JSON between ``<tool_call>`` marks."""


def dialect_of(
    *,
    model_type: str,
    vocabulary: Mapping[str, int],
    special: Collection[str] = (),
    think: tuple[str, str] | None = None,
    inferred_parser: str | None = None,
    rope_type: str = "",
    dropped: tuple[str, ...] = (),
) -> Dialect:
    """Choose the dialect of a model.

    `special` are the texts of special tokens. `think` and `inferred_parser` are what the tokenizer's template and
    vocabulary suggest; the model type decides where they say nothing. `dropped` frames that show nothing themselves.
    """
    kind = model_type.lower()
    if kind.startswith("gpt_oss"):
        ids = frozenset(vocabulary[mark] for mark in HARMONY_MARKS if mark in vocabulary)
        return Dialect(parser="harmony", is_harmony=True, dropped=HARMONY_MARKS, mark_ids=ids)
    parser = _parser(kind, inferred_parser, len(vocabulary), rope_type)
    marks = {*(think or ()), *TOOL_FRAMES.get(parser, ()), *INNER_MARKS.get(parser, ()), *dropped} - {""}
    seen = {word for word in special if word in vocabulary and any(word in mark for mark in marks)}
    return Dialect(
        parser=parser,
        think=think,
        lone_close=think is not None and kind.startswith("deepseek"),
        dropped=tuple(sorted(seen | set(dropped))),
        mark_ids=frozenset(vocabulary[word] for word in seen),
    )


def _parser(kind: str, inferred: str | None, vocabulary_size: int, rope_type: str) -> str:
    if inferred in PARSERS:
        return inferred
    if kind == "llama" and (vocabulary_size >= LLAMA3_VOCABULARY or rope_type == "llama3"):
        return "llama3"
    return next((parser for beginning, parser in _BY_TYPE if kind.startswith(beginning)), JSON_PARSER)
