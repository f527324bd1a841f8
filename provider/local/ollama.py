"""The two inference endpoints that Ollama's clients know, over the same request path; pure.

Bodies are lowered to chat completions, answers are raised to lines of JSON. What has no counterpart here, such as
images or raw templates, is refused rather than ignored.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final, Literal, cast

import msgspec

from protocol.api.deltas import Delta, DeltaReader
from protocol.api.ending import finish_reason
from protocol.api.errors import invalid_request
from protocol.messages.from_provider import InferenceComplete
from provider.local.keep_alive import read_keep_alive

Kind = Literal["chat", "generate"]

_RENAMED: Final = {"num_predict": "max_tokens", "repeat_penalty": "repetition_penalty"}
_SAME: Final = (
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "seed",
    "stop",
    "frequency_penalty",
    "presence_penalty",
)
_NANOSECONDS: Final = 1_000_000_000


class OllamaRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A lowered request; `keep_alive` is how many seconds the model is to stay after the answer, None the usual."""

    kind: Kind
    body: bytes
    stream: bool
    keep_alive: float | None

    def __repr__(self) -> str:
        return f"<OllamaRequest {self.kind}>"


def lower_request(kind: Kind, body: bytes) -> OllamaRequest:
    """Read a body; raises `ApiError`."""
    try:
        fields = msgspec.json.decode(body or b"{}", type=dict[str, Any])
    except (msgspec.MsgspecError, ValueError, RecursionError):
        raise invalid_request("The body is no JSON object.") from None
    model = fields.get("model")
    if not isinstance(model, str) or not model:
        raise invalid_request("model must be a non-empty string.", param="model")
    if fields.get("images") or fields.get("raw") or fields.get("suffix"):
        raise invalid_request("images, raw and suffix are not supported; send text.", param="images")
    stream = fields.get("stream", True) is not False
    chat: dict[str, object] = {
        "model": model.removesuffix(":latest"),
        "messages": _messages(kind, fields),
        "stream": stream,
        **_options(fields.get("options")),
        **_format(fields.get("format")),
    }
    if fields.get("tools"):
        chat["tools"] = fields["tools"]
    if isinstance(fields.get("think"), bool):
        chat["chat_template_kwargs"] = {"enable_thinking": fields["think"]}
    keep_alive = read_keep_alive(fields.get("keep_alive"))
    return OllamaRequest(kind=kind, body=msgspec.json.encode(chat), stream=stream, keep_alive=keep_alive)


def _messages(kind: Kind, fields: Mapping[str, Any]) -> list[dict[str, object]]:
    if kind == "generate":
        prompt = fields.get("prompt", "")
        if not isinstance(prompt, str) or not prompt:
            raise invalid_request("prompt must be a non-empty string.", param="prompt")
        system = fields.get("system")
        asked: list[dict[str, object]] = [{"role": "user", "content": prompt}]
        return [{"role": "system", "content": system}, *asked] if isinstance(system, str) and system else asked
    messages = fields.get("messages")
    if not isinstance(messages, list) or not messages or not all(isinstance(entry, dict) for entry in messages):
        raise invalid_request("messages must be a non-empty list of objects.", param="messages")
    return [_message(number, cast(dict[str, Any], entry)) for number, entry in enumerate(messages)]


def _message(number: int, entry: Mapping[str, Any]) -> dict[str, object]:
    if entry.get("images"):
        raise invalid_request("images are not supported; send text.", param="images")
    lowered: dict[str, object] = {"role": entry.get("role"), "content": entry.get("content") or ""}
    calls = entry.get("tool_calls")
    if isinstance(calls, list):
        lowered["tool_calls"] = [
            {"id": f"call_{number}_{index}", "type": "function", "function": _call(call)}
            for index, call in enumerate(calls)
            if isinstance(call, dict)
        ]
    if entry.get("role") == "tool":
        lowered["tool_call_id"] = entry.get("tool_call_id") or f"call_{max(0, number - 1)}_0"
    return lowered


def _call(call: Mapping[str, Any]) -> dict[str, object]:
    function = call.get("function")
    if not isinstance(function, dict):
        raise invalid_request("Each entry of tool_calls needs a function.", param="tool_calls")
    arguments = function.get("arguments", {})
    text = arguments if isinstance(arguments, str) else msgspec.json.encode(arguments).decode()
    return {"name": function.get("name", ""), "arguments": text}


