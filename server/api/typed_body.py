"""Bodies that are read as typed records; what is wrong with them is told without repeating values."""

from __future__ import annotations

import re
from typing import Final, TypeVar, cast

import msgspec
from quart import request

from protocol.api.errors import invalid_request, payload_too_large

T = TypeVar("T")

_ENUM_VALUE: Final = re.compile(r"Invalid enum value .*(?= - at )", re.DOTALL)


async def typed_body(kind: type[T], *, limit_bytes: int) -> T:
    """Read the body as a record; raises ApiError 400 with the member at fault, or 413."""
    body = cast(bytes, await request.get_data(cache=False))
    if len(body) > limit_bytes:
        raise payload_too_large(limit_bytes)
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.ValidationError as error:
        # The texts of this library name members, types and bounds; of values only those that are not in a list.
        text = _ENUM_VALUE.sub("Unknown value", str(error))
        raise invalid_request(f"The body cannot be used: {text}.") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise invalid_request("The body is not JSON; send a JSON object in UTF-8.") from None
