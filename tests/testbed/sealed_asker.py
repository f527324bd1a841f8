"""The coordinator's half of the encryption: seals bodies for a provider and reads what comes back."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from protocol.codec import decode_from_provider
from protocol.messages.from_provider import (
    FromProvider,
    InferenceAccepted,
    InferenceComplete,
    InferenceError,
    InferenceResponseChunk,
)
from protocol.messages.to_provider import InferenceRequest
from protocol.messages.wire import EncryptedPayload
from protocol.sealing import WipeableKey, open_chunk, seal_for_provider


@dataclass(slots=True)
class Heard:
    """All frames of one request in order; `kinds` is their order in words."""

    kinds: list[str] = field(default_factory=list)
    events: list[bytes] = field(default_factory=list)
    terminals: list[InferenceComplete | InferenceError] = field(default_factory=list)

    @property
    def terminal(self) -> InferenceComplete | InferenceError:
        """The one terminal, which is the last frame."""
        assert len(self.terminals) == 1, f"{len(self.terminals)} terminals"
        assert self.kinds[-1] in ("complete", "error")
        return self.terminals[0]

    @property
    def text(self) -> str:
        """All content deltas."""
        return "".join(
            choice.get("delta", choice).get("content" if "delta" in choice else "text") or ""
            for event in self.events
            if event != b"data: [DONE]\n\n"
            for choice in json.loads(event.removeprefix(b"data: "))["choices"]
        )


class SealedAsker:
    """Remembers the key of every request that it sealed."""

    def __init__(self, provider_public: bytes, public_text: str) -> None:
        self._provider_public = provider_public
        self._public_text = public_text
        self._keys: dict[str, WipeableKey] = {}

    def request(self, request_id: str, body: Mapping[str, object] | bytes, *, budget_ms: int = 0) -> InferenceRequest:
        """Seal a body."""
        plaintext = body if isinstance(body, bytes) else json.dumps(body).encode()
        sealed = seal_for_provider(plaintext, self._provider_public)
        self._keys[request_id] = sealed.shared
        return InferenceRequest(
            request_id=request_id,
            encrypted_body=EncryptedPayload(
                ephemeral_public_key=sealed.ephemeral_public_key, ciphertext=sealed.ciphertext.decode()
            ),
            first_content_budget_ms=budget_ms,
        )

    def hear(self, frames: Iterable[bytes | FromProvider]) -> dict[str, Heard]:
        """Sort frames by request and open the chunks."""
        heard: dict[str, Heard] = {}
        for frame in frames:
            message = decode_from_provider(frame) if isinstance(frame, bytes) else frame
            match message:
                case InferenceAccepted():
                    heard.setdefault(message.request_id, Heard()).kinds.append("accepted")
                case InferenceResponseChunk():
                    assert message.encrypted_data is not None
                    assert message.data == ""
                    assert message.encrypted_data.ephemeral_public_key == self._public_text
                    entry = heard.setdefault(message.request_id, Heard())
                    ciphertext = message.encrypted_data.ciphertext.encode()
                    entry.kinds.append("chunk")
                    entry.events.append(open_chunk(ciphertext, self._keys[message.request_id]))
                case InferenceComplete() | InferenceError():
                    entry = heard.setdefault(message.request_id, Heard())
                    entry.kinds.append("complete" if isinstance(message, InferenceComplete) else "error")
                    entry.terminals.append(message)
        return heard


def chat(prompt: str = "hi", model: str = "bytes", **fields: object) -> dict[str, object]:
    """A chat body with one user message."""
    return {"model": model, "messages": [{"role": "user", "content": prompt}], **fields}
