"""Schemas of tools: references written out, types completed, and everything else left as it was."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.api.tools import references
from protocol.api.tools.references import MAX_BYTES, MAX_NODES, MAX_STEPS, inline_references
from protocol.api.tools.schema import MARKER
from protocol.api.tools.typed import complete_types, is_complete


def inlined(schema: object) -> Any:
    return json.loads(bytes(inline_references(msgspec.Raw(json.dumps(schema).encode()))))


def typed(schema: object) -> Any:
    """What becomes of a schema that stands at `properties.x`."""
    whole = {"type": "object", "properties": {"x": schema}}
    found = json.loads(bytes(complete_types(msgspec.Raw(json.dumps(whole).encode()))))
    return found["properties"]["x"]


class Inner(pydantic.BaseModel):
    number: int


class Outer(pydantic.BaseModel):
    one: Inner
    many: list[Inner]
    maybe: Inner | None = None
    either: int | str = 1


# --- references -----------------------------------------------------------------------------------------------------


def test_what_pydantic_writes_has_no_references_left() -> None:
    found = inlined(Outer.model_json_schema())
    assert "$ref" not in json.dumps(found)
    assert "$defs" not in found
    inner = Inner.model_json_schema()
    assert found["properties"]["one"] == inner
    assert found["properties"]["many"]["items"] == inner
    assert found["properties"]["maybe"]["anyOf"] == [inner, {"type": "null"}]


def test_members_beside_a_reference_win() -> None:
    schema = {"x": {"$ref": "#/$defs/A", "description": "mine"}, "$defs": {"A": {"type": "string", "description": "a"}}}
    assert inlined(schema) == {"x": {"type": "string", "description": "mine"}}


def test_references_lead_anywhere_in_the_document() -> None:
    schema = {
        "properties": {"a": {"type": "string"}, "b": {"$ref": "#/properties/a"}, "c": {"$ref": "#/definitions/x~1y"}},
        "definitions": {"x/y": {"$ref": "#/anyOf/1"}},
        "anyOf": [{}, {"type": "integer"}],
    }
    assert inlined(schema)["properties"] == {"a": {"type": "string"}, "b": {"type": "string"}, "c": {"type": "integer"}}


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "#"},
        {"x": {"$ref": "#/$defs/A"}, "$defs": {"A": {"properties": {"again": {"$ref": "#/$defs/A"}}}}},
        {"x": {"$ref": "#/$defs/A"}, "$defs": {"A": {"$ref": "#/$defs/B"}, "B": {"$ref": "#/$defs/A"}}},
        {"$defs": {"A": {"$ref": "#/$defs/A"}}, "$ref": "#/$defs/A"},
    ],
)
def test_circles_end(schema: object) -> None:
    assert "$ref" not in json.dumps(inlined(schema))


def test_references_that_lead_nowhere_stay_with_the_definitions() -> None:
    schema = {
        "a": {"$ref": "https://example.com/schema"},
        "b": {"$ref": "#/nowhere"},
        "c": {"$ref": "#/$defs/A"},
        "$defs": {"A": {"type": "null"}},
    }
    assert inlined(schema) == schema | {"c": {"type": "null"}}


def test_references_that_multiply_are_bounded() -> None:
    defs: dict[str, Any] = {"n0": {"type": "string"}}
    for level in range(1, 40):
        defs[f"n{level}"] = {"anyOf": [{"$ref": f"#/$defs/n{level - 1}"}] * 10}
    found = inline_references(msgspec.Raw(json.dumps({"$ref": "#/$defs/n39", "$defs": defs}).encode()))
    assert len(bytes(found)) < 100 * MAX_NODES


@pytest.mark.parametrize("ref", [7, None, "", "#/", "#/$defs", "#/$defs/0", "#/%zz", {"a": 1}])
def test_odd_references_do_no_harm(ref: object) -> None:
    inlined({"x": {"$ref": ref}, "$defs": {"A": {"type": "string"}}})


def test_short_references_to_a_long_schema_are_bounded() -> None:
    long = {"type": "string", "description": "d" * 100_000}
    properties = {f"p{index}": {"$ref": "#/$defs/long"} for index in range(3000)}
    found = inlined({"properties": properties, "$defs": {"long": long}})
    whole = [name for name, schema in found["properties"].items() if schema]
    assert whole == [f"p{index}" for index in range(MAX_BYTES // 100_000)]
    assert all(found["properties"][name] == long for name in whole)


def test_many_references_read_a_long_document_once(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []
    members = references.read_members
    monkeypatch.setattr(
        references,
        "read_members",
        lambda raw, or_none=False: read.append(len(bytes(raw))) or members(raw, or_none=or_none),
    )
    properties = {f"p{index}": {"$ref": "#/$defs/nowhere"} for index in range(1000)}
    inlined({"properties": properties, "$defs": {"long": {"description": "d" * 100_000}}})
    assert sum(read) < 1_000_000


def test_a_reference_of_many_steps_stays() -> None:
    schema: dict[str, Any] = {"x": {"$ref": "#" + "/properties" * (MAX_STEPS + 1)}, "properties": {}}
    inner = schema
    for _ in range(MAX_STEPS + 1):
        inner["properties"] = {}
        inner = inner["properties"]
    assert inlined(schema)["x"] == schema["x"]


def test_without_references_the_bytes_stay() -> None:
    raw = msgspec.Raw(b'{ "type":"object" , "x":1.50e+3 }')
    assert bytes(inline_references(raw)) == bytes(raw)


# --- types ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("schema", "more"),
    [
        ({}, {"type": "string", MARKER: True}),
        (True, {"type": "string", MARKER: True}),
        (False, {"type": "string", MARKER: False}),
        ({"description": "d"}, {"type": "string"}),
        ({"properties": {}}, {"type": "object"}),
        ({"items": {"type": "string"}}, {"type": "array"}),
        ({"enum": ["a", "b"]}, {"type": "string"}),
        ({"enum": [1, 2]}, {"type": "integer"}),
        ({"enum": [1.5]}, {"type": "number"}),
        ({"enum": [True]}, {"type": "boolean"}),
        ({"enum": ["a", None]}, {"type": "string", "nullable": True}),
        ({"const": 5}, {"type": "integer"}),
        ({"minimum": 0.5}, {"type": "number"}),
        ({"const": None}, {"type": "null"}),
        ({"type": ["string", "null"]}, {"type": "string", "nullable": True}),
        ({"type": ["integer"]}, {"type": "integer"}),
        ({"type": ["null"]}, {"type": "null"}),
        ({"type": []}, {"type": "string"}),
        ({"type": 7}, {"type": "string"}),
        ({"anyOf": [{"type": "integer"}, {"type": "null"}]}, {"type": "integer", "nullable": True}),
        ({"oneOf": [{"type": "integer"}, {"type": "string"}]}, {"type": "integer"}),
        ({"type": "string"}, {}),
        ({"type": "integer", "minimum": 1}, {}),
    ],
)
def test_every_schema_ends_with_one_type(schema: object, more: dict[str, Any]) -> None:
    base = schema if isinstance(schema, dict) else {}
    assert typed(schema) == base | more


def test_schemas_are_found_in_every_place() -> None:
    schema = {
        "type": "object",
        "properties": {"a": {}},
        "patternProperties": {"b": {}},
        "additionalProperties": {},
        "items": [{}, True],
        "prefixItems": [{}],
        "anyOf": [{"type": "object"}, {}],
        "oneOf": [{}],
        "allOf": [{}],
    }
    found = typed(schema)
    text = {"type": "string", MARKER: True}
    assert found["properties"] == {"a": text}
    assert found["patternProperties"] == {"b": text}
    assert found["additionalProperties"] == text
    assert found["items"] == [text, text]
    assert found["prefixItems"] == found["oneOf"] == found["allOf"] == [text]
    assert found["anyOf"] == [{"type": "object"}, text]


def test_what_is_no_schema_is_left_alone() -> None:
    schema = {
        "type": "object",
        "additionalProperties": False,
        "required": ["a"],
        "default": {},
        "examples": [{}],
        "x-mine": {"properties": {"a": {}}},
        "enum": [{}],
    }
    assert typed(schema) == schema


def test_numbers_keep_their_digits() -> None:
    raw = b'{"type":"object","properties":{"a":{"const":9007199254740993},"b":{"minimum":1.50e+3,"description":"d"}}}'
    found = bytes(complete_types(msgspec.Raw(raw)))
    assert b'"const":9007199254740993' in found
    assert b'"minimum":1.50e+3' in found
    assert found.count(b'"type"') == 3


def test_a_schema_without_need_keeps_its_bytes() -> None:
    raw = msgspec.Raw(b'{ "type" : "object", "properties" : { "a" : { "type" : "string" } } }')
    assert bytes(complete_types(raw)) == bytes(raw)


def test_deep_schemas_end() -> None:
    schema: dict[str, Any] = {}
    for _ in range(100):
        schema = {"properties": {"x": schema}}
    assert json.dumps(typed(schema)).count('"type"') > 60


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.sampled_from(["string", "null", "#/$defs/A", "x"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["type", "properties", "items", "anyOf", "$ref", "$defs", "A", "enum", "const", "additionalProperties"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(_JSON)
def test_no_schema_is_too_odd(schema: object) -> None:
    raw = msgspec.Raw(json.dumps({"properties": {"x": schema}, "$defs": {"A": schema}}).encode())
    inner = inline_references(raw)
    once = complete_types(inner)
    assert isinstance(json.loads(bytes(once)), dict)
    assert is_complete(json.loads(bytes(inner))) == (bytes(once) == bytes(inner))
    assert is_complete(json.loads(bytes(once)))
