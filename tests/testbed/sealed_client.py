"""A client of sealed transport, written from its description: PyNaCl and the standard library, nothing of ours."""

from __future__ import annotations

import hashlib
import json
from base64 import b64decode, b64encode
from typing import Any

from nacl.public import Box, PrivateKey, PublicKey
from nacl.utils import random

SEALED_TYPE = "application/eigeninference-sealed+json"
MNEMONIC = "abandon " * 11 + "about"
"""The mnemonic of the published vectors."""
KID = "96293a4d0473cb36"
PUBLIC_KEY = "LlrlPfsDzmMf7orE/cMuD1TI2D2EuE1qt7p7rhcvjRw="


class SealedAsker:
    """One request: a key pair of its own, the sealed body, and the opening of what comes back."""

    def __init__(self, public_key: str = PUBLIC_KEY, *, private: bytes | None = None) -> None:
        self.coordinator = PublicKey(b64decode(public_key))
        self.kid = hashlib.sha256(self.coordinator.encode()).hexdigest()[:16]
        self.own = PrivateKey.generate() if private is None else PrivateKey(private)
        self.box = Box(self.own, self.coordinator)

    def envelope(self, body: object, *, nonce: bytes | None = None) -> dict[str, Any]:
        """What is posted, as an object; `body` is sealed as JSON, or as it is if it is bytes."""
        plaintext = body if isinstance(body, bytes) else json.dumps(body).encode()
        sealed = self.box.encrypt(plaintext, nonce or random(Box.NONCE_SIZE))
        return {
            "kid": self.kid,
            "ephemeral_public_key": b64encode(self.own.public_key.encode()).decode(),
            "ciphertext": b64encode(sealed).decode(),
        }

    def sealed(self, body: object) -> bytes:
        """What is posted."""
        return json.dumps(self.envelope(body)).encode()

    def open(self, text: str | bytes) -> bytes:
        """Open base64 of nonce and box; raises nacl.exceptions.CryptoError."""
        return self.box.decrypt(b64decode(text, validate=True))

    def open_whole(self, answer: bytes) -> Any:
        """Open an answer in one piece."""
        outer = json.loads(answer)
        assert set(outer) == {"kid", "ciphertext"}
        assert outer["kid"] == self.kid
        return json.loads(self.open(outer["ciphertext"]))

    def open_events(self, answer: bytes) -> list[bytes]:
        """Open a stream, event by event; every line that is there must be a sealed event and nothing else."""
        assert answer.endswith(b"\n\n")
        events = answer.removesuffix(b"\n\n").split(b"\n\n")
        assert all(event.startswith(b"data: ") and b"\n" not in event for event in events)
        return [self.open(event.removeprefix(b"data: ")) for event in events]

    def open_stream(self, answer: bytes) -> bytes:
        """Open a stream to the bytes that an unsealed one would have."""
        return b"".join(event + b"\n\n" for event in self.open_events(answer))
