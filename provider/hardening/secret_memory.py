"""Keeping the pages of a secret out of swap and out of core dumps, for the life of the process."""

import ctypes
import mmap
import sys
from typing import Final

_MADV_DONTDUMP: Final = 16


def lock_secret(secret: memoryview) -> bool:
    """Lock the pages that hold a writable buffer; False when the system does not allow it.

    They stay locked: other data on the same pages does no harm, and unlocking could unlock a neighbour's secret.
    """
    if secret.nbytes == 0:
        return False
    address = ctypes.addressof(ctypes.c_char.from_buffer(secret))
    first = address - address % mmap.PAGESIZE
    length = -(-(address + secret.nbytes - first) // mmap.PAGESIZE) * mmap.PAGESIZE
    library = ctypes.CDLL(None, use_errno=True)
    if library.mlock(ctypes.c_void_p(first), ctypes.c_size_t(length)) != 0:
        return False
    if sys.platform == "linux":
        library.madvise(ctypes.c_void_p(first), ctypes.c_size_t(length), ctypes.c_int(_MADV_DONTDUMP))
    return True
