"""The way of one attempt's runs to a consumer's socket, in C; see `native` for its rules."""

from __future__ import annotations

from native import _speed
from native.shapes import no_descriptor

_ffi = _speed.ffi
_lib = _speed.lib


class Spout:
    """Lets a pump write runs to a socket, each as one HTTP/1.1 chunk; see the package's docstring for the rules."""

    __slots__ = ("struct",)

    def __init__(self, fd: int) -> None:
        """Make a shut spout with its own duplicate of `fd`; raises OSError when there is no descriptor left."""
        struct = _lib.db_spout_new(fd)
        if struct == _ffi.NULL:
            raise no_descriptor(fd)
        self.struct = _ffi.gc(struct, _lib.db_spout_free)

    @property
    def deltas(self) -> int:
        """Deltas of all runs that came this way."""
        count: int = self.struct.deltas
        return count

    @property
    def text_bytes(self) -> int:
        """UTF-8 bytes of their text."""
        count: int = self.struct.text_bytes
        return count

    @property
    def sent_bytes(self) -> int:
        """Bytes of the framed runs that the kernel took from the pump."""
        count: int = self.struct.sent_bytes
        return count

    @property
    def written_at(self) -> float:
        """The `now` of the feed that wrote last; 0 before."""
        moment: float = self.struct.written_at
        return moment

    @property
    def stuck(self) -> bool:
        """True while a rest waits to be taken; nothing passes until then."""
        return bool(self.struct.stuck)

    def open(self) -> None:
        """Let runs through."""
        self.struct.open = 1

    def shut(self) -> None:
        """Let no run through; a rest stays until it is taken."""
        self.struct.open = 0

    def take_rest(self) -> bytes:
        """Remove and return what the socket did not take; b"" when nothing waits. The spout stays shut."""
        struct = self.struct
        rest: bytes = (
            _ffi.buffer(_lib.db_spout_rest(struct), _lib.db_spout_rest_len(struct))[:] if struct.stuck else b""
        )
        _lib.db_spout_forget_rest(struct)
        return rest

    def close(self) -> None:
        """Give the descriptor back, drop and wipe the rest; nothing passes any more. Harmless when repeated."""
        _lib.db_spout_close(self.struct)
