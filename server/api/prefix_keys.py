"""Keys of the beginnings of a prompt, by which routing finds the machine that computed them before.

The tools and messages of a request, as they were sent, are cut into blocks of 1,024 bytes, about 256 tokens. A key is a
keyed hash over the first so many blocks: two for every doubling of their number, so there are at most twenty. The next
turn of a conversation begins with the bytes of this one, and so has the keys of this one too.

Invariant: the owner is in the hash's key, so keys of two owners never meet; nothing can be read from a key.
"""

from __future__ import annotations

import hmac
from functools import lru_cache
from typing import TYPE_CHECKING, Final

import msgspec

from protocol.api.media import KINDS
from server.registry import PREFIX_DEPTHS, PrefixKey

if TYPE_CHECKING:
    from protocol.api import ChatRequest

BLOCK_BYTES: Final = 1_024
DIGEST_BYTES: Final = 16
_END_BYTES: Final = PREFIX_DEPTHS[-1] * BLOCK_BYTES
"""What follows the first MiB makes no key: hashing must not hold up other requests."""
_BYTES_PER_TOKEN: Final = 4
_NOTHING: Final = msgspec.Raw(b"")
_BETWEEN: Final = b"\0"
"""Stands in no JSON text, so tools and messages cannot be taken for one another."""
_MEDIA_NAMES: Final = tuple(f'"{name}"'.encode() for name in KINDS)
_ROLE: Final = b'"role"'


def prefix_keys(secret: bytes, owner: str, chat: ChatRequest) -> tuple[PrefixKey, ...]:
    """Return the keys of a prompt of this owner, the shortest beginning first; none for one below a block."""
    fields = chat.fields
    tools, prompt = fields.get("tools", _NOTHING), fields.get("prompt" if chat.raw_prompt else "messages", _NOTHING)
    size = len(memoryview(tools)) + len(memoryview(prompt))
    if size <= BLOCK_BYTES:
        return ()
    tokens = chat.prompt_tokens_estimate
    text = _beginning(prompt)
    if chat.has_media:
        text = _before_media(text)
        size = len(memoryview(tools)) + len(text)
        tokens = min(tokens, size // _BYTES_PER_TOKEN)
    if tools is not _NOTHING:
        text = _beginning(tools) + _BETWEEN + text
    hashed = hmac.new(_owner_key(secret, owner), digestmod="sha256")
    view, begin = memoryview(text), 0
    found = []
    for depth in PREFIX_DEPTHS:
        end = depth * BLOCK_BYTES
        if end > len(view):
            break
        hashed.update(view[begin:end])
        found.append(PrefixKey(hashed.digest()[:DIGEST_BYTES], tokens * end // size))
        begin = end
    return tuple(found)


def _beginning(text: msgspec.Raw) -> bytes:
    """The text without its last character, an end that another turn puts off; of a long one the part with keys."""
    view = memoryview(text)
    return bytes(view[:-1]).rstrip() if len(view) <= _END_BYTES else bytes(view[:_END_BYTES])


def _before_media(text: bytes) -> bytes:
    """The part of messages before the first with an image or a video: what those become is not known here.

    It is looked for as text, since reading messages would take long: words that only look like one cost a few keys.
    """
    end = len(text)
    for name in _MEDIA_NAMES:
        at = text.find(name, 0, end)
        end = at if at >= 0 else end
    return text if end == len(text) else text[: max(0, text.rfind(_ROLE, 0, end))]


@lru_cache(maxsize=4096)
def _owner_key(secret: bytes, owner: str) -> bytes:
    return hmac.digest(secret, b"prompt beginnings\0" + owner.encode(), "sha256")
