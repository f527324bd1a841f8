"""Base struct and field types that all wire messages share.

Reading rules (the same for every message): unknown keys are ignored; a missing key and `null` both mean "absent"; an
absent field without the option `None` reads as its zero value; a wrong JSON type anywhere rejects the frame.
Writing rules: a field with a plain default (or `dict` factory) is left out when it has that default; a field with any
other `default_factory` is always written, zero values included (msgspec leaves out plain defaults and empty `list`,
`tuple`, `dict` and `set` factories only); a field whose type includes `None` is left out only when it is `None`, so
that an explicit zero survives.
The `repr` of a frame names its type only: frames carry tokens, ciphertext and free text that no log may show.
"""

from typing import Annotated, ClassVar, Final

import msgspec

INT64_MIN: Final = -(2**63)
INT64_MAX: Final = 2**63 - 1

Int = Annotated[int, msgspec.Meta(ge=INT64_MIN, le=INT64_MAX)]
"""Integer of the wire: a JSON number without fraction or exponent within signed 64 bit."""

Count = Annotated[int, msgspec.Meta(ge=0, le=INT64_MAX)]
"""Integer of the wire that rejects its frame when it is negative (token usage)."""

NO_RAW: Final = msgspec.Raw()
"""The absent value of a raw JSON field."""


class Wire(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """Base of all wire records: immutable, keyword-only, defaults left out when written."""


class Message(Wire, frozen=True, kw_only=True):
    """Base of all frames; `TYPE` is the value of the frame's top-level `type` key."""

    TYPE: ClassVar[str]

    def __repr__(self) -> str:
        return f"<frame {self.TYPE}>"


class EncryptedPayload(Wire, frozen=True, kw_only=True):
    """A NaCl box on the wire: base64 public key (32 bytes) and base64 of nonce, tag and ciphertext."""

    ephemeral_public_key: str = msgspec.field(default_factory=str)
    ciphertext: str = msgspec.field(default_factory=str)

    def __repr__(self) -> str:
        return "<EncryptedPayload>"


def raw_bytes(raw: msgspec.Raw) -> bytes:
    """Give the exact bytes of a raw JSON field; `b""` when the field is absent or `null`."""
    data = bytes(raw)
    return b"" if data == b"null" else data


def written_empty() -> tuple[()]:
    """Default of an array that is written as `[]` when it is empty; the plain `tuple` factory would leave it out."""
    return ()
