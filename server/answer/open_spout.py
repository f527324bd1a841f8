"""Whether a streamed answer gets a spout: it costs a second descriptor, which others may need more.

Accepting connections, the database and the log cannot do without descriptors; an answer without a spout only costs more
time. The last quarter of what the process may have open is therefore left to them.
"""

from __future__ import annotations

import os
import resource
from typing import TYPE_CHECKING

from native import Spout

if TYPE_CHECKING:
    import socket


def open_spout(sock: socket.socket) -> Spout | None:
    """Make a shut spout into the socket, or None where descriptors are short: then the runs go through Python."""
    try:
        if _is_short(sock.fileno()):
            return None
        return Spout(sock.fileno())
    except OSError:
        return None


def _is_short(descriptor: int) -> bool:
    """Judge by the lowest number that is free; raises OSError when there is none."""
    lowest_free = os.dup(descriptor)
    os.close(lowest_free)
    limit, _hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return limit != resource.RLIM_INFINITY and lowest_free >= limit - limit // 4
