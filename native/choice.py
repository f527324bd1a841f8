"""Chooses the implementation once, at import: the C extension, or the pure-Python twin and the reason for it."""

from __future__ import annotations

import importlib.util
import os
from typing import TYPE_CHECKING

from native import pure

if TYPE_CHECKING:
    from native.pure import Pump, Spout, decode_base64, encode_frame, open_chunk, raw_span, scan_chunk, scan_type, seal


def _reason_for_twin() -> str:
    """Empty if the extension may be used; else a sentence that says why not."""
    if os.environ.get("DARKBLOOM_NATIVE", "1").strip() == "0":
        return "DARKBLOOM_NATIVE=0 asks for the pure-Python twin."
    if importlib.util.find_spec("native._speed") is None:
        return "The C extension is not built; with a compiler and Python's headers: `python setup.py build_ext -i`."
    try:
        from native import self_test
    except (ImportError, AttributeError, TypeError) as error:
        return f"The extension native._speed cannot be used ({error}): build it with `python setup.py build_ext -i`."
    return self_test.failure()


WHY = _reason_for_twin()
IMPLEMENTATION = "python" if WHY else "c"

if not TYPE_CHECKING:
    if WHY:
        _chosen = pure
    else:
        from native import speed as _chosen
    Pump = _chosen.Pump
    Spout = _chosen.Spout
    decode_base64 = _chosen.decode_base64
    encode_frame = _chosen.encode_frame
    open_chunk = _chosen.open_chunk
    raw_span = _chosen.raw_span
    scan_chunk = _chosen.scan_chunk
    scan_type = _chosen.scan_type
    seal = _chosen.seal

__all__ = [
    "IMPLEMENTATION",
    "WHY",
    "Pump",
    "Spout",
    "decode_base64",
    "encode_frame",
    "open_chunk",
    "raw_span",
    "scan_chunk",
    "scan_type",
    "seal",
]
