"""NaCl boxes of request bodies and response chunks, with keys in memory that can be wiped.

Wire form: base64(nonce 24 ‖ tag 16 ‖ ciphertext), standard alphabet, padded. The primitive binds no associated data,
gives no replay protection and no order, and its key is the same in both directions: "it opened" never proves who sent.

Invariant: a private key and a box key exist in one `WipeableKey` each, and whoever holds it wipes it.
"""

from base64 import b64encode
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Literal

import native
from protocol import sodium
from protocol.messages.wire import EncryptedPayload
from protocol.strict_base64 import decode_strict_base64

KEY_BYTES: Final = sodium.KEY_BYTES
BOX_OVERHEAD_BYTES: Final = sodium.NONCE_BYTES + sodium.TAG_BYTES

SealingReason = Literal["missing", "invalid_base64", "ciphertext_too_short", "invalid_key", "does_not_open", "key_gone"]

_TEXTS: Final[dict[SealingReason, str]] = {
    "missing": "The request has no encrypted body.",
    "invalid_base64": "The box has invalid base64; send the padded standard alphabet.",
    "ciphertext_too_short": f"The ciphertext is too short; a box has at least {BOX_OVERHEAD_BYTES} bytes.",
    "invalid_key": "The box names an invalid key; send an X25519 public key of 32 bytes that is not of low order.",
    "does_not_open": "The box does not open with this key.",
    "key_gone": "The key of this attempt was wiped already.",
}


class SealingError(Exception):
    """A box could not be made or opened; `reason` is closed and the text holds no data."""

    def __init__(self, reason: SealingReason) -> None:
        super().__init__(_TEXTS[reason])
        self.reason: Final = reason


class WipeableKey:
    """32 secret bytes that are overwritten by `wipe`, at the end of a `with` block, or when collected."""

    __slots__ = ("_dead", "_secret")

    def __init__(self, secret: sodium.SecretBuffer) -> None:
        self._secret = secret
        self._dead = False

    @classmethod
    def copied_from(cls, data: bytes | bytearray | memoryview) -> "WipeableKey":
        """Copy 32 bytes in; the caller's copy stays as it is. Raises `ValueError` for another length."""
        if len(data) != KEY_BYTES:
            raise ValueError(f"A key has {KEY_BYTES} bytes, not {len(data)}.")
        secret = sodium.SecretBuffer()
        secret.memory()[:] = data
        return cls(secret)

    @property
    def dead(self) -> bool:
        """Whether the key was wiped."""
        return self._dead

    def view(self) -> memoryview:
        """Give the bytes themselves, not a copy; raises `SealingError("key_gone")` after `wipe`."""
        if self._dead:
            raise SealingError("key_gone")
        return self._secret.memory()

    def wipe(self) -> None:
        """Overwrite the key for good; may be called again."""
        self._dead = True
        self._secret.wipe()

    def agree(self, public: bytes) -> "WipeableKey":
        """Take this as an X25519 private key and compute the box key with `public` (32 bytes).

        Raises `SealingError("invalid_key")` for a public key of wrong length or low order.
        """
        self.view()
        shared = sodium.before_nm(public, self._secret) if len(public) == KEY_BYTES else None
        if shared is None:
            raise SealingError("invalid_key")
        return WipeableKey(shared)

    def public(self) -> bytes:
        """Take this as an X25519 private key and compute its public key."""
        self.view()
        return sodium.public_of(self._secret)

    def __enter__(self) -> "WipeableKey":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.wipe()

    def __repr__(self) -> str:
        return f"<WipeableKey {'dead' if self._dead else 'live'}>"


@dataclass(frozen=True, slots=True)
class ProviderKeyPair:
    """The provider's static pair K of one process life; the private half is never written anywhere."""

    public: bytes
    private: WipeableKey

    @classmethod
    def generate(cls) -> "ProviderKeyPair":
        """Make a fresh pair."""
        public, private = sodium.generate_key_pair()
        return cls(public, WipeableKey(private))

    @classmethod
    def from_private(cls, private: WipeableKey) -> "ProviderKeyPair":
        """Take a given private key, for fixtures with known keys."""
        return cls(private.public(), private)

    @property
    def public_text(self) -> str:
        """The text that is registered and that every chunk carries."""
        return b64encode(self.public).decode()

    def shared_with(self, session_public: bytes) -> WipeableKey:
        """Compute the box key of one request; raises `SealingError("invalid_key")`."""
        return self.private.agree(session_public)


@dataclass(frozen=True, slots=True)
class SealedRequest:
    """A body sealed for one attempt; `shared` opens the chunks of that attempt."""

    ephemeral_public_key: str
    ciphertext: bytes
    shared: WipeableKey


def parse_public_key(text: str) -> bytes:
    """Decode a registered X25519 public key.

    Raises `ValueError` when it is not strict base64 of 32 bytes, or is of low order (found by one agreement with a
    throw-away key, which such keys fail).
    """
    public = decode_strict_base64(text)
    if len(public) != KEY_BYTES:
        raise ValueError(f"A public key has {KEY_BYTES} bytes, not {len(public)}; send base64 of an X25519 key.")
    _, private = sodium.generate_key_pair()
    shared = sodium.before_nm(public, private)
    private.wipe()
    if shared is None:
        raise ValueError("The public key is of low order; send one that was made by an X25519 key generator.")
    shared.wipe()
    return public


def seal_for_provider(body: bytes, provider_public: bytes) -> SealedRequest:
    """Seal a request body to a provider with a session pair of its own, whose private half is wiped at once.

    A pure function without shared state: call it in a worker thread for bodies above 256 KiB; the work drops the GIL.
    Raises `SealingError("invalid_key")`.
    """
    session_public, session_private = sodium.generate_key_pair()
    with WipeableKey(session_private) as private:
        shared = private.agree(provider_public)
    ciphertext = native.seal(body, shared.view())
    return SealedRequest(b64encode(session_public).decode(), ciphertext, shared)


def open_request(encrypted_body: EncryptedPayload | None, keys: ProviderKeyPair) -> tuple[bytearray, WipeableKey]:
    """Open a request body at the provider; gives the plaintext in memory to be wiped, and the key for its chunks.

    Raises `SealingError`; on failure no key and no plaintext stays behind.
    """
    if encrypted_body is None:
        raise SealingError("missing")
    try:
        public = decode_strict_base64(encrypted_body.ephemeral_public_key)
        box = decode_strict_base64(encrypted_body.ciphertext)
    except ValueError:
        raise SealingError("invalid_base64") from None
    if len(box) < BOX_OVERHEAD_BYTES:
        raise SealingError("ciphertext_too_short")
    shared = keys.shared_with(public)
    plaintext = sodium.open_box(box, shared.view())
    if plaintext is None:
        shared.wipe()
        raise SealingError("does_not_open")
    return plaintext, shared


def seal_chunk(plaintext: bytes, shared: WipeableKey) -> bytes:
    """Seal one chunk; gives base64. Every call takes a fresh random nonce."""
    return native.seal(plaintext, shared.view())


def open_chunk(ciphertext: bytes, shared: WipeableKey) -> bytes:
    """Open the base64 text of one chunk; raises `SealingError("does_not_open")` for whatever is wrong with it."""
    try:
        return native.open_chunk(ciphertext, 0, len(ciphertext), shared.view())
    except native.DecryptError:
        raise SealingError("does_not_open") from None


def wipe_plaintext(plaintext: bytearray) -> None:
    """Overwrite an opened body after use."""
    sodium.wipe(plaintext)
