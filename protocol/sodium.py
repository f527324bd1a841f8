"""The few libsodium calls that must work on memory which can be wiped afterwards.

PyNaCl's public face returns immutable bytes; keys and opened bodies have to live in buffers that we can overwrite. So
this module, alone in the package, talks to PyNaCl's compiled module. Lengths are checked here, because the C functions
trust them. Every call drops the GIL, so worker threads run beside the event loop.
"""

from typing import Any, Final

from nacl._sodium import ffi as _untyped_ffi
from nacl._sodium import lib as _untyped_lib

_ffi: Any = _untyped_ffi
_lib: Any = _untyped_lib

KEY_BYTES: Final = 32
NONCE_BYTES: Final = 24
TAG_BYTES: Final = 16

if _lib.sodium_init() < 0:
    raise RuntimeError("libsodium could not be initialised; reinstall the package pynacl for this platform.")


def _wipe_key(cdata: Any, memzero: Any = _lib.sodium_memzero, size: int = KEY_BYTES) -> None:
    # Bound early: keys are collected as late as at interpreter exit, when module globals are gone already.
    memzero(cdata, size)


class SecretBuffer:
    """32 bytes of C memory that `wipe` overwrites; also wiped when neither it nor a view of it is left."""

    __slots__ = ("_cdata", "_memory")

    def __init__(self) -> None:
        self._cdata: Any = _ffi.gc(_ffi.new("unsigned char[32]"), _wipe_key, KEY_BYTES)
        self._memory = memoryview(_ffi.buffer(self._cdata))

    def memory(self) -> memoryview:
        """Give the writable bytes themselves, not a copy."""
        return self._memory

    def pointer(self) -> Any:
        """Give the address of the bytes, for the C functions of this module."""
        return self._cdata

    def wipe(self) -> None:
        """Overwrite the bytes with zeros; may be called again."""
        _wipe_key(self._cdata)


def generate_key_pair() -> tuple[bytes, SecretBuffer]:
    """Make a fresh X25519 pair; the private half exists only in the returned buffer."""
    public = _ffi.new("unsigned char[32]")
    private = SecretBuffer()
    _lib.crypto_box_keypair(public, private.pointer())
    return bytes(_ffi.buffer(public)), private


def public_of(private: SecretBuffer) -> bytes:
    """Compute the public key of a private one."""
    public = _ffi.new("unsigned char[32]")
    _lib.crypto_scalarmult_base(public, private.pointer())
    return bytes(_ffi.buffer(public))


def before_nm(public: bytes, private: SecretBuffer) -> SecretBuffer | None:
    """Compute the box key of a pair of keys, or None for a public key of low order (the all-zero key among them)."""
    if len(public) != KEY_BYTES:
        raise ValueError(f"A public key has {KEY_BYTES} bytes, not {len(public)}.")
    shared = SecretBuffer()
    if _lib.crypto_box_beforenm(shared.pointer(), _ffi.from_buffer(public), private.pointer()) != 0:
        shared.wipe()
        return None
    return shared


def open_box(box: bytes, shared: memoryview) -> bytearray | None:
    """Open nonce ‖ tag ‖ ciphertext into memory that the caller may wipe, or give None when it does not open."""
    if len(box) < NONCE_BYTES + TAG_BYTES or len(shared) != KEY_BYTES:
        return None
    sealed = len(box) - NONCE_BYTES
    plaintext = bytearray(sealed - TAG_BYTES)
    start = _ffi.cast("unsigned char *", _ffi.from_buffer(box))
    failed = _lib.crypto_box_open_easy_afternm(
        _pointer(plaintext), start + NONCE_BYTES, sealed, start, _pointer(shared)
    )
    if failed:
        wipe(plaintext)
        return None
    return plaintext


def wipe(memory: bytearray | memoryview) -> None:
    """Overwrite a buffer with zeros in a way that no compiler removes."""
    if len(memory) > 0:
        _lib.sodium_memzero(_ffi.from_buffer(memory), len(memory))


def _pointer(memory: bytearray | memoryview) -> Any:
    return _ffi.cast("unsigned char *", _ffi.from_buffer(memory))
