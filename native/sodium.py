"""Hands the extension libsodium's own functions, taken from the copy that PyNaCl ships.

PyNaCl's module `nacl._sodium` is private: its version range is pinned, and a self-test decides at import whether the
extension may be used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from nacl._sodium import ffi as sodium_ffi
from nacl._sodium import lib as sodium

if TYPE_CHECKING:
    from types import ModuleType

_NAMES = ("crypto_box_open_easy_afternm", "crypto_box_easy_afternm", "sodium_memzero")


def link(extension: ModuleType) -> None:
    """Give the extension the addresses of libsodium's functions; AttributeError if PyNaCl no longer has one."""
    addresses = [int(sodium_ffi.cast("uintptr_t", sodium_ffi.addressof(sodium, name))) for name in _NAMES]
    extension.lib.db_crypto_init(*addresses)
