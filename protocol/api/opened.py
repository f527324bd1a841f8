"""The beginning that all inference bodies share: size, JSON, model, in the public order of the checks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from protocol.api.errors import invalid_request, payload_too_large
from protocol.api.exact_json import decode_exact, split_object

if TYPE_CHECKING:
    from collections.abc import Callable

    import msgspec

MAX_BODY_BYTES: Final = 16 * 1024 * 1024
_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"
"""Some editors and shells put it in front; a parser may ignore it (RFC 8259, section 8.1)."""


class OpenedBody(NamedTuple):
    """The members of a body, as the very bytes that were sent, and decoded; the name of a model is among them."""

    fields: dict[str, msgspec.Raw]
    values: dict[str, object]
    model: str


def open_body(body: bytes, *, check_model: Callable[[str], None] | None, limit_bytes: int) -> OpenedBody:
    """Read a body up to its model; `check_model` is called with the name as sent, and may raise ApiError.

    Raises ApiError: 413 for too much, 400 for what is not one JSON object with a model.
    """
    if len(body) > limit_bytes:
        raise payload_too_large(limit_bytes)
    fields = split_object(body.removeprefix(_BYTE_ORDER_MARK))
    values = {name: decode_exact(raw) for name, raw in fields.items()}
    model = values.get("model")
    if not isinstance(model, str) or not model.strip():
        raise invalid_request("model must be a non-empty string.", param="model")
    if check_model is not None:
        check_model(model)
    return OpenedBody(fields, values, model)
