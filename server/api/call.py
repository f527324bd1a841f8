"""One request as an endpoint sees it, and its answer in one piece: headers, query, body, without a web framework.

The inference endpoints are called for every answer of the network. They need no sessions, proxies, templates or
response classes, which cost more than everything else that the coordinator's API does for a request.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Protocol, TypeAlias
from urllib.parse import parse_qs

import msgspec

if TYPE_CHECKING:
    from server.answer import StreamingAnswer


class HeaderReader(Protocol):
    """Headers of a request, by name in any case; the first value of a repeated one."""

    def get(self, name: str, default: str, /) -> str:
        """Return the value, or `default`."""


@lru_cache(maxsize=256)
def wire_name(name: str) -> bytes:
    """The name of a header as ASGI has it, in lower case; only for names that the program itself chose."""
    return name.lower().encode("latin-1")


class CallHeaders:
    """The headers of an ASGI scope, whose names are in lower case; a HeaderReader."""

    __slots__ = ("_values",)

    def __init__(self, pairs: Sequence[tuple[bytes, bytes]]) -> None:
        self._values = dict(reversed(pairs))

    def get(self, name: str, default: str = "", /) -> str:
        """See HeaderReader."""
        value = self._values.get(wire_name(name))
        return default if value is None else value.decode("latin-1")


class Call:
    """A request. `read_body` gives all of its body; it raises ApiError 413 or 408 for one too large or too slow.

    `scheme` and `client_ip` are those of the client, behind trusted proxies. `sealed`: the client sealed the body, so
    that nothing in it may be seen from outside, not even as a connection that it makes us open.
    """

    __slots__ = ("_query", "client_ip", "headers", "read_body", "scheme", "sealed")

    def __init__(
        self,
        headers: CallHeaders,
        query: bytes,
        read_body: Callable[[], Awaitable[bytes]],
        *,
        scheme: str = "http",
        client_ip: str = "",
        sealed: bool = False,
    ) -> None:
        self.headers = headers
        self.sealed = sealed
        self.scheme = scheme
        self.client_ip = client_ip
        self.read_body = read_body
        self._query = query

    def unsealed(self, read_body: Callable[[], Awaitable[bytes]]) -> Call:
        """The same request with the body that was sealed in it."""
        return Call(self.headers, self._query, read_body, scheme=self.scheme, client_ip=self.client_ip, sealed=True)

    def query(self, name: str) -> str:
        """Return the first value of a query parameter, empty without one."""
        if not self._query:
            return ""
        return parse_qs(self._query.decode("latin-1")).get(name, [""])[0]


@dataclass(frozen=True, slots=True)
class WholeAnswer:
    """An answer in one piece."""

    body: bytes
    headers: Mapping[str, str]
    content_type: str = "application/json"
    status: int = 200


Endpoint: TypeAlias = "Callable[[Call], Awaitable[WholeAnswer | StreamingAnswer]]"
"""Answers a POST; raises ApiError for what the client did wrong."""


def json_answer(value: object, *, headers: Mapping[str, str]) -> WholeAnswer:
    """An answer with the compact JSON of `value`."""
    return WholeAnswer(msgspec.json.encode(value), headers)
