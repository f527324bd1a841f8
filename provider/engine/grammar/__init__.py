"""Constraints on generated text: JSON, JSON of a schema, calls of given tools."""

from provider.engine.grammar.checks import SchemaCheck
from provider.engine.grammar.compiler import GrammarCompiler, GrammarRefused, is_available
from provider.engine.grammar.plan import AT_ONCE, Begin, Grammar
from provider.engine.grammar.sources import (
    JSON_OBJECT,
    MAX_SCHEMA_BYTES,
    MAX_SCHEMA_DEPTH,
    GrammarSource,
    SourceRefused,
    schema_source,
    tools_source,
)

__all__ = [
    "AT_ONCE",
    "JSON_OBJECT",
    "MAX_SCHEMA_BYTES",
    "MAX_SCHEMA_DEPTH",
    "Begin",
    "Grammar",
    "GrammarCompiler",
    "GrammarRefused",
    "GrammarSource",
    "SchemaCheck",
    "SourceRefused",
    "is_available",
    "schema_source",
    "tools_source",
]
