"""Images and videos in the messages of a chat request: where they are, and of which kind.

Bytes come inside the request as `data:` URLs. A remote `http(s)` URL is only found here; fetching is the server's.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final, Literal, NamedTuple, TypeAlias

import msgspec

from protocol.api.errors import ApiError, invalid_request
from protocol.api.exact_json import encode_exact

Kind: TypeAlias = Literal["image", "video"]

MAX_URL_CHARACTERS: Final = 8192
"""Of a remote URL; a `data:` URL is as long as its body allows."""

KINDS: Final[Mapping[str, Kind]] = {"image_url": "image", "video_url": "video"}
_FOREIGN_PARTS: Final = frozenset({"input_image", "input_video", "image", "video", "input_audio", "file", "input_file"})
MEDIA_PARTS: Final = _FOREIGN_PARTS | KINDS.keys()
"""Types of parts that are no text; those of other APIs are told apart later."""


class MediaPart(NamedTuple):
    """One image or video: its place in `messages`, and its URL as sent."""

    message: int
    part: int
    kind: Kind
    url: str

    @property
    def remote(self) -> bool:
        """It is to be fetched."""
        return self.url[:8].lower().startswith(("http://", "https://"))


def has_media(messages: Sequence[object]) -> bool:
    """True if any message holds a part that is no text, in whatever shape."""
    return any(_kind(part) for _, _, part in _parts(messages))


def find_media(messages: Sequence[object]) -> tuple[MediaPart, ...]:
    """The images and videos in order; raises ApiError 400 for one that no provider could read."""
    found: list[MediaPart] = []
    for place, index, part in _parts(messages):
        kind = _kind(part)
        if not kind:
            continue
        at = f"messages[{place}].content[{index}]"
        if kind in _FOREIGN_PARTS:
            text = f"{at} is of a type that is not read here; send image_url or video_url with a data: URL."
            raise _wrong(text, "media_invalid_type")
        given = part.get(kind)
        url = given.get("url") if isinstance(given, dict) else given
        if not isinstance(url, str) or not url.strip():
            raise _wrong(f"{at} needs a URL.", "invalid_media_url")
        media = MediaPart(place, index, KINDS[kind], url)
        if media.remote:
            if len(url) > MAX_URL_CHARACTERS:
                raise _wrong(f"The URL of {at} is too long.", "invalid_media_url")
        else:
            check_inline(url, media.kind, at)
        found.append(media)
    return tuple(found)


def with_inlined(messages: Sequence[object], inlined: Mapping[MediaPart, str]) -> msgspec.Raw:
    """The messages as JSON, with new URLs for the given parts; numbers keep every digit."""
    written = [dict(message) if isinstance(message, dict) else message for message in messages]
    for media, url in inlined.items():
        message = written[media.message]
        if not isinstance(message, dict) or not isinstance(message["content"], list):
            continue
        content = list(message["content"])
        part = dict(content[media.part])
        name = f"{media.kind}_url"
        part[name] = part[name] | {"url": url} if isinstance(part[name], dict) else {"url": url}
        content[media.part] = part
        message["content"] = content
    return msgspec.Raw(encode_exact(written))


def _parts(messages: Sequence[object]) -> Iterator[tuple[int, int, Mapping[str, object]]]:
    for place, message in enumerate(messages):
        content = message.get("content") if isinstance(message, dict) else None
        if isinstance(content, list):
            for index, part in enumerate(content):
                if isinstance(part, dict):
                    yield place, index, part


def _kind(part: Mapping[str, object]) -> str:
    """The type of a part that is no text; empty for all others."""
    kind = part.get("type")
    return kind if isinstance(kind, str) and kind in MEDIA_PARTS else ""


def check_inline(url: str, kind: Kind, at: str, *, param: str = "messages") -> None:
    """Raise ApiError 400 for a URL that holds no bytes of this kind; `at` names the part in the text."""
    head, comma, _ = url[:256].partition(",")
    if head[:5].lower() != "data:":
        raise _wrong(f"The URL of {at} must begin with data:, http: or https:.", "media_invalid_scheme", param)
    media_type, *parameters = head[5:].lower().split(";")
    if not comma or "base64" not in (parameter.strip() for parameter in parameters):
        raise _wrong(f"The data: URL of {at} must have the form data:<type>;base64,<data>.", "invalid_media_url", param)
    if media_type.partition("/")[0].strip() != kind:
        raise _wrong(f"The data: URL of {at} must be of the type {kind}/….", "media_kind_mismatch", param)


def _wrong(text: str, code: str, param: str = "messages") -> ApiError:
    return invalid_request(text, param=param, code=code)
