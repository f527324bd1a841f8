"""The page says what the document says, safely: nothing in a declaration becomes markup."""

from __future__ import annotations

import re
from html import unescape

import msgspec
import pytest
from markupsafe import Markup

from server.api.declared import FAMILIES, OPERATIONS
from server.openapi import Operation, ReferencePage, build_document
from server.openapi.page import kind_of, prose, style_sheet


def page_of(*operations: Operation) -> str:
    document = build_document(operations, version="1.2.3", families={"Things": "All <things>."})
    return ReferencePage(document, document_path="/openapi.json", style_path="/s.css").html().decode()


class Thing(msgspec.Struct):
    """A thing with `code` & <markup>."""

    name: str


THING = Operation(
    method="PUT",
    path="/v1/things/{thing_id}",
    family="Things",
    summary="Change <b>a</b> thing",
    auth="admin",
    meaning="Uses `x < y`.",
    body=Thing,
    answer=Thing,
    example={"name": "it's"},
    errors=(409,),
)


def test_texts_are_escaped_and_code_is_marked() -> None:
    page = page_of(THING)
    assert "<b>a</b>" not in page
    assert "Change &lt;b&gt;a&lt;/b&gt; thing" in page
    assert "Uses <code>x &lt; y</code>." in page
    assert "A thing with <code>code</code> &amp; &lt;markup&gt;." in page
    assert "All &lt;things&gt;." in page


def test_an_operation_says_who_what_and_which_answers() -> None:
    page = page_of(THING)
    assert '<article id="put_v1_things_thing_id">' in page
    assert "admin key or signed-in administrator" in page
    assert '<a href="#type-Thing">Thing</a>' in page
    for status in ("200", "400", "401", "403", "404", "405", "409", "413", "429", "500", "503"):
        assert f">{status}</span>" in page
    assert "thing_id" in page
    assert unescape("-X PUT") in page


def test_every_operation_and_type_has_its_place() -> None:
    document = build_document(OPERATIONS, version="1", families=FAMILIES)
    page = ReferencePage(document, document_path="/openapi.json", style_path="/s.css").html().decode()
    anchors = set(re.findall(r'id="([^"]+)"', page))
    assert {one.name for one in OPERATIONS} <= anchors
    assert {f"type-{name}" for name in document["components"]["schemas"]} <= anchors
    for target in re.findall(r'href="#([^"]+)"', page):
        assert target in anchors


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ({}, "anything"),
        ({"type": "string"}, "text"),
        ({"type": "string", "format": "date-time"}, "moment"),
        ({"type": "boolean"}, "boolean"),
        ({"type": "integer", "minimum": 0, "maximum": 5}, "integer from 0 to 5"),
        ({"type": "number", "exclusiveMinimum": 0}, "number above 0"),
        ({"type": "array", "items": {"type": "string"}}, "list of text"),
        ({"type": "array"}, "list of anything"),
        ({"type": "object"}, "object"),
        ({"type": "object", "additionalProperties": {"type": "integer"}}, "object of integer"),
        ({"anyOf": [{"type": "string"}, {"type": "null"}]}, "text or null"),
        ({"enum": ["a", "<b>"]}, '<code>"a"</code>, <code>"<b>"</code>'),
        ({"const": 1}, "<code>1</code>"),
        ({"$ref": "#/components/schemas/Thing"}, '<a href="#type-Thing">Thing</a>'),
    ],
)
def test_kinds_in_words(schema: dict[str, object], words: str) -> None:
    found = kind_of(schema)
    assert isinstance(found, Markup)
    assert unescape(str(found)) == words
    assert "<b>" not in str(found)


def test_prose_and_style() -> None:
    assert prose("a `b` <c>") == "a <code>b</code> &lt;c&gt;"
    assert b"prefers-color-scheme: dark" in style_sheet()
    assert b"@import" not in style_sheet()
