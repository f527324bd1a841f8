"""What the text of a model means: thoughts, visible text, tool calls. Pure; one reader for each answer."""

from provider.engine.dialect.calls import CallsRefused, parse_calls
from provider.engine.dialect.family import JSON_PARSER, PARSERS, PLAIN, Dialect, dialect_of
from provider.engine.dialect.parts import (
    AnswerReader,
    Call,
    CallArguments,
    CallBroken,
    CallClosed,
    CallOpened,
    Content,
    Part,
    SpoiledCall,
    Thought,
)
from provider.engine.dialect.readers import make_reader, starts_in_thought

__all__ = [
    "JSON_PARSER",
    "PARSERS",
    "PLAIN",
    "AnswerReader",
    "Call",
    "CallArguments",
    "CallBroken",
    "CallClosed",
    "CallOpened",
    "CallsRefused",
    "Content",
    "Dialect",
    "Part",
    "SpoiledCall",
    "Thought",
    "dialect_of",
    "make_reader",
    "parse_calls",
    "starts_in_thought",
]
