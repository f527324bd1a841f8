"""The life of the output items of one response: opened in order, filled, closed once.

Invariant: at most one message or reasoning item is open; calls may be open side by side and close in opening order.
Invariant: an item's index, id and call id are fixed when it opens.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from protocol.api.chat_answer import AnswerTooLarge
from protocol.api.responses.output import REFUSAL, TEXT, FunctionCall, Message, Part, Reasoning

if TYPE_CHECKING:
    from typing import Literal

    from protocol.api.deltas import CallFragment, Delta
    from protocol.api.responses.events import EventWriter
    from protocol.api.responses.output import Item, Status

MAX_LOGPROB_BYTES: Final = 64 * 1024 * 1024
"""Log probabilities that one answer may hold; further ones are left out."""
MAX_PARTS: Final = 4096
"""Messages, their parts, and thoughts of one answer; each is repeated at its end and at that of the response."""


class OutputItems:
    """The items of one answer. `events` is told of every change; without it they are only collected.

    `take` and `say` may raise AnswerTooLarge.
    """

    def __init__(self, job_hex: str, events: EventWriter | None = None) -> None:
        self._job_hex = job_hex
        self._events = events
        self._items: list[Item] = []
        self._speaking: Message | Reasoning | None = None
        """The one message or reasoning item that is open."""
        self._calls: dict[int, FunctionCall] = {}
        self._call_ids: set[str] = set()
        self._logprob_bytes = 0
        self._parts = 0
        self.dropped_fragments = 0
        """Fragments of calls whose arguments were whole already."""

    def take(self, delta: Delta) -> None:
        """Add what one event of the provider adds."""
        if delta.reasoning:
            self._think(_body(delta.reasoning))
        if delta.text:
            self.say(_body(delta.text), delta.logprobs)
        if delta.refusal:
            self._refuse(_body(delta.refusal))
        for fragment in delta.calls:
            self._call(fragment)

    def say(self, body: bytes, logprobs: bytes = b"") -> None:
        """Add text, as the body of a JSON string, and the entries of its log probabilities."""
        message, part = self._open_part(TEXT)
        self._logprob_bytes += len(logprobs)
        if self._logprob_bytes > MAX_LOGPROB_BYTES:
            logprobs = b""
        part.bodies.append(body)
        if logprobs:
            part.logprobs.append(logprobs)
        if self._events is not None:
            self._events.text_delta(message, body, logprobs)

    def end(self, status: Status) -> None:
        """Close everything with the given status; without any item, an empty message is the answer."""
        for call in self._calls.values():
            if not call.opened:
                self._open_call(call)
        if not self._items:
            self._open_part(TEXT)
        for item in self._items:
            if item.status == "in_progress":
                self._close(item, status)

    def abandon(self) -> None:
        """Mark what is open as incomplete, without events: the answer broke."""
        for item in self._items:
            if item.status == "in_progress":
                item.status = "incomplete"

    def json(self) -> msgspec.Raw:
        """All items, as the `output` array."""
        return msgspec.Raw(b"[" + b",".join(item.json() for item in self._items) + b"]")

    # --- opening ----------------------------------------------------------------------------------------------------

    def _think(self, body: bytes) -> None:
        item = self._speaking
        if not isinstance(item, Reasoning):
            self._count_part()
            self._make_room(for_call=False)
            item = Reasoning(self._new_id("rs"), len(self._items))
            self._speaking = item
            self._add(item)
            if self._events is not None:
                self._events.summary_added(item)
        item.bodies.append(body)
        if self._events is not None:
            self._events.summary_delta(item, body)

    def _refuse(self, body: bytes) -> None:
        message, part = self._open_part(REFUSAL)
        part.bodies.append(body)
        if self._events is not None:
            self._events.refusal_delta(message, body)

    def _open_part(self, kind: Literal["output_text", "refusal"]) -> tuple[Message, Part]:
        message = self._speaking
        if not isinstance(message, Message):
            self._make_room(for_call=False)
            message = Message(self._new_id("msg"), len(self._items))
            self._speaking = message
            self._add(message)
        part = message.parts[-1] if message.parts else None
        if part is not None and part.kind == kind:
            return message, part
        self._count_part()
        if part is not None and self._events is not None:
            self._events.part_done(message, part)
        part = Part(kind)
        message.parts.append(part)
        if self._events is not None:
            self._events.part_added(message, part)
        return message, part

    def _count_part(self) -> None:
        self._parts += 1
        if self._parts > MAX_PARTS:
            raise AnswerTooLarge

    def _call(self, fragment: CallFragment) -> None:
        call = self._calls.get(fragment.number)
        if call is None:
            call = self._calls[fragment.number] = FunctionCall(self._own_call_id(fragment))
        if call.status != "in_progress":
            self.dropped_fragments += bool(fragment.arguments)
            return
        if not call.opened and fragment.name:
            call.name = fragment.name
            self._open_call(call)
        if fragment.arguments:
            body = call.add_arguments(fragment.arguments)
            if call.opened and self._events is not None:
                self._events.arguments_delta(call, body)

    def _open_call(self, call: FunctionCall) -> None:
        self._make_room(for_call=True)
        held, call.bodies = call.bodies, []
        call.item_id = self._new_id("fc")
        call.index = len(self._items)
        self._add(call)
        call.bodies = held
        if self._events is not None:
            for body in held:
                self._events.arguments_delta(call, body)

    def _own_call_id(self, fragment: CallFragment) -> str:
        """The provider's id, or one of ours: clients tell calls apart by it alone."""
        call_id = fragment.call_id
        if not call_id or call_id in self._call_ids:
            call_id = f"call_{self._job_hex}_{fragment.number}"
        self._call_ids.add(call_id)
        return call_id

    def _add(self, item: Item) -> None:
        self._items.append(item)
        if self._events is not None:
            self._events.item_added(item)

    def _new_id(self, prefix: str) -> str:
        return f"{prefix}_{self._job_hex}_{len(self._items)}"

    # --- closing ----------------------------------------------------------------------------------------------------

    def _make_room(self, *, for_call: bool) -> None:
        """Close what another kind of item ends; a call stays open until its arguments are whole."""
        speaking = self._speaking
        if speaking is not None:
            self._close(speaking, "completed")
        if not for_call:
            for call in self._calls.values():
                if call.opened and call.status == "in_progress" and call.arguments_are_whole():
                    self._close(call, "completed")

    def _close(self, item: Item, status: Status) -> None:
        if item is self._speaking:
            self._speaking = None
        item.status = status
        events = self._events
        if events is None:
            return
        if isinstance(item, FunctionCall):
            events.arguments_done(item)
        elif isinstance(item, Reasoning):
            events.summary_done(item)
        elif item.parts:
            events.part_done(item, item.parts[-1])
        events.item_done(item)


def _body(text: str) -> bytes:
    return msgspec.json.encode(text)[1:-1]
