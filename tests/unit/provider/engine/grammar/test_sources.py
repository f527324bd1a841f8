"""Grammars as text, and their bounds."""

import json

import pytest

from provider.engine.grammar import MAX_SCHEMA_BYTES, MAX_SCHEMA_DEPTH, SourceRefused, schema_source, tools_source


def nested(levels):
    schema = {}
    for _ in range(levels - 1):
        schema = {"items": schema}
    return schema


def test_a_schema_keeps_its_members_but_no_options_of_the_compiler():
    source = schema_source({"type": "object", "x-guidance": {"lenient": True}})
    assert json.loads(source.text) == {"type": "object"}


def test_bounds_are_named():
    assert schema_source(nested(MAX_SCHEMA_DEPTH)).kind == "schema"
    with pytest.raises(SourceRefused, match="more than 32 levels"):
        schema_source(nested(MAX_SCHEMA_DEPTH + 1))
    with pytest.raises(SourceRefused, match="longer than 65536 bytes"):
        schema_source({"description": "x" * MAX_SCHEMA_BYTES})


def test_a_source_does_not_show_its_schema():
    assert "secret" not in repr(schema_source({"title": "secret"}))


def test_equal_schemas_are_one_source():
    assert schema_source({"type": "object"}) == schema_source({"type": "object"})
    assert schema_source({"type": "object"}) != schema_source({"type": "object"}, is_strict=False)


def test_one_tool_can_be_singled_out():
    tools = [{"type": "function", "function": {"name": name}} for name in ("one", "two")]
    assert "two" not in tools_source(tools, ("<a>", "</a>"), only="one").text
    assert "two" in tools_source(tools, ("<a>", "</a>")).text
