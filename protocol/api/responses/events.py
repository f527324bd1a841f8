"""The typed events of a streamed response, numbered from 0 without a gap."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from protocol.api.responses.output import REFUSAL, FunctionCall, Message, quoted

if TYPE_CHECKING:
    from protocol.api.responses.output import Item, Part, Reasoning

_TEXT_DELTA: Final = "response.output_text.delta"


class EventWriter:
    """Collects the bytes of events until `take`."""

    def __init__(self) -> None:
        self._number = 0
        self._out: list[bytes] = []
        self._text_item: Message | None = None
        self._text_part = -1
        self._text_sides = (b"", b"")

    def take(self) -> bytes:
        """Return what was written since the last call."""
        ready = b"".join(self._out)
        self._out.clear()
        return ready

    def write(self, kind: str, members: bytes) -> None:
        """One event; `members` are JSON members without braces, on one line."""
        name = kind.encode()
        self._out.append(
            b'event: %b\ndata: {"type":"%b","sequence_number":%d,%b}\n\n' % (name, name, self._number, members)
        )
        self._number += 1

    def lifecycle(self, kind: str, response: dict[str, object]) -> None:
        """An event with the whole response."""
        self.write(kind, b'"response":' + msgspec.json.encode(response))

    # --- items ------------------------------------------------------------------------------------------------------

    def item_added(self, item: Item) -> None:
        """A new item, still empty."""
        self.write("response.output_item.added", b'"output_index":%d,"item":%b' % (item.index, item.json()))

    def item_done(self, item: Item) -> None:
        """An item that will not change any more."""
        self.write("response.output_item.done", b'"output_index":%d,"item":%b' % (item.index, item.json()))

    # --- messages ---------------------------------------------------------------------------------------------------

    def part_added(self, message: Message, part: Part) -> None:
        """A new content part, still empty; `part` is the last one."""
        self.write("response.content_part.added", _part_place(message) + b',"part":' + part.json())

    def text_delta(self, message: Message, body: bytes, logprobs: bytes) -> None:
        """More text in the last part of a message; the hot path of a stream."""
        part = len(message.parts)
        if message is not self._text_item or part != self._text_part:
            self._text_item, self._text_part = message, part
            name = _TEXT_DELTA.encode()
            head = b'event: %b\ndata: {"type":"%b",%b,"sequence_number":' % (name, name, _part_place(message))
            self._text_sides = (head, b',"delta":"')
        head, middle = self._text_sides
        self._out.append(b'%b%d%b%b","logprobs":[%b]}\n\n' % (head, self._number, middle, body, logprobs))
        self._number += 1

    def refusal_delta(self, message: Message, body: bytes) -> None:
        """More of a refusal in the last part of a message."""
        self.write("response.refusal.delta", _part_place(message) + b',"delta":"' + body + b'"')

    def part_done(self, message: Message, part: Part) -> None:
        """The last part of a message is whole."""
        place = _part_place(message)
        if part.kind == REFUSAL:
            self.write("response.refusal.done", place + b',"refusal":' + quoted(part.bodies))
        else:
            text = b',"text":%b,"logprobs":%b' % (quoted(part.bodies), part.logprobs_json())
            self.write("response.output_text.done", place + text)
        self.write("response.content_part.done", place + b',"part":' + part.json())

    # --- reasoning --------------------------------------------------------------------------------------------------

    def summary_added(self, item: Reasoning) -> None:
        """The summary part of a reasoning item, still empty."""
        empty = b',"part":{"type":"summary_text","text":""}'
        self.write("response.reasoning_summary_part.added", _summary_place(item) + empty)

    def summary_delta(self, item: Reasoning, body: bytes) -> None:
        """More reasoning."""
        self.write("response.reasoning_summary_text.delta", _summary_place(item) + b',"delta":"' + body + b'"')

    def summary_done(self, item: Reasoning) -> None:
        """The summary part is whole."""
        place = _summary_place(item)
        self.write("response.reasoning_summary_text.done", place + b',"text":' + quoted(item.bodies))
        self.write("response.reasoning_summary_part.done", place + b',"part":' + item.part_json())

    # --- calls ------------------------------------------------------------------------------------------------------

    def arguments_delta(self, call: FunctionCall, body: bytes) -> None:
        """More of a call's arguments."""
        self.write("response.function_call_arguments.delta", _item_place(call) + b',"delta":"' + body + b'"')

    def arguments_done(self, call: FunctionCall) -> None:
        """The arguments of a call are whole."""
        whole = b',"name":%b,"arguments":%b' % (msgspec.json.encode(call.name), quoted(call.bodies))
        self.write("response.function_call_arguments.done", _item_place(call) + whole)


def _item_place(item: Item) -> bytes:
    return b'"item_id":%b,"output_index":%d' % (msgspec.json.encode(item.item_id), item.index)


def _part_place(message: Message) -> bytes:
    return b'%b,"content_index":%d' % (_item_place(message), len(message.parts) - 1)


def _summary_place(item: Reasoning) -> bytes:
    return _item_place(item) + b',"summary_index":0'
