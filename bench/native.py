"""The C code of the hot path against its pure-Python twin: CPU per call of each function, and per frame of the pump.

C and Python take turns in one process; a figure is the median over the rounds. "Pump, burst" is one `feed` of about
64 KiB with the content deltas of 16 streams, spliced (rewritten in C) or opened (handed up one by one); "pump, one
frame" is a `feed` of a single frame. The row of libsodium is the open alone, called from Python: the floor of a chunk.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from types import ModuleType
from typing import TypedDict

from nacl._sodium import ffi as sodium_ffi
from nacl._sodium import lib as sodium

from native import pure
from native.shapes import SpliceTemplate

try:
    from native import speed
except ImportError:
    FAST: ModuleType | None = None
else:
    FAST = speed

_KEY = bytes(range(32))
_PEER = b"2J47rXlDfb7Z+ENBgwT0YP8Fx/6B/kqVd6gEy5Nn/2Y="
_STREAMS = 16
_BURST_BYTES = 65_536
_IN_PREFIX = (
    b'data: {"id":"chatcmpl-0f6d1c1e5a7b4c38","object":"chat.completion.chunk","created":1780000000,'
    b'"model":"qwen3-9b-4bit","system_fingerprint":null,"choices":[{"index":0,"delta":{"content":"'
)
_IN_SUFFIX = b'"},"logprobs":null,"finish_reason":null}]}'
_TEMPLATE = SpliceTemplate(_IN_PREFIX, _IN_SUFFIX, _IN_PREFIX.replace(b"-4bit", b""), _IN_SUFFIX + b"\n\n")


class Row(TypedDict):
    """One line of the table; times are nanoseconds of CPU per unit."""

    name: str
    c_ns: float | None
    python_ns: float
    times_faster: float | None


class Result(TypedDict):
    """What `run` measured."""

    frame_bytes: int
    rows: list[Row]


Work = Callable[[], object]


def run(*, quick: bool = False) -> Result:
    """Measure every function; `quick` shows that it works, not how fast it is."""
    rounds, budget_ns = (3, 2_000_000) if quick else (15, 40_000_000)
    message = _chunk_message(0, b" hello")
    frame = _frame(message)
    rows = [_row(name, make, units, rounds, budget_ns) for name, make, units in _cases(message, frame)]
    return {"frame_bytes": len(frame), "rows": rows}


def table(result: Result) -> str:
    """The result as a Markdown table."""
    lines = [
        f"One chunk frame has {result['frame_bytes']} bytes.",
        "",
        "| unit | C, ns | Python, ns | ratio |",
        "|---|--:|--:|--:|",
    ]
    for row in result["rows"]:
        c_text = "–" if row["c_ns"] is None else f"{row['c_ns']:,.0f}"
        ratio = "–" if row["times_faster"] is None else f"{row['times_faster']:.1f}"
        lines.append(f"| {row['name']} | {c_text} | {row['python_ns']:,.0f} | {ratio} |")
    return "\n".join(lines)


def _cases(message: bytes, frame: bytes) -> list[tuple[str, Callable[[ModuleType], Work], int]]:
    spans = pure.scan_chunk(message)
    if spans is None:
        raise AssertionError("The benchmark's own chunk is not plain: repair _chunk_message.")
    start, end = spans.ct_start, spans.ct_end
    text = message[start:end]
    box = pure.decode_base64(text)
    heartbeat = (
        b'{"type":"heartbeat","status":"idle","stats":{"requests_served":1},"slots":[' + b'{"a":1},' * 40 + b"{}]}"
    )
    burst = b"".join(_frame(_chunk_message(i, b" hello")) for i in range(_BURST_BYTES // len(frame)))
    frames = len(burst) // len(frame)
    return [
        ("scan_type, heartbeat of 400 bytes", lambda m: lambda: m.scan_type(heartbeat), 1),
        ("scan_chunk", lambda m: lambda: m.scan_chunk(message), 1),
        ("raw_span", lambda m: lambda: m.raw_span(heartbeat, b"slots"), 1),
        ("decode_base64", lambda m: lambda: m.decode_base64(text), 1),
        ("open_chunk", lambda m: lambda: m.open_chunk(message, start, end, _KEY), 1),
        ("seal", lambda m: lambda: m.seal(_IN_PREFIX, _KEY), 1),
        ("encode_frame", lambda m: lambda: m.encode_frame(1, message), 1),
        ("encode_frame, masked", lambda m: lambda: m.encode_frame(1, message, mask=b"mask"), 1),
        ("libsodium open alone", lambda _: _opening(box), 1),
        ("pump, burst, per spliced frame", lambda m: _feeding(m, burst, _TEMPLATE), frames),
        ("pump, burst, per opened frame", lambda m: _feeding(m, burst, None), frames),
        ("pump, one frame, spliced", lambda m: _feeding(m, frame, _TEMPLATE), 1),
    ]


def _opening(box: bytes) -> Work:
    nonce, sealed, out = box[:24], box[24:], sodium_ffi.new("unsigned char[]", len(box))
    open_box = sodium.crypto_box_open_easy_afternm
    return lambda: open_box(out, sealed, len(sealed), nonce, _KEY)


def _request_id(stream: int) -> str:
    return f"0b5e9c3a-7d1f-4c55-9d7e-{stream:012d}"


def _chunk_message(number: int, text: bytes) -> bytes:
    ciphertext = pure.seal(_IN_PREFIX + text + _IN_SUFFIX + b"\n\n", _KEY)
    head = b'{"type":"inference_response_chunk","request_id":"' + _request_id(number % _STREAMS).encode()
    middle = b'","encrypted_data":{"ephemeral_public_key":"' + _PEER + b'","ciphertext":"'
    return head + middle + ciphertext + b'"}}'


def _frame(message: bytes) -> bytes:
    return pure.encode_frame(1, message, mask=b"\x37\xfa\x21\x3d")


def _feeding(module: ModuleType, data: bytes, template: SpliceTemplate | None) -> Work:
    pump = module.Pump(max_message_bytes=1 << 20)
    pump.set_peer_key(_PEER)
    for stream in range(_STREAMS):
        pump.attach(_request_id(stream), _KEY, stream)
        pump.set_template(_request_id(stream), template)
    return lambda: pump.feed(data)


def _row(name: str, make: Callable[[ModuleType], Work], units: int, rounds: int, budget_ns: int) -> Row:
    """Medians over `rounds`, in which C and Python take turns of about `budget_ns` each."""
    works = [make(module) for module in ([FAST, pure] if FAST else [pure])]
    counts = [max(1, int(budget_ns / max(_cpu_ns(work, 1), 1))) for work in works]
    samples: list[list[float]] = [[] for _ in works]
    for _ in range(rounds):
        for sample, work, count in zip(samples, works, counts, strict=True):
            sample.append(_cpu_ns(work, count) / units)
    medians = [statistics.median(sample) for sample in samples]
    c_ns = medians[0] if FAST else None
    return {
        "name": name,
        "c_ns": c_ns,
        "python_ns": medians[-1],
        "times_faster": medians[-1] / c_ns if c_ns else None,
    }


def _cpu_ns(work: Work, count: int) -> float:
    """CPU nanoseconds of this thread per call."""
    began = time.thread_time_ns()
    for _ in range(count):
        work()
    return (time.thread_time_ns() - began) / count
