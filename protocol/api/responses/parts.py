"""Content parts of the Responses API, lowered to the content of chat messages."""

from __future__ import annotations

from typing import Final

from protocol.api.errors import ApiError, invalid_request
from protocol.api.media import KINDS, check_inline

_TEXT_PARTS: Final = frozenset({"input_text", "output_text", "text", "summary_text", "reasoning_text"})
_MEDIA_PARTS: Final = {"input_image": "image_url", "image_url": "image_url", "video_url": "video_url"}
DATA_SCHEME: Final = "data:"


def lower_content(content: object, place: str) -> str | list[dict[str, object]]:
    """The chat content of one item: text parts joined by LF, or a list of parts in order if there is media among them.

    `place` names the item in errors, as `input[2]`. Raises ApiError 400 for what cannot be expressed.
    """
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        raise invalid_request("content must be a string or an array of parts.", param=f"{place}.content")
    parts = [_lower_part(part, f"{place}.content[{index}]") for index, part in enumerate(content)]
    texts = [part["text"] for part in parts if part["type"] == "text"]
    if len(texts) == len(parts):
        return "\n".join(str(text) for text in texts)
    return parts


def lower_output(output: object, place: str) -> str:
    """The text that a tool returned; raises ApiError 400 for anything but text."""
    if isinstance(output, str):
        return output
    param = f"{place}.output"
    if not isinstance(output, list):
        raise invalid_request("output must be a string or an array of text parts.", param=param)
    lowered = lower_content(output, place)
    if not isinstance(lowered, str):
        raise invalid_request("A tool's output may hold text parts only.", param=param)
    return lowered


def _lower_part(part: object, place: str) -> dict[str, object]:
    if isinstance(part, str):
        return {"type": "text", "text": part}
    if not isinstance(part, dict):
        raise invalid_request("A content part must be an object.", param=place)
    given = part.get("type")
    kind = given if isinstance(given, str) else ""
    if kind in _TEXT_PARTS:
        return {"type": "text", "text": _text(part.get("text"), f"{place}.text")}
    if kind == "refusal":
        return {"type": "text", "text": _text(part.get("refusal"), f"{place}.refusal")}
    if kind in _MEDIA_PARTS:
        return _lower_media(part, _MEDIA_PARTS[kind], place)
    raise invalid_request(
        "A content part must be of type input_text, output_text, refusal or input_image; others are not supported.",
        param=f"{place}.type",
    )


def _text(value: object, param: str) -> str:
    if not isinstance(value, str):
        raise invalid_request("The text of a content part must be a string.", param=param)
    return value


def _lower_media(part: dict[str, object], kind: str, place: str) -> dict[str, object]:
    given = part.get(kind)
    url = given.get("url") if isinstance(given, dict) else given
    if not isinstance(url, str) or not url:
        raise invalid_request(
            f"A media part needs {kind} with a data: URL; stored files do not exist here.", param=f"{place}.{kind}"
        )
    if url[: len(DATA_SCHEME)].lower() != DATA_SCHEME:
        raise _not_inline(url, f"{place}.{kind}")
    check_inline(url, KINDS[kind], place, param=f"{place}.{kind}")
    source: dict[str, object] = {"url": url}
    detail = given.get("detail") if isinstance(given, dict) else part.get("detail")
    if isinstance(detail, str):
        source["detail"] = detail
    return {"type": kind, kind: source}


def _not_inline(url: str, param: str) -> ApiError:
    """Media of other places is not fetched for this dialect; the text never repeats the URL."""
    remote = url[:8].lower().startswith(("http://", "https://"))
    return invalid_request(
        "Media is taken from data: URLs only; send the bytes as data:<type>;base64,<data>.",
        param=param,
        code="remote_media_disabled" if remote else "media_invalid_scheme",
    )
