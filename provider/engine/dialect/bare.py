"""Answers that are either text or, from their first character on, calls in bare JSON: Llama 3."""

import json
from collections.abc import Sequence

from provider.engine.dialect.calls import MAX_CALLS, MAX_PAYLOAD_CHARACTERS, read_json_call
from provider.engine.dialect.family import PYTHON_TAG
from provider.engine.dialect.parts import Call, Content, Part, SpoiledCall


class BareReader:
    """Holds an answer that begins like a call until its end; any other passes through.

    What was held of an answer that was cut is text, unless the answer is forced to be a call (`is_forced`).
    """

    is_thinking = False

    def __init__(self, *, is_forced: bool = False) -> None:
        self._is_forced = is_forced
        self._held = ""
        self._is_text = False

    @property
    def is_visible(self) -> bool:
        """Whether the next text is shown."""
        return self._is_text

    def feed(self, text: str) -> Sequence[Part]:
        """Take a piece and return what is certain."""
        if self._is_text:
            return [Content(text)] if text else []
        self._held += text
        begun = self._held.lstrip()
        if not begun or begun[0] == "{" or PYTHON_TAG.startswith(begun) or begun.startswith(PYTHON_TAG):
            return []
        self._is_text = True
        held, self._held = self._held, ""
        return [Content(held)]

    def flush(self, *, is_complete: bool) -> Sequence[Part]:
        """Read what was held: calls after one another, perhaps with semicolons between; else it is text."""
        held, self._held = self._held, ""
        payload = held.strip().removeprefix(PYTHON_TAG).strip()
        if not payload or not is_complete:
            is_call = self._is_forced or held.lstrip().startswith(PYTHON_TAG)
            return [Content(payload)] if payload and not is_call else []
        try:
            return _read(payload)
        except (ValueError, RecursionError):
            return [SpoiledCall(payload)]


def _read(payload: str) -> list[Call]:
    if len(payload) > MAX_PAYLOAD_CHARACTERS:
        raise ValueError("too long")
    decoder, at = json.JSONDecoder(), 0
    calls: list[Call] = []
    while at < len(payload):
        value, at = decoder.raw_decode(payload, at)
        call = read_json_call(value)
        if call is None or len(calls) == MAX_CALLS:
            raise ValueError("no call")
        calls.append(call)
        while at < len(payload) and payload[at] in " \t\r\n;":
            at += 1
    return calls
