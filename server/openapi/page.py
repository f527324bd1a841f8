"""The reference page: the OpenAPI document as HTML, rendered here, with one style sheet of ours and no script.

Whoever reads it asks no other server for anything.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib.resources import files
from typing import TYPE_CHECKING, Final

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup, escape

from server.openapi.document import ACCESS
from server.openapi.operation import EVENTS

if TYPE_CHECKING:
    from typing import Any

STYLE_NAME: Final = "reference.css"
_FOLDER: Final = files("server.openapi")
_CODE: Final = re.compile(r"`([^`]+)`")
_METHODS: Final = ("get", "post", "put", "patch", "delete")
_REF_PREFIX: Final = "#/components/schemas/"
_MAX_DEPTH: Final = 6


@dataclass(frozen=True, slots=True)
class Field:
    """One line of a table of members or parameters."""

    name: str
    kind: Markup
    meaning: Markup
    required: bool
    where: str = ""


@dataclass(frozen=True, slots=True)
class Shape:
    """A named type with its members."""

    name: str
    meaning: Markup
    fields: list[Field] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer of an operation."""

    status: str
    text: str
    kinds: list[tuple[str, Markup]]


@dataclass(frozen=True, slots=True)
class Entry:
    """One operation."""

    anchor: str
    method: str
    path: str
    summary: str
    meaning: Markup
    access: str
    parameters: list[Field]
    body: list[tuple[str, Markup]]
    good: list[Reply]
    errors: list[Reply]
    example: str


@dataclass(frozen=True, slots=True)
class Family:
    """Operations that belong together."""

    name: str
    anchor: str
    meaning: Markup
    entries: list[Entry]


class ReferencePage:
    """The page of one document."""

    def __init__(self, document: Mapping[str, Any], *, document_path: str, style_path: str) -> None:
        self._document = document
        self._document_path = document_path
        self._style_path = style_path

    def html(self) -> bytes:
        """Render the page, in UTF-8; takes some 60 ms."""
        environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
        template = environment.from_string((_FOLDER / "templates" / "reference.html").read_text())
        return template.render(
            info=self._document["info"],
            about=prose(self._document["info"]["description"]),
            families=list(_families(self._document)),
            shapes=list(_shapes(self._document)),
            document_path=self._document_path,
            style_path=self._style_path,
        ).encode()


def style_sheet() -> bytes:
    """The page's one style sheet."""
    return (_FOLDER / "static" / STYLE_NAME).read_bytes()


def prose(text: str) -> Markup:
    """Plain text as HTML; what stands between back-ticks is code."""
    return Markup(_CODE.sub(r"<code>\1</code>", str(escape(text))))


def kind_of(schema: Mapping[str, Any], depth: int = 0) -> Markup:
    """Say in words what a schema admits; named types are links."""
    if depth > _MAX_DEPTH or not schema:
        return Markup("anything")
    if "$ref" in schema:
        name = str(schema["$ref"]).removeprefix(_REF_PREFIX)
        return Markup('<a href="#type-{0}">{0}</a>').format(name)
    if "anyOf" in schema:
        return Markup(" or ").join(kind_of(one, depth + 1) for one in schema["anyOf"])
    if "enum" in schema:
        return Markup(", ").join(Markup("<code>{}</code>").format(json.dumps(one)) for one in schema["enum"])
    if "const" in schema:
        return Markup("<code>{}</code>").format(json.dumps(schema["const"]))
    return _plain_kind(schema, depth)


def _plain_kind(schema: Mapping[str, Any], depth: int) -> Markup:
    match schema.get("type"):
        case "array":
            return Markup("list of {}").format(kind_of(schema.get("items") or {}, depth + 1))
        case "object":
            values = schema.get("additionalProperties")
            return Markup("object of {}").format(kind_of(values, depth + 1)) if values else Markup("object")
        case "string" if schema.get("format") == "date-time":
            return Markup("moment")
        case "string":
            return Markup("text")
        case "integer" | "number" as kind:
            bounds = [
                f"{word} {schema[key]}"
                for word, key in (("from", "minimum"), ("above", "exclusiveMinimum"), ("to", "maximum"))
                if key in schema
            ]
            return Markup("{} {}").format(kind, " ".join(bounds)) if bounds else escape(kind)
        case kind:
            return escape(kind or "anything")


def _families(document: Mapping[str, Any]) -> Iterator[Family]:
    entries: dict[str, list[Entry]] = {}
    for path, methods in document["paths"].items():
        for method in _METHODS:
            if method in methods:
                entries.setdefault(methods[method]["tags"][0], []).append(_entry(path, method, methods[method]))
    for tag in document["tags"]:
        yield Family(
            tag["name"], f"family-{tag['name'].lower()}", prose(tag["description"]), entries.get(tag["name"], [])
        )


def _entry(path: str, method: str, described: Mapping[str, Any]) -> Entry:
    body = described.get("requestBody", {}).get("content", {})
    replies = [_reply(status, answer) for status, answer in described["responses"].items()]
    return Entry(
        anchor=described["operationId"],
        method=method.upper(),
        path=path,
        summary=described["summary"],
        meaning=prose(described.get("description", "")),
        access=described[ACCESS],
        parameters=[_parameter(one) for one in described.get("parameters", [])],
        body=[(media, kind_of(content["schema"])) for media, content in body.items()],
        good=[one for one in replies if one.status < "400"],
        errors=[one for one in replies if one.status >= "400"],
        example=_example(path, method, described),
    )


def _reply(status: str, answer: Mapping[str, Any]) -> Reply:
    content = answer.get("content", {})
    kinds = [(media, Markup("events") if media == EVENTS else kind_of(one["schema"])) for media, one in content.items()]
    return Reply(status, answer["description"], kinds)


def _parameter(one: Mapping[str, Any]) -> Field:
    return Field(
        one["name"],
        kind_of(one["schema"]),
        prose(one.get("description", "")),
        required=one["required"],
        where=one["in"],
    )


def _shapes(document: Mapping[str, Any]) -> Iterator[Shape]:
    for name, schema in sorted(document["components"]["schemas"].items()):
        required = set(schema.get("required", ()))
        members = [
            Field(member, kind_of(one), prose(one.get("description", "")), required=member in required)
            for member, one in schema.get("properties", {}).items()
        ]
        yield Shape(name, prose(schema.get("description", "")), members)


def _example(path: str, method: str, described: Mapping[str, Any]) -> str:
    """A call with curl, where an example body is declared."""
    content = described.get("requestBody", {}).get("content", {})
    sample = next((one["example"] for one in content.values() if "example" in one), None)
    if sample is None:
        return ""
    lines = [
        f"curl $COORDINATOR{path} \\",
        '  -H "Authorization: Bearer $KEY" \\',
        '  -H "Content-Type: application/json" \\',
        f"  -d '{json.dumps(sample)}'",
    ]
    if method != "post":
        lines.insert(1, f"  -X {method.upper()} \\")
    return "\n".join(lines)
