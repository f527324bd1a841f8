"""Images and videos in a chat request."""

from __future__ import annotations

import json
from typing import Any

import pytest

from protocol.api import ApiError, parse_chat_request
from protocol.api.media import find_media

PNG = "data:image/png;base64,iVBORw0KGgo="


def part(url: object, kind: str = "image_url") -> dict[str, Any]:
    return {"type": kind, kind: {"url": url}}


def messages(*parts: object) -> list[Any]:
    return [{"role": "user", "content": [{"type": "text", "text": "look"}, *parts]}]


def test_parts_are_found_in_order() -> None:
    found = find_media(
        [
            {"role": "user", "content": "text"},
            *messages(part(PNG), {"type": "image_url", "image_url": "http://x.test/a"}),
            *messages(part("HTTPS://x.test/v", "video_url"), part("data:video/mp4;base64,AA", "video_url")),
        ]
    )
    assert [(one.message, one.part, one.kind, one.remote) for one in found] == [
        (1, 1, "image", False),
        (1, 2, "image", True),
        (2, 1, "video", True),
        (2, 2, "video", False),
    ]


@pytest.mark.parametrize(
    ("given", "code"),
    [
        (part(None), "invalid_media_url"),
        (part(""), "invalid_media_url"),
        (part(7), "invalid_media_url"),
        ({"type": "image_url"}, "invalid_media_url"),
        (part("http://x.test/" + "a" * 9000), "invalid_media_url"),
        (part("file:///etc/passwd"), "media_invalid_scheme"),
        (part("ftp://x.test/a"), "media_invalid_scheme"),
        (part("cid:1"), "media_invalid_scheme"),
        (part("//x.test/a"), "media_invalid_scheme"),
        (part("data:image/png,raw"), "invalid_media_url"),
        (part("data:image/png;base64"), "invalid_media_url"),
        (part("data:text/html;base64,AA"), "media_kind_mismatch"),
        (part(PNG, "video_url"), "media_kind_mismatch"),
        ({"type": "input_image", "image_url": PNG}, "media_invalid_type"),
        ({"type": "image", "source": {"type": "url", "url": "http://x.test"}}, "media_invalid_type"),
        ({"type": "input_audio", "input_audio": {"data": "AA", "format": "wav"}}, "media_invalid_type"),
        ({"type": "file", "file": {"file_id": "f"}}, "media_invalid_type"),
    ],
)
def test_parts_that_no_provider_could_read(given: dict[str, Any], code: str) -> None:
    with pytest.raises(ApiError) as caught:
        find_media(messages(given))
    assert (caught.value.status, caught.value.param, caught.value.code) == (400, "messages", code)
    assert "x.test" not in caught.value.message


def test_text_parts_are_no_media() -> None:
    assert find_media(messages({"type": "input_text", "text": "x"}, "y", {"type": ["odd"]})) == ()
    body = {"model": "m", "messages": messages({"type": "input_text", "text": "x"}, {"type": "text", "text": "y"})}
    request = parse_chat_request(json.dumps(body).encode())
    assert not request.has_media
    assert request.media_parts() == ()


def test_inlined_urls_take_the_place_of_remote_ones() -> None:
    raw = (
        b'{"model":"m","temperature":0.10,"messages":[{"role":"user","n":9007199254740993,"content":['
        b'{"type":"image_url","image_url":{"url":"http://x.test/a","detail":"low"}},'
        b'{"type":"image_url","image_url":"http://x.test/a"},{"type":"image_url","image_url":{"url":"' + PNG.encode()
        + b'"}}]}]}'
    )  # fmt: skip
    request = parse_chat_request(raw)
    assert request.has_media
    first, second, third = request.media_parts()
    changed = request.with_inlined({first: PNG, second: PNG})
    body = json.loads(changed.provider_body("b", 5))
    assert body["messages"][0]["content"] == [
        {"type": "image_url", "image_url": {"url": PNG, "detail": "low"}},
        {"type": "image_url", "image_url": {"url": PNG}},
        {"type": "image_url", "image_url": {"url": third.url}},
    ]
    assert b"9007199254740993" in changed.provider_body("b", 5)
    assert changed.prompt_tokens_hold > request.prompt_tokens_hold
    assert request.fields["messages"] != changed.fields["messages"]
    assert changed.prompt_tokens_estimate == request.prompt_tokens_estimate
