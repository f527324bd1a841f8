"""One sealed request and its answer: the box key that both share, and the outer form of what is sent back."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import msgspec

from protocol.sealing import seal_chunk

if TYPE_CHECKING:
    from protocol.sealing import WipeableKey

SEALED_TYPE: Final = "application/eigeninference-sealed+json"
SEALED_HEADER: Final = "X-Eigen-Sealed"
KID_HEADER: Final = "X-Eigen-Sealed-Kid"


def is_sealed_type(content_type: str) -> bool:
    """Whether a media type says that a body is sealed; parameters, also malformed ones, do not matter."""
    return content_type.partition(";")[0].strip().lower() == SEALED_TYPE


@dataclass(frozen=True, slots=True)
class SealedExchange:
    """Seals what answers one request; every call takes a fresh random nonce. Close it when the answer is over."""

    kid: str
    shared: WipeableKey = field(repr=False)

    @property
    def headers(self) -> dict[str, str]:
        """The headers that tell a client that an answer is sealed, and to which key."""
        return {SEALED_HEADER: "true", KID_HEADER: self.kid}

    def seal(self, plaintext: bytes) -> bytes:
        """base64(nonce ‖ box); raises SealingError after `close`."""
        return seal_chunk(plaintext, self.shared)

    def seal_whole(self, plaintext: bytes) -> bytes:
        """The JSON body of an answer in one piece."""
        return msgspec.json.encode({"kid": self.kid, "ciphertext": self.seal(plaintext).decode()})

    def close(self) -> None:
        """Wipe the key; may be called again."""
        self.shared.wipe()
