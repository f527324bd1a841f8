"""The request frame equals what the codec writes."""

from __future__ import annotations

import pytest

from protocol.codec import decode_to_provider
from protocol.messages.to_provider import InferenceRequest
from protocol.messages.wire import EncryptedPayload
from protocol.sealing import ProviderKeyPair, open_request, seal_for_provider
from server.relay.request_frame import request_frame


@pytest.mark.parametrize("scope", ["", "c2NvcGU="])
def test_frame_decodes_to_the_request(scope: str) -> None:
    keys = ProviderKeyPair.generate()
    sealed = seal_for_provider(b'{"model":"m"}', keys.public)
    message = decode_to_provider(request_frame("r-1", sealed, first_content_budget_ms=5000, cache_scope=scope))
    assert message == InferenceRequest(
        request_id="r-1",
        encrypted_body=EncryptedPayload(
            ephemeral_public_key=sealed.ephemeral_public_key, ciphertext=sealed.ciphertext.decode()
        ),
        first_content_budget_ms=5000,
        cache_scope=scope,
    )
    assert isinstance(message, InferenceRequest)
    plaintext, shared = open_request(message.encrypted_body, keys)
    assert bytes(plaintext) == b'{"model":"m"}'
    shared.wipe()


@pytest.mark.parametrize("bad", ['a"b', "a\\b", "a\nb", "é"])
def test_frame_refuses_what_would_need_escaping(bad: str) -> None:
    sealed = seal_for_provider(b"{}", ProviderKeyPair.generate().public)
    with pytest.raises(ValueError, match="JSON escaping"):
        request_frame(bad, sealed, first_content_budget_ms=1)
    with pytest.raises(ValueError, match="JSON escaping"):
        request_frame("r", sealed, first_content_budget_ms=1, cache_scope=bad)
