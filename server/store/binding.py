"""What may be bound to a placeholder: exact types, so that both engines store the same thing or nothing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from server.store.engine import Value
from server.store.errors import Invalid

_LEAST: Final = -(2**63)
_MOST: Final = 2**63 - 1


class Real(float):
    """A number that is meant for a float column.

    A plain float is refused: one engine would cut it to an integer in an integer column, the other would not.
    """

    __slots__ = ()


def check(args: Sequence[Value]) -> None:
    """Raise Invalid unless every argument is an int of 64 bits, a text without NUL, bytes, a finite `Real` or None."""
    for position, arg in enumerate(args, start=1):
        if type(arg) is str:
            if "\x00" in arg:
                raise Invalid(f"Parameter ${position} is a text with a NUL character; remove it before it is stored.")
            if not arg.isascii():
                _check_unicode(arg, position)
        elif type(arg) is int:
            if not _LEAST <= arg <= _MOST:
                raise Invalid(f"Parameter ${position} is an integer beyond 64 bits; the database cannot hold it.")
        elif type(arg) is Real:
            if not math.isfinite(arg):
                raise Invalid(f"Parameter ${position} is not a finite number; store a finite one or NULL.")
        elif arg is not None and type(arg) is not bytes:
            raise Invalid(
                f"Parameter ${position} is a {type(arg).__name__}; pass exactly an int (flags as 0 and 1), a str, "
                "bytes, None, or a Real for a float column."
            )


def _check_unicode(text: str, position: int) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise Invalid(f"Parameter ${position} is a text with a lone surrogate; it is not Unicode text.") from None
