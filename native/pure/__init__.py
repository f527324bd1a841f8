"""The pure-Python twin: every function of the native module, with identical results."""

from native.pure.box import open_chunk, seal
from native.pure.frames import encode_frame
from native.pure.pump import Pump
from native.pure.scan import raw_span, scan_type
from native.pure.scan_chunk import scan_chunk
from native.pure.spout import Spout
from native.pure.strict_base64 import decode_base64

__all__ = [
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
