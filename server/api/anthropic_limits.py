"""The rate-limit headers of an answer under the names that Anthropic's clients read, beside our own."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from protocol.api.errors import ApiError
from server.api.call import WholeAnswer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from server.answer import StreamingAnswer
    from server.api.call import Call, Endpoint

_NAME: Final = re.compile(r"x-ratelimit-(limit|remaining|reset)-(requests|input-tokens|output-tokens)")
_SECONDS: Final = re.compile(r"[0-9]{1,9}s")


def anthropic_limit_headers(headers: Iterable[tuple[str, str]], wall_seconds: float) -> dict[str, str]:
    """Translate the `x-ratelimit-*` headers among these; a reset becomes a point in time (RFC 3339)."""
    found: dict[str, str] = {}
    for name, value in headers:
        ours = _NAME.fullmatch(name)
        if ours is None:
            continue
        what, which = ours.groups()
        if what == "reset":
            if _SECONDS.fullmatch(value) is None:
                continue
            value = f"{datetime.fromtimestamp(int(wall_seconds) + int(value[:-1]), UTC):%Y-%m-%dT%H:%M:%SZ}"
        found[f"anthropic-ratelimit-{which}-{what}"] = value
    return found


def showing_anthropic_limits(endpoint: Endpoint, wall_clock: Callable[[], float]) -> Endpoint:
    """Give an endpoint whose answers and refusals carry the translated headers."""

    async def shown(call: Call) -> WholeAnswer | StreamingAnswer:
        try:
            answer = await endpoint(call)
        except ApiError as error:
            error.also += tuple(anthropic_limit_headers(error.headers(), wall_clock()).items())
            raise
        more = anthropic_limit_headers(answer.headers.items(), wall_clock())
        if isinstance(answer, WholeAnswer):
            return replace(answer, headers={**answer.headers, **more})
        answer.headers.update(more)
        return answer

    return shown
