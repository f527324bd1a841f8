"""The `inference_request` frame, built by concatenation: base64 and ids need no JSON escaping, and bodies are large."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from protocol.sealing import SealedRequest

_PLAIN: Final = re.compile(r"[A-Za-z0-9_.:=+/-]*")


def request_frame(
    request_id: str, sealed: SealedRequest, *, first_content_budget_ms: int, cache_scope: str = ""
) -> bytes:
    """JSON text of one attempt's request; equal in meaning to the codec's, without a pass over the ciphertext.

    Raises ValueError for an id or a scope that would need escaping.
    """
    for name, text in (("request_id", request_id), ("cache_scope", cache_scope)):
        if _PLAIN.fullmatch(text) is None:
            raise ValueError(f"{name} would need JSON escaping; use letters, digits and _.:=+/- only.")
    tail = f'"}},"first_content_budget_ms":{first_content_budget_ms}' + (
        f',"cache_scope":"{cache_scope}"}}' if cache_scope else "}"
    )
    head = (
        f'{{"type":"inference_request","request_id":"{request_id}","encrypted_body":'
        f'{{"ephemeral_public_key":"{sealed.ephemeral_public_key}","ciphertext":"'
    )
    return b"".join((head.encode(), sealed.ciphertext, tail.encode()))