def _options(options: object) -> dict[str, object]:
    if not isinstance(options, dict):
        return {}
    found: dict[str, object] = {name: options[name] for name in _SAME if options.get(name) is not None}
    for theirs, ours in _RENAMED.items():
        value = options.get(theirs)
        # -1 and -2 stand for "until the end" there.
        if value is not None and not (theirs == "num_predict" and isinstance(value, int) and value < 0):
            found[ours] = value
    return found


def _format(form: object) -> dict[str, object]:
    if form == "json":
        return {"response_format": {"type": "json_object"}}
    if isinstance(form, dict) and form:
        schema = {"name": "answer", "schema": form, "strict": False}
        return {"response_format": {"type": "json_schema", "json_schema": schema}}
    return {}


class OllamaAnswer:
    """Makes one answer, in pieces or whole. Times are seconds of one monotonic clock."""

    def __init__(self, kind: Kind, model: str, job_hex: str, *, started: float, created: float) -> None:
        self._kind = kind
        self._model = model
        self._reader = DeltaReader(job_hex)
        self._started = started
        self._created = datetime.fromtimestamp(created, UTC).isoformat().replace("+00:00", "Z")
        self._text: list[str] = []
        self._thinking: list[str] = []
        self._calls: dict[int, tuple[str, list[str]]] = {}

    def feed(self, plaintext: bytes) -> bytes:
        """Take one opened chunk; gives ready lines for a streamed answer."""
        return b"".join(self._line(delta) for delta in self._reader.read(plaintext))

    def finish(self, complete: InferenceComplete, *, requested_max: int, now: float) -> bytes:
        """The last line of a streamed answer."""
        return self._encoded(self._part("", "", self._tool_calls()) | self._end(complete, requested_max, now))

    def whole(self, complete: InferenceComplete, *, requested_max: int, now: float) -> bytes:
        """The answer in one piece."""
        part = self._part("".join(self._text), "".join(self._thinking), self._tool_calls())
        return self._encoded(part | self._end(complete, requested_max, now))

    def _line(self, delta: Delta) -> bytes:
        self._text.append(delta.text)
        self._thinking.append(delta.reasoning)
        for call in delta.calls:
            name, arguments = self._calls.setdefault(call.number, (call.name, []))
            self._calls[call.number] = (name or call.name, arguments)
            arguments.append(call.arguments)
        if not delta.text and not delta.reasoning:
            return b""
        return self._encoded(self._part(delta.text, delta.reasoning, []) | {"done": False})

    def _part(self, text: str, thinking: str, calls: list[dict[str, object]]) -> dict[str, object]:
        base: dict[str, object] = {"model": self._model, "created_at": self._created}
        if self._kind == "generate":
            return base | {"response": text} | ({"thinking": thinking} if thinking else {})
        message: dict[str, object] = {"role": "assistant", "content": text}
        if thinking:
            message["thinking"] = thinking
        if calls:
            message["tool_calls"] = calls
        return base | {"message": message}

    def _tool_calls(self) -> list[dict[str, object]]:
        found: list[dict[str, object]] = []
        for name, pieces in self._calls.values():
            try:
                arguments = msgspec.json.decode("".join(pieces) or "{}")
            except (msgspec.MsgspecError, ValueError):
                continue  # cut short in the middle: it is no call, and an object is due here
            found.append({"function": {"name": name, "arguments": arguments}})
        return found

    def _end(self, complete: InferenceComplete, requested_max: int, now: float) -> dict[str, object]:
        reason = finish_reason(
            self._reader.reported_reason,
            completion_tokens=complete.usage.completion_tokens,
            requested_max=requested_max,
            has_tool_calls=False,
            stopped_by_caller=complete.stop_sequence is not None,
        )
        return {
            "done": True,
            "done_reason": "length" if reason == "length" else "stop",
            "total_duration": round((now - self._started) * _NANOSECONDS),
            "prompt_eval_count": complete.usage.prompt_tokens,
            "eval_count": complete.usage.completion_tokens,
        }

    @staticmethod
    def _encoded(content: Mapping[str, object]) -> bytes:
        return msgspec.json.encode(content) + b"\n"
