"""What each token id of a tokenizer contributes to the text."""

import json
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, cast

SPACE_MARK = "\u2581"
"""What SentencePiece stores for a space."""


class BackendTokenizer(Protocol):
    """The part of ``tokenizers.Tokenizer`` that the tables are built from."""

    def to_str(self) -> str:
        """Return the tokenizer's JSON description."""

    def get_vocab_size(self, with_added_tokens: bool = ...) -> int:
        """Return the number of ids."""

    def id_to_token(self, id: int) -> str | None:  # noqa: A002
        """Return the stored form of one id."""

    def decode(self, ids: Sequence[int], skip_special_tokens: bool = ...) -> str:
        """Decode ids to text."""


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """Token tables of one tokenizer, built once per loaded model and shared by its rows.

    `pieces` maps an id to its bytes, or is None when the decoder is of an unknown kind (then `decode_all` is used).
    `texts` maps an id to its text where that does not depend on its neighbours, else None. Hidden ids add nothing.
    `byte_runs` says that neighbouring byte tokens decode together or not at all (SentencePiece byte fallback);
    `strip_leading_space` that the decoder drops one space at the very beginning.
    """

    size: int
    pieces: tuple[bytes, ...] | None
    texts: tuple[str | None, ...]
    hidden: frozenset[int]
    byte_runs: bool
    strip_leading_space: bool
    decode_all: Callable[[Sequence[int]], str]

    def decode(self, ids: Sequence[int]) -> str:
        """Decode ids at once, hidden ones left out."""
        return self.decode_all([i for i in ids if i not in self.hidden])

    def showing(self, ids: Collection[int]) -> "Vocabulary":
        """Return the same tables with some hidden ids made visible, for text that is read and not shown."""
        shown = self.hidden.intersection(ids)
        if not shown:
            return self
        texts = list(self.texts)
        if self.pieces is not None:
            for token in shown:
                texts[token] = _complete_text(self.pieces[token])
        return replace(self, hidden=self.hidden - shown, texts=tuple(texts))


def build_vocabulary(tokenizer: BackendTokenizer, extra_hidden: Iterable[int] = ()) -> Vocabulary:
    """Build the tables of a fast tokenizer; `extra_hidden` adds ids that are never shown."""
    description = cast(dict[str, object], json.loads(tokenizer.to_str()))
    hidden = _special_ids(description) | frozenset(extra_hidden)
    size = tokenizer.get_vocab_size(True)
    stored = [tokenizer.id_to_token(i) or "" for i in range(size)]
    decoder = description.get("decoder")
    strips = _byte_fallback_strips(decoder)
    pieces: tuple[bytes, ...] | None = None
    texts: tuple[str | None, ...] = ()
    if _is_byte_level(decoder):
        pieces = tuple(_byte_level(token) for token in stored)
        texts = tuple("" if i in hidden else _complete_text(piece) for i, piece in enumerate(pieces))
    elif strips is not None:
        pieces = tuple(_fallback_byte(token) or token.replace(SPACE_MARK, " ").encode() for token in stored)
        texts = tuple(
            "" if i in hidden else None if _fallback_byte(token) is not None else token.replace(SPACE_MARK, " ")
            for i, token in enumerate(stored)
        )

    def decode(ids: Sequence[int]) -> str:
        return tokenizer.decode(ids, skip_special_tokens=False)

    return Vocabulary(size, pieces, texts, hidden, strips is not None, bool(strips), decode)


def _special_ids(description: dict[str, object]) -> frozenset[int]:
    added = cast(list[dict[str, object]], description.get("added_tokens") or [])
    return frozenset(cast(int, token["id"]) for token in added if token.get("special"))


def _is_byte_level(decoder: object) -> bool:
    return isinstance(decoder, dict) and decoder.get("type") == "ByteLevel"


def _byte_fallback_strips(decoder: object) -> bool | None:
    """None: not a SentencePiece decoder with byte fallback; else whether it strips one leading space."""
    if not isinstance(decoder, dict) or decoder.get("type") != "Sequence":
        return None
    steps = cast(list[dict[str, object]], decoder.get("decoders") or [])
    plain = [
        {"type": "Replace", "pattern": {"String": SPACE_MARK}, "content": " "},
        {"type": "ByteFallback"},
        {"type": "Fuse"},
    ]
    if steps == plain:
        return False
    if steps == [*plain, {"type": "Strip", "content": " ", "start": 1, "stop": 0}]:
        return True
    return None


def _byte_alphabet() -> dict[str, int]:
    """The printable stand-ins that byte-level BPE uses for the 256 byte values."""
    visible = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    alphabet = {chr(value): value for value in visible}
    missing = (value for value in range(256) if value not in set(visible))
    alphabet.update({chr(256 + offset): value for offset, value in enumerate(missing)})
    return alphabet


_ALPHABET = _byte_alphabet()


def _byte_level(token: str) -> bytes:
    """Bytes of a byte-level token; one with a foreign character stands for itself, as in the one-shot decoder."""
    values = [_ALPHABET.get(character) for character in token]
    if None in values:
        return token.encode()
    return bytes(cast(list[int], values))


def _fallback_byte(token: str) -> bytes | None:
    """The byte that a token like ``<0x0A>`` stands for, or None."""
    if len(token) == 6 and token.startswith("<0x") and token.endswith(">"):
        try:
            return bytes([int(token[3:5], 16)])
        except ValueError:
            return None
    return None


def _complete_text(piece: bytes) -> str | None:
    try:
        return piece.decode()
    except UnicodeDecodeError:
        return None
