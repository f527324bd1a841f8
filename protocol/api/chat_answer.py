"""A provider's chat chunks collected into one complete answer; the counterpart of `chat_stream`.

Invariant: deltas and one full object give the same answer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from protocol.api.chunk_reader import ChunkReader
from protocol.api.ending import UsageReport, finish_reason, signature_members
from protocol.api.reasoning import whole_detail
from protocol.api.splice import TemplateKeeper, plain_text
from protocol.api.think import split_think
from protocol.api.tool_calls import ToolCallNumbering, fragment_text_bytes

if TYPE_CHECKING:
    from collections.abc import Mapping

    from native import SpliceTemplate
    from protocol.api.chunk import WireChoice

MAX_TEXT_BYTES: Final = 64 * 1024 * 1024
"""Text that one answer may collect; a longer one fails, so that a provider cannot fill our memory."""

MAX_LOGPROB_ENTRIES: Final = 262_144
MAX_DETAILS: Final = 1024


class AnswerTooLarge(Exception):
    """A provider sent more text than one answer may hold."""


class ChatAnswer:
    """One answer that is not streamed. Feed plaintexts and runs in order, then call `finish` once. Sans-IO.

    The pump's template of an answer has empty output sides: a run is a row of JSON string bodies, which simply join.
    """

    def __init__(
        self,
        *,
        public_model: str,
        completion_id: str,
        created: int,
        requested_max: int,
        split_think: bool = False,
    ) -> None:
        self._public_model = public_model
        self._completion_id = completion_id
        self._created = created
        self._requested_max = requested_max
        self._split_think = split_think
        self._content: list[bytes] = []
        self._refusal: list[str] = []
        self._reasoning: list[str] = []
        self._details: list[dict[str, object]] = []
        self._logprobs: list[msgspec.Raw] = []
        self._numbering = ToolCallNumbering(completion_id.removeprefix("chatcmpl-").replace("-", ""))
        self._calls: list[dict[str, str]] = []
        self._templates = TemplateKeeper(b"", b"")
        self._chunks = ChunkReader()
        self._reported_reason: str | None = None
        self.deltas = 0
        self.text_bytes = 0

    @property
    def template(self) -> SpliceTemplate | None:
        """What the pump may splice from now on; None until a plain content delta was seen."""
        return self._templates.current

    @property
    def dropped_events(self) -> int:
        """Events that were no chunks."""
        return self._chunks.dropped_events

    @property
    def ended(self) -> bool:
        """The provider named a finish reason or said `[DONE]`: no more text is due."""
        return self._chunks.ended

    @property
    def dropped_calls(self) -> int:
        """Tool calls beyond the bound of one answer."""
        return self._numbering.dropped

    def feed(self, plaintext: bytes) -> bool:
        """Collect one opened chunk; True if it held anything generated. Raises AnswerTooLarge."""
        text = self._templates.text_of(plaintext)
        if text is not None:  # the shape that was proven: nothing but its text is new
            self._add_text(text)
            return True
        content = False
        for choice in self._chunks.read(plaintext):
            plain = plain_text(choice)
            if plain is None:
                content = self._collect(choice) or content
                continue
            content = True
            self._add_text(plain)
            if self._chunks.alone:
                self._templates.saw(plaintext, plain)
        return content

    def add_run(self, bodies: bytes, deltas: int, text_bytes: int) -> None:
        """Collect a run of the pump. Raises AnswerTooLarge."""
        self._content.append(bodies)
        self._count(deltas, text_bytes)

    def finish(
        self,
        usage: UsageReport,
        *,
        response_hash: str | None = None,
        se_signature: str | None = None,
        stop_sequence: str | None = None,
        attachments: Mapping[str, object] | None = None,
    ) -> dict[str, object]:
        """The complete `chat.completion` object."""
        content: str = msgspec.json.decode(b'"' + b"".join(self._content) + b'"', type=str)
        reasoning = "".join(self._reasoning)
        if self._split_think:
            content, thought = split_think(content)
            if thought and thought not in reasoning:
                reasoning = f"{reasoning}\n\n{thought}" if reasoning else thought
        message = self._message(content, reasoning)
        choice: dict[str, object] = {"index": 0, "message": message}
        if self._logprobs:
            choice["logprobs"] = {"content": self._logprobs}
        choice["finish_reason"] = finish_reason(
            self._reported_reason,
            completion_tokens=usage.completion_tokens,
            requested_max=self._requested_max,
            has_tool_calls=bool(self._calls),
            stopped_by_caller=stop_sequence is not None,
        )
        answer: dict[str, object] = {
            "id": self._completion_id,
            "object": "chat.completion",
            "created": self._created,
            "model": self._public_model,
            "choices": [choice],
            "usage": usage.as_json(reasoned=bool(reasoning)),
        }
        return answer | signature_members(response_hash, se_signature) | dict(attachments or {})

    def _message(self, content: str, reasoning: str) -> dict[str, object]:
        message: dict[str, object] = {"role": "assistant", "content": content}
        if reasoning:
            message["reasoning"] = reasoning
            message["reasoning_content"] = reasoning
            message["reasoning_details"] = [whole_detail(reasoning)]
        elif self._details:
            message["reasoning_details"] = self._details
        if self._refusal:
            message["refusal"] = "".join(self._refusal)
        if self._calls:
            message["tool_calls"] = [
                {
                    "id": call["id"],
                    "type": "function",
                    "function": {"name": call["name"], "arguments": call["arguments"]},
                }
                for call in self._calls
            ]
        return message

    def _add_text(self, text: str) -> None:
        """Collect a content delta that adds nothing but text, which is not empty."""
        self._content.append(msgspec.json.encode(text)[1:-1])
        self._count(1, len(text) if text.isascii() else len(text.encode()))

    def _collect(self, choice: WireChoice) -> bool:
        """Collect any other choice; True if it held anything generated."""
        if choice.finish_reason is not None:
            self._reported_reason = choice.finish_reason
        delta = choice.added()
        text_bytes = 0
        added = False
        if delta.content:
            self._content.append(msgspec.json.encode(delta.content)[1:-1])
            text_bytes += len(delta.content.encode())
        if delta.refusal:
            self._refusal.append(delta.refusal)
            text_bytes += len(delta.refusal.encode())
        reasoning = delta.reasoning_text()
        if reasoning:
            self._reasoning.append(reasoning)
            text_bytes += len(reasoning.encode())
        elif delta.reasoning_details and len(self._details) < MAX_DETAILS:
            self._details.extend(delta.reasoning_details[:MAX_DETAILS])
            added = True
        for call in delta.tool_calls or []:
            placed = self._numbering.place(call)
            if placed is not None:
                added = True
                text_bytes += fragment_text_bytes(placed)
                self._merge(placed)
        if not choice.logprobs_absent():
            added = self._keep_logprobs(choice) or added
        content = added or text_bytes > 0
        if content:
            self._count(1, text_bytes)
        return content

    def _merge(self, placed: dict[str, object]) -> None:
        function = placed["function"]
        number = placed["index"]
        if not isinstance(function, dict) or not isinstance(number, int):
            return
        if number == len(self._calls):
            self._calls.append({"id": str(placed["id"]), "name": "", "arguments": ""})
        call = self._calls[number]
        call["name"] += function.get("name", "")
        call["arguments"] += function.get("arguments", "")

    def _keep_logprobs(self, choice: WireChoice) -> bool:
        entries = choice.logprob_entries()
        if len(self._logprobs) + len(entries) > MAX_LOGPROB_ENTRIES:
            return False
        self._logprobs.extend(entries)
        return bool(entries)

    def _count(self, deltas: int, text_bytes: int) -> None:
        self.deltas += deltas
        self.text_bytes += text_bytes
        if self.text_bytes > MAX_TEXT_BYTES:
            raise AnswerTooLarge
