"""What may be asked of a running daemon, as one JSON line each; and its answer."""

from typing import Final

import msgspec

MAX_LINE_BYTES: Final = 64 * 1024


class Hello(msgspec.Struct, frozen=True, tag_field="order", tag="hello"):
    """Are you there?"""


class Drain(msgspec.Struct, frozen=True, kw_only=True, tag_field="order", tag="drain"):
    """Take nothing new, finish what runs, then end; with `force` end what runs early."""

    force: bool = False


class Load(msgspec.Struct, frozen=True, kw_only=True, tag_field="order", tag="load"):
    """Make a model resident."""

    model: str


class Unload(msgspec.Struct, frozen=True, kw_only=True, tag_field="order", tag="unload"):
    """Let go of a model that no request needs."""

    model: str


class OfferedFolder(msgspec.Struct, frozen=True, kw_only=True):
    """A model and where it lies."""

    model: str
    directory: str


class Switch(msgspec.Struct, frozen=True, kw_only=True, tag_field="order", tag="switch"):
    """Offer these models from now on, and no others."""

    models: tuple[OfferedFolder, ...]


class ReloadAuth(msgspec.Struct, frozen=True, tag_field="order", tag="reload_auth"):
    """Register again, with the token that the file holds now."""


Order = Hello | Drain | Load | Unload | Switch | ReloadAuth


class Answer(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Whether it was done; else a full sentence. `pid` is the daemon's."""

    done: bool
    pid: int
    error: str = ""
    in_flight: int = 0


_ENCODER: Final = msgspec.json.Encoder()
_ORDERS: Final[msgspec.json.Decoder[Order]] = msgspec.json.Decoder(Order)
_ANSWERS: Final = msgspec.json.Decoder(Answer)


def encode_line(message: Order | Answer) -> bytes:
    """Write one line."""
    return _ENCODER.encode(message) + b"\n"


def decode_order(line: bytes) -> Order | None:
    """Read an order; None for what is none."""
    try:
        return _ORDERS.decode(line)
    except (msgspec.MsgspecError, ValueError):
        return None


def decode_answer(line: bytes) -> Answer | None:
    """Read an answer; None for what is none."""
    try:
        return _ANSWERS.decode(line)
    except (msgspec.MsgspecError, ValueError):
        return None
