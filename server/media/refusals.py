"""What a caller hears when media cannot be fetched. No text names a host, an address, or a cause."""

from __future__ import annotations

from typing import Literal

from protocol.api.errors import ApiError, invalid_request

UrlFault = Literal["invalid_media_url", "media_invalid_scheme"]


def bad_url(code: UrlFault) -> ApiError:
    """400: the URL is not one that is fetched."""
    text = "A media URL must be an absolute http or https URL with a host, without a user name."
    return invalid_request(text, param="messages", code=code)


def invalid_type() -> ApiError:
    """400: what came is no image or video that models read."""
    text = "A media URL leads to something that is no JPEG, PNG, GIF, WebP, BMP, MP4 or QuickTime file."
    return invalid_request(text, param="messages", code="media_invalid_type")


def kind_mismatch() -> ApiError:
    """400: an image where a video was announced, or the other way round."""
    text = "A media URL leads to another kind of file than its part says."
    return invalid_request(text, param="messages", code="media_kind_mismatch")


def blocked() -> ApiError:
    """403: it does not lie on the public internet."""
    text = "A media URL does not lead to a public address; send the bytes as data:<type>;base64,<data>."
    return ApiError(403, "media_blocked", text, param="messages", retryable=False)


def too_large() -> ApiError:
    """413: more bytes or pixels than a request may have."""
    text = "A remote image or video is larger than what is fetched; send a smaller one."
    return ApiError(413, "media_too_large", text, param="messages", retryable=False)


def too_slow() -> ApiError:
    """408: it did not arrive in time."""
    text = "A remote image or video did not arrive in time; send the bytes as data:<type>;base64,<data>."
    return ApiError(408, "media_fetch_timeout", text, param="messages")


def failed() -> ApiError:
    """502: its server did not deliver it."""
    text = "A remote image or video could not be fetched; check the URL, or send the bytes inside the request."
    return ApiError(502, "media_fetch_failed", text, param="messages")


def too_busy() -> ApiError:
    """429: too many fetches wait already."""
    text = "Too many remote images and videos are being fetched; try again."
    return ApiError(429, "rate_limit_exceeded", text, retry_after_seconds=2.0, reason="media_fetch_busy")
