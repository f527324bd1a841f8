"""The OpenAPI 3.1 document, generated from the declared operations."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

import msgspec

from server.openapi import security
from server.openapi.envelopes import AnthropicErrorAnswer, ErrorAnswer, SealedAnswer, SealedBody
from server.openapi.operation import EVENTS, JSON, NO_BODY, OneOf, Operation, Parameter
from server.sealed.exchange import SEALED_TYPE

if TYPE_CHECKING:
    from typing import Any

OPENAPI_VERSION: Final = "3.1.0"
TITLE: Final = "Darkbloom coordinator"
ACCESS: Final = "x-access"
"""Who may call, in words."""
_REFERENCE: Final = "#/components/schemas/{name}"
_ALWAYS: Final = (400, 404, 405, 413, 500)
_HEADERS: Final = {
    "X-Request-ID": {
        "description": "The id of this request, yours if you sent one that can be used.",
        "schema": {"type": "string"},
    },
}
_RETRY_AFTER: Final = {
    "Retry-After": {"description": "Seconds to wait before the next try.", "schema": {"type": "integer", "minimum": 0}}
}
_WITH_RETRY: Final = (429, 503)


def build_document(operations: Iterable[Operation], *, version: str, families: Mapping[str, str]) -> dict[str, Any]:
    """Describe the operations; `families` name and explain their groups, in the order in which they are shown.

    The same operations give the same document.
    """
    declared = list(operations)
    schemas = _Schemas(declared)
    paths: dict[str, dict[str, object]] = {}
    for operation in declared:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _described(operation, schemas)
    return {
        "openapi": OPENAPI_VERSION,
        "info": {
            "title": TITLE,
            "version": version,
            "summary": "Private AI inference on computers that people own.",
            "description": (
                "Clients of OpenAI and Anthropic work with the base URL of this server. Every answer carries "
                "`X-Request-ID`. Times are RFC 3339 in UTC, or Unix seconds where OpenAI has them; money is integer "
                "micro-USD (`*_micro_usd`), often with a decimal text beside it."
            ),
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "tags": [{"name": name, "description": text} for name, text in families.items()],
        "paths": paths,
        "components": {"schemas": schemas.components, "securitySchemes": security.SCHEMES},
    }


class _Schemas:
    """The schemas of all types that the operations name; shared ones become components."""

    def __init__(self, operations: list[Operation]) -> None:
        kinds: list[object] = [ErrorAnswer, AnthropicErrorAnswer, SealedBody, SealedAnswer]
        for one in operations:
            kinds += [kind for kind in (one.body, one.answer, *(also.kind for also in one.also)) if _is_type(kind)]
            if isinstance(one.answer, OneOf):
                kinds.remove(one.answer)
                kinds += one.answer.kinds
            kinds += [parameter.kind for parameter in one.parameters]
        unique = list({repr(kind): kind for kind in kinds}.values())
        found, self.components = msgspec.json.schema_components(unique, ref_template=_REFERENCE)
        self._by_kind = {repr(kind): schema for kind, schema in zip(unique, found, strict=True)}

    def of(self, kind: object) -> dict[str, Any]:
        """The schema of one type, by reference where it has a name."""
        if isinstance(kind, OneOf):
            return {"anyOf": [self.of(one) for one in kind.kinds]}
        return dict(self._by_kind[repr(kind)])


def _is_type(kind: object) -> bool:
    return kind is not None and kind is not NO_BODY


def _described(operation: Operation, schemas: _Schemas) -> dict[str, object]:
    found: dict[str, object] = {
        "operationId": operation.name,
        "tags": [operation.family],
        "summary": operation.summary,
        "security": security.requirements(operation.auth),
        ACCESS: security.WORDS[operation.auth],
        "responses": _responses(operation, schemas),
    }
    if operation.meaning:
        found["description"] = operation.meaning
    if operation.all_parameters:
        found["parameters"] = [_parameter(one, schemas) for one in operation.all_parameters]
    if operation.body is not None:
        content: dict[str, dict[str, object]] = {operation.body_media: {"schema": schemas.of(operation.body)}}
        if operation.example is not None:
            content[operation.body_media]["example"] = operation.example
        if operation.inference:
            content[SEALED_TYPE] = {"schema": schemas.of(SealedBody)}
        found["requestBody"] = {"required": operation.body_required, "content": content}
    return found


def _parameter(one: Parameter, schemas: _Schemas) -> dict[str, object]:
    schema = {"type": "string", "minLength": 1} if one.where == "path" and one.kind is str else schemas.of(one.kind)
    described: dict[str, object] = {"name": one.name, "in": one.where, "required": one.required, "schema": schema}
    if one.meaning:
        described["description"] = one.meaning
    return described


def _responses(operation: Operation, schemas: _Schemas) -> dict[str, object]:
    answers: dict[int, dict[str, object]] = {
        operation.status: _answer(_phrase(operation.status), _content(operation, schemas))
    }
    for also in operation.also:
        content = {} if also.kind is NO_BODY else {also.media: {"schema": schemas.of(also.kind)}}
        known = answers.setdefault(also.status, _answer(also.meaning, {}))
        if content:
            known["content"] = {**_mapping(known.get("content")), **content}
    envelope = AnthropicErrorAnswer if operation.anthropic else ErrorAnswer
    errors: dict[str, object] = {JSON: {"schema": schemas.of(envelope)}}
    if operation.inference:
        errors[SEALED_TYPE] = {"schema": schemas.of(SealedAnswer)}
    for status in {*_ALWAYS, *security.refusals(operation.auth), *operation.errors}:
        if status not in answers:
            headers = {**_HEADERS, **_RETRY_AFTER} if status in _WITH_RETRY else _HEADERS
            answers[status] = {"description": _phrase(status), "headers": headers, "content": errors}
    return {str(status): answers[status] for status in sorted(answers)}


def _content(operation: Operation, schemas: _Schemas) -> dict[str, object]:
    if operation.answer is NO_BODY:
        return {}
    content: dict[str, object] = {operation.answer_media: {"schema": schemas.of(operation.answer)}}
    if operation.streams:
        content[EVENTS] = {"schema": {}}
    if operation.inference:
        content[SEALED_TYPE] = {"schema": schemas.of(SealedAnswer)}
    return content


def _answer(text: str, content: dict[str, object]) -> dict[str, object]:
    answer: dict[str, object] = {"description": text, "headers": _HEADERS}
    if content:
        answer["content"] = content
    return answer


def _mapping(value: object) -> dict[str, object]:
    return dict(value) if isinstance(value, dict) else {}


def _phrase(status: int) -> str:
    return HTTPStatus(status).phrase
