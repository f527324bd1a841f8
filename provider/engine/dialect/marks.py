"""Finding marks in text that comes in pieces; what may be the beginning of one is held back."""

from collections.abc import Sequence


def undecided_suffix(text: str, words: Sequence[str]) -> int:
    """Length of the longest suffix of `text` that is a proper prefix of some word."""
    longest = 0
    for word in words:
        for length in range(min(len(word) - 1, len(text)), longest, -1):
            if text.endswith(word[:length]):
                longest = length
                break
    return longest


class MarkScanner:
    """Text not yet decided. `add` pieces, then `cut` until it finds no mark."""

    __slots__ = ("_held",)

    def __init__(self) -> None:
        self._held = ""

    def add(self, text: str) -> None:
        """Append a piece."""
        self._held += text

    def cut(self, marks: Sequence[str], *, is_final: bool = False) -> tuple[str, str]:
        """(text before the earliest mark, that mark), or (text that is certain, ``""``); at one place the longest wins.

        A mark that may still grow into a longer one waits, and so does the beginning of one, unless `is_final`. The
        marks may differ from call to call; what was held for one set is judged anew by the next.
        """
        held = self._held
        best_at, best = len(held), ""
        for mark in marks:
            at = held.find(mark)
            if at >= 0 and (at < best_at or (at == best_at and len(mark) > len(best))):
                best_at, best = at, mark
        if best and not is_final and _may_grow(held[best_at:], best, marks):
            self._held = held[best_at:]
            return held[:best_at], ""
        if best:
            self._held = held[best_at + len(best) :]
            return held[:best_at], best
        kept = 0 if is_final else undecided_suffix(held, marks)
        self._held = held[len(held) - kept :]
        return held[: len(held) - kept], ""


def _may_grow(text: str, found: str, marks: Sequence[str]) -> bool:
    """Whether `text` is only the beginning of a mark longer than the one found at its start."""
    return any(len(mark) > len(found) and len(mark) > len(text) and mark.startswith(text) for mark in marks)
