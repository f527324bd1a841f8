"""What the other dialects cost on top of the plain relay: coordinator CPU per chunk of the same streams, asked in each.

*Relay*: 4 provider sockets × 16 streams, burst, plain text; rounds of all dialects one after the other, so that a
machine that slows down slows all of them. A figure is the median over the rounds; what a dialect adds is its median
less that of chat.
*Translation*: the same for chunks that never take the short way through the pump (reasoning, arguments of tool calls,
text whose `<think>` blocks are split off), fed to the dialects in this process.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from bench.consumers import DIALECTS
from bench.launch import coordinator
from bench.relay import SETTINGS, Shape, relay
from protocol.api.anthropic import MessagesDialect
from protocol.api.completions import COMPLETIONS
from protocol.api.responses import ResponsesDialect
from protocol.api.shapes import CHAT, AnswerFacts, Dialect

ROUNDS = 5
BUDGET_US = 15.0

MAKERS: Mapping[str, Callable[[], Dialect]] = {
    "chat": lambda: CHAT,
    "completions": lambda: COMPLETIONS,
    "responses": lambda: ResponsesDialect({}),
    "messages": lambda: MessagesDialect(has_tools=True),
}
KINDS = ("reasoning", "arguments", "split")


def chunks(kind: str, count: int) -> list[bytes]:
    """Chunks of one kind, as a provider sends them."""
    deltas: list[dict[str, Any]]
    if kind == "reasoning":
        deltas = [{"reasoning_content": f" token{index}"} for index in range(count)]
    elif kind == "arguments":
        first = {"index": 0, "id": "call_1", "function": {"name": "tool", "arguments": '{"text":"'}}
        rest = [{"index": 0, "function": {"arguments": f" token{index}"}} for index in range(count - 1)]
        deltas = [{"tool_calls": [call]} for call in (first, *rest)]
    else:
        deltas = [{"content": f" token{index}"} for index in range(count)]
    head = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "build"}
    return [
        b"data: " + msgspec.json.encode(head | {"choices": [{"index": 0, "delta": delta}]}) + b"\n\n"
        for delta in deltas
    ]  # fmt: skip


def translation_us(dialect: Dialect, sent: Sequence[bytes], *, split: bool) -> float:
    """CPU microseconds per chunk of one stream."""
    facts = AnswerFacts(job_id="0-0", public_model="m", created=1, requested_max=10**6, split_think=split)
    feed = dialect.new_stream(facts).feed
    started = time.process_time()
    for chunk in sent:
        feed(chunk)
    return (time.process_time() - started) / len(sent) * 1e6


def run(*, quick: bool = False) -> dict[str, Any]:
    """Measure all dialects; CPU in microseconds per chunk."""
    rounds = 1 if quick else ROUNDS
    shape = Shape(4, 64, 200 if quick else 2000)
    found: dict[str, list[float]] = {name: [] for name in DIALECTS}
    with tempfile.TemporaryDirectory(prefix="darkbloom-bench-") as folder:
        work = Path(folder)
        for _ in range(rounds):
            for name, figures in found.items():
                outcome = relay(work, coordinator(work, SETTINGS), pattern="burst", shape=shape, dialect=name)
                figures.append(outcome["cpu_us_per_chunk"])
    result: dict[str, Any] = {}
    _enter(result, "relay", found)
    for kind in KINDS:
        sent = chunks(kind, 500 if quick else 5000)
        measured: dict[str, list[float]] = {name: [] for name in MAKERS}
        for _ in range(rounds * 3):
            for name, make in MAKERS.items():
                measured[name].append(translation_us(make(), sent, split=kind == "split"))
        _enter(result, kind, measured)
    return result


def _enter(result: dict[str, Any], kind: str, found: Mapping[str, Sequence[float]]) -> None:
    medians = {name: statistics.median(figures) for name, figures in found.items()}
    for name, median in medians.items():
        result[f"{kind}_{name}_cpu_us"] = median
        result[f"{kind}_{name}_added_us"] = median - medians["chat"]


def table(result: dict[str, Any]) -> str:
    """Render the figures with their target."""
    lines = [f"Added to chat: ≤ {BUDGET_US:.0f} µs per chunk.", "", "| | chat | " + " | ".join(list(MAKERS)[1:]) + " |"]
    lines.append("|---|---|" + "---|" * (len(MAKERS) - 1))
    for kind in ("relay", *KINDS):
        cells = [f"{result[f'{kind}_chat_cpu_us']:.2f} µs"]
        cells += [
            f"{result[f'{kind}_{name}_cpu_us']:.2f} µs ({result[f'{kind}_{name}_added_us']:+.2f})"
            for name in list(MAKERS)[1:]
        ]
        lines.append(f"| {kind} | " + " | ".join(cells) + " |")
    return "\n".join(lines)
