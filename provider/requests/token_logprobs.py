"""Log-probabilities of tokens as entries of a chat chunk; pure."""

from collections.abc import Collection, Sequence

import msgspec

from provider.engine import TokenLogprob, Vocabulary


class TopEntry(msgspec.Struct, frozen=True):
    """One token: its text (an unfinished character as U+FFFD), log-probability and bytes."""

    token: str
    logprob: float
    bytes: list[int]


class Entry(msgspec.Struct, frozen=True):
    """A sampled token with its alternatives, likeliest first."""

    token: str
    logprob: float
    bytes: list[int]
    top_logprobs: list[TopEntry]


MIN_LOGPROB = -9999.0
"""What is written for a probability of zero, since JSON has no infinity."""


def entries(found: Sequence[TokenLogprob], vocabulary: Vocabulary, hidden: Collection[str]) -> list[Entry]:
    """Write what the engine found; tokens whose text is one of `hidden` are left out."""
    written: list[Entry] = []
    for described in found:
        text, piece = _piece(described.token, vocabulary)
        if text not in hidden:
            top = [_top(token, logprob, vocabulary) for token, logprob in described.top]
            written.append(Entry(text, _finite(described.logprob), list(piece), top))
    return written


def _top(token: int, logprob: float, vocabulary: Vocabulary) -> TopEntry:
    text, piece = _piece(token, vocabulary)
    return TopEntry(text, _finite(logprob), list(piece))


def _piece(token: int, vocabulary: Vocabulary) -> tuple[str, bytes]:
    if vocabulary.pieces is None:
        text = vocabulary.decode_all([token]) if token < vocabulary.size else ""
        return text, text.encode()
    piece = vocabulary.pieces[token] if token < len(vocabulary.pieces) else b""
    return piece.decode(errors="replace"), piece


def _finite(logprob: float) -> float:
    return max(MIN_LOGPROB, logprob) if logprob == logprob else MIN_LOGPROB
