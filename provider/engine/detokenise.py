"""Incremental detokenisation: the pieces together equal the one-shot decode, and no piece ends inside a character."""

import codecs
from typing import Protocol

from provider.engine.vocabulary import Vocabulary

WINDOW_TOKENS = 8
"""Tokens of context that the fallback keeps before the ones it decodes again."""

REPLACEMENT = "\ufffd"


class Detokeniser(Protocol):
    """State of one row."""

    def add(self, token: int) -> str:
        """Take one token id and return the text that became complete (often, but not always, not empty)."""

    def flush(self) -> str:
        """Return what is left at the end; an unfinished character becomes U+FFFD."""


def make_detokeniser(vocabulary: Vocabulary) -> Detokeniser:
    """Choose the detokeniser that fits the tables."""
    if vocabulary.pieces is None:
        return WindowDetokeniser(vocabulary)
    if vocabulary.byte_runs:
        return RunDetokeniser(vocabulary)
    return ByteDetokeniser(vocabulary)


class ByteDetokeniser:
    """Byte-level BPE: joins token bytes through an incremental UTF-8 decoder; constant work per token."""

    __slots__ = ("_decoder", "_open", "_pieces", "_texts")

    def __init__(self, vocabulary: Vocabulary) -> None:
        assert vocabulary.pieces is not None
        self._pieces = vocabulary.pieces
        self._texts = vocabulary.texts
        self._open = False
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def add(self, token: int) -> str:
        """Take one token id; ids outside the table (a padded output layer) and hidden ones add nothing."""
        if token >= len(self._texts):
            return ""
        text = self._texts[token]
        if text == "" or (text is not None and not self._open):
            return text
        text = self._decoder.decode(self._pieces[token])
        self._open = self._decoder.getstate()[0] != b""
        return text

    def flush(self) -> str:
        """Return the replacement for an unfinished character, or nothing."""
        self._open = False
        return self._decoder.decode(b"", final=True)


class RunDetokeniser:
    """SentencePiece with byte fallback: a run of byte tokens is decoded when it ends, wholly or as replacements."""

    __slots__ = ("_at_start", "_pieces", "_run", "_strip", "_texts")

    def __init__(self, vocabulary: Vocabulary) -> None:
        assert vocabulary.pieces is not None
        self._pieces = vocabulary.pieces
        self._texts = vocabulary.texts
        self._strip = vocabulary.strip_leading_space
        self._at_start = True
        self._run = bytearray()

    def add(self, token: int) -> str:
        """Take one token id; a byte token is held until its run ends."""
        if token >= len(self._texts):
            return ""
        text = self._texts[token]
        if text is None:
            self._run += self._pieces[token]
            return ""
        if text and self._run:
            text = self._end_run() + text
        return self._begin(text) if self._at_start and text else text

    def flush(self) -> str:
        """Return the run that is still held."""
        text = self._end_run()
        return self._begin(text) if self._at_start and text else text

    def _end_run(self) -> str:
        run, self._run = bytes(self._run), bytearray()
        try:
            return run.decode()
        except UnicodeDecodeError:
            return REPLACEMENT * len(run)

    def _begin(self, text: str) -> str:
        self._at_start = False
        return text[1:] if self._strip and text.startswith(" ") else text


class WindowDetokeniser:
    """For decoders of unknown kind: decodes a short window again and returns what it gained.

    The window restarts only where decoding the context and the context plus the pending tokens share a prefix.
    """

    __slots__ = ("_shown", "_vocabulary", "_window")

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary
        self._window: list[int] = []
        self._shown = ""

    def add(self, token: int) -> str:
        """Take one token id and return the text it completed."""
        if token in self._vocabulary.hidden or token >= self._vocabulary.size:
            return ""
        self._window.append(token)
        text = self._vocabulary.decode(self._window)
        if text.endswith(REPLACEMENT) or not text.startswith(self._shown):
            return ""
        gained = text[len(self._shown) :]
        self._shown = text
        if len(self._window) > 4 * WINDOW_TOKENS:
            self._shorten(text)
        return gained

    def flush(self) -> str:
        """Return what the window still holds back."""
        text = self._vocabulary.decode(self._window) if self._window else ""
        gained = text[len(self._shown) :] if text.startswith(self._shown) else ""
        self._window, self._shown = [], ""
        return gained

    def _shorten(self, text: str) -> None:
        """Keep the last tokens as context, if their own decode is how the text ends."""
        context = self._window[-WINDOW_TOKENS:]
        tail = self._vocabulary.decode(context)
        if tail and text.endswith(tail) and not tail.startswith(REPLACEMENT):
            self._window, self._shown = context, tail
