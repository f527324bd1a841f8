"""How an endpoint is declared: what it takes, what it answers, and who may call it. Plain records."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

Method: TypeAlias = Literal["GET", "POST", "PUT", "PATCH", "DELETE"]
Auth: TypeAlias = Literal[
    "none",
    "key",
    "user",
    "session",
    "browser",
    "admin",
    "admin_key",
    "publishing",
    "release",
    "machine",
    "metrics",
    "stripe",
]
"""Who may call; see `server.openapi.security` for what each means on the wire."""

JSON: Final = "application/json"
PLAIN: Final = "text/plain"
EVENTS: Final = "text/event-stream"
NO_BODY: Final = object()
"""The answer has no body."""


@dataclass(frozen=True, slots=True)
class OneOf:
    """An answer that has one of several types, as the request's headers say."""

    kinds: tuple[object, ...]


_PATH_NAME: Final = re.compile(r"\{([a-z_]+)\}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """A parameter of the query, a header, or a part of the path; `kind` is a type that msgspec knows."""

    name: str
    meaning: str
    kind: object = str
    where: Literal["query", "header", "path"] = "query"
    required: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Also:
    """Another answer that is no ordinary error: its status, its type (`NO_BODY` for none) and its media type."""

    status: int
    meaning: str
    kind: object = NO_BODY
    media: str = JSON


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One method of one path, which is written as OpenAPI has it: `/v1/keys/{key_id}`.

    `body` and `answer` are types, `example` is a body; `errors` are the statuses that this operation is known for,
    besides those that its `auth` implies. `inference`: it takes and gives sealed bodies too. `streams`: the answer may
    be an event stream. `anthropic`: its errors have Anthropic's envelope.
    """

    method: Method
    path: str
    family: str
    summary: str
    auth: Auth
    meaning: str = ""
    parameters: tuple[Parameter, ...] = ()
    body: object | None = None
    body_media: str = JSON
    body_required: bool = True
    example: dict[str, object] | None = None
    answer: object = dict
    answer_media: str = JSON
    status: int = 200
    also: tuple[Also, ...] = ()
    errors: tuple[int, ...] = ()
    inference: bool = False
    streams: bool = False
    anthropic: bool = False

    @property
    def name(self) -> str:
        """A name for generators of clients: `get_v1_keys_key_id`."""
        return "_".join([self.method.lower(), *re.findall(r"[a-z0-9]+", self.path.lower())])

    @property
    def all_parameters(self) -> tuple[Parameter, ...]:
        """The declared parameters, and the parts of the path that are not declared."""
        known = {one.name for one in self.parameters if one.where == "path"}
        missing = [name for name in _PATH_NAME.findall(self.path) if name not in known]
        return (
            *(Parameter(name=name, meaning="", where="path", required=True) for name in missing),
            *self.parameters,
        )
