"""`<think>` blocks taken out of visible text: at once, or while it streams."""

from __future__ import annotations

import re
from typing import Final

_OPEN: Final = re.compile("<[tT][hH][iI][nN][kK]>")
_CLOSE: Final = re.compile("</[tT][hH][iI][nN][kK]>")
_BLOCK: Final = re.compile(rf"{_OPEN.pattern}(.*?)(?:{_CLOSE.pattern}\s*|\Z)", re.DOTALL)


def split_think(text: str) -> tuple[str, str]:
    """(visible, reasoning) of a complete text.

    Inner texts are trimmed and joined by a blank line; an unclosed block takes the rest. Visible text is trimmed only
    if a block was found.
    """
    inner = [match.group(1).strip() for match in _BLOCK.finditer(text)]
    if not inner:
        return text, ""
    return _BLOCK.sub("", text).strip(), "\n\n".join(part for part in inner if part)


class ThinkSplitter:
    """The same split for text that comes in pieces; a partial tag and trailing blanks are held back.

    All pieces together equal `split_think` of the whole, but for blanks before the first visible character.
    """

    def __init__(self) -> None:
        self._held = ""
        self._inside = False
        self._found = False
        self._trim_start = False
        """Blanks are dropped until the next other character: after a tag of either kind, as the case may be."""
        self._visible_blanks = ""
        self._inner_blanks = ""
        self._reasoned = False
        self._separate = False

    def feed(self, text: str) -> tuple[str, str]:
        """(visible, reasoning) that is certain after this piece."""
        self._held += text
        visible: list[str] = []
        reasoning: list[str] = []
        while (tag := (_CLOSE if self._inside else _OPEN).search(self._held)) is not None:
            self._emit(self._held[: tag.start()], visible, reasoning)
            self._held = self._held[tag.end() :]
            self._cross_tag()
        certain = len(self._held) - _partial_tag(self._held, "</think>" if self._inside else "<think>")
        self._emit(self._held[:certain], visible, reasoning)
        self._held = self._held[certain:]
        return "".join(visible), "".join(reasoning)

    def flush(self) -> tuple[str, str]:
        """(visible, reasoning) that was held back; call once, at the end."""
        visible: list[str] = []
        reasoning: list[str] = []
        self._emit(self._held, visible, reasoning)
        self._held = ""
        if not self._found:
            visible.append(self._visible_blanks)
        self._visible_blanks = ""
        return "".join(visible), "".join(reasoning)

    def _cross_tag(self) -> None:
        self._inside = not self._inside
        self._trim_start = True
        if self._inside:
            self._found = True
            self._inner_blanks = ""
            self._separate = self._reasoned

    def _emit(self, text: str, visible: list[str], reasoning: list[str]) -> None:
        if self._trim_start:
            text = text.lstrip()
        if not text:
            return
        self._trim_start = False
        body = text.rstrip()
        blanks = text[len(body) :]
        if self._inside:
            if body:
                reasoning.append(("\n\n" if self._separate else "") + self._inner_blanks + body)
                self._separate = False
                self._reasoned = True
                self._inner_blanks = blanks
            else:
                self._inner_blanks += blanks
        elif body:
            visible.append(self._visible_blanks + body)
            self._visible_blanks = blanks
        else:
            self._visible_blanks += blanks


def _partial_tag(text: str, tag: str) -> int:
    """Length of the longest end of `text` that may begin `tag`."""
    for size in range(min(len(tag) - 1, len(text)), 0, -1):
        if text[-size:].lower() == tag[:size]:
            return size
    return 0
