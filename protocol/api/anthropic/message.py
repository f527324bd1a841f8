"""A provider's chat chunks collected into one message; the counterpart of `stream`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from protocol.api.anthropic.ending import stop_members, thinking_signature, usage_members
from protocol.api.chat_answer import ChatAnswer
from protocol.api.errors import ApiError
from protocol.api.exact_json import decode_exact

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from protocol.api.ending import UsageReport
    from protocol.api.shapes import AnswerFacts


class MessageAnswer(ChatAnswer):
    """One message in one piece; a WholeAssembler. Collects as chat does and raises the result at the end."""

    def __init__(self, facts: AnswerFacts, *, stop_sequences: Sequence[str]) -> None:
        super().__init__(
            public_model=facts.public_model,
            completion_id=f"chatcmpl-{facts.job_id}",
            created=facts.created,
            requested_max=facts.requested_max,
            split_think=facts.split_think,
        )
        self._facts = facts
        self._stop_sequences = stop_sequences

    def finish(
        self,
        usage: UsageReport,
        *,
        response_hash: str | None = None,
        se_signature: str | None = None,
        stop_sequence: str | None = None,
        attachments: Mapping[str, object] | None = None,
    ) -> dict[str, object]:
        """The complete message object."""
        chat = super().finish(
            usage, response_hash=response_hash, se_signature=se_signature, stop_sequence=stop_sequence
        )
        choice = msgspec.convert(chat["choices"], list[_Choice])[0]
        message = choice.message
        answer: dict[str, object] = {
            "id": f"msg_{self._facts.job_hex}",
            "type": "message",
            "role": "assistant",
            "model": self._facts.public_model,
            "content": self._content_blocks(message),
        }
        answer |= stop_members(choice.finish_reason, stop_sequence, self._stop_sequences)
        answer["usage"] = usage_members(usage, reasoned=bool(message.reasoning))
        answer |= {name: chat[name] for name in ("se_signature", "response_hash") if name in chat}
        return answer | dict(attachments or {})

    def _content_blocks(self, message: _Message) -> list[dict[str, object]]:
        blocks: list[dict[str, object]] = []
        if message.reasoning:
            signature = thinking_signature(self._facts.job_hex)
            blocks.append({"type": "thinking", "thinking": message.reasoning, "signature": signature})
        visible = message.content + message.refusal
        if visible:
            blocks.append({"type": "text", "text": visible})
        for call in message.tool_calls:
            made = {"type": "tool_use", "id": call.id, "name": call.function.name}
            blocks.append(made | {"input": tool_input(call.function.arguments)})
        return blocks


class _Function(msgspec.Struct):
    name: str
    arguments: str


class _Call(msgspec.Struct):
    id: str
    function: _Function


class _Message(msgspec.Struct):
    content: str
    reasoning: str = ""
    refusal: str = ""
    tool_calls: list[_Call] = []


class _Choice(msgspec.Struct):
    message: _Message
    finish_reason: str


def tool_input(arguments: str) -> object:
    """The arguments of a call as the object that they are, digit for digit; `{}` for text that is no JSON object."""
    raw = arguments.encode()
    try:
        decoded = decode_exact(raw)
    except ApiError:
        return {}
    return msgspec.Raw(raw.strip()) if isinstance(decoded, dict) else {}
