"""The delta splice: rewrites a plain content delta by swapping the bytes around its text."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from native.pure.strict_base64 import undo_slash_escapes

if TYPE_CHECKING:
    from native.shapes import SpliceTemplate

_ESCAPE = rb"\\(?:[\"\\/bfnrt]|u000[0-7bef]|u001[0-9a-f])"
_MIDDLE = re.compile(rb"(?:[^\x00-\x1f\"\\]|" + _ESCAPE + rb")++")
_ONE_ESCAPE = re.compile(_ESCAPE)


class Spliced(NamedTuple):
    """Output bytes of one delta, and the UTF-8 bytes of the text in it once decoded."""

    ready: bytes
    text_bytes: int


def splice(plaintext: bytes, template: SpliceTemplate) -> Spliced | None:
    """The rewritten delta, or None if the full path has to do it.

    The middle is accepted only if a JSON encoder that escapes no more than it must would write it byte for byte, `\\/`
    excepted, which becomes `/`.
    """
    body = plaintext.rstrip(b"\r\n")
    head, tail = len(template.in_prefix), len(body) - len(template.in_suffix)
    if tail <= head or not body.startswith(template.in_prefix) or not body.endswith(template.in_suffix):
        return None
    middle = body[head:tail]
    if _MIDDLE.fullmatch(middle) is None or not is_utf8(middle):
        return None
    ready = template.out_prefix + _unescape_slashes(middle) + template.out_suffix
    return Spliced(ready, len(middle) - sum(len(escape) - 1 for escape in _ONE_ESCAPE.findall(middle)))


def _unescape_slashes(middle: bytes) -> bytes:
    """`\\/` becomes `/`, but not where its backslash is the second of an escaped backslash."""
    if b"\\/" not in middle:
        return middle
    if b"\\\\" not in middle:
        return undo_slash_escapes(middle)
    return _ONE_ESCAPE.sub(lambda match: b"/" if match[0] == b"\\/" else match[0], middle)


def is_utf8(data: bytes) -> bool:
    """True if the bytes are well-formed UTF-8 (no surrogates, no overlong forms)."""
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True
