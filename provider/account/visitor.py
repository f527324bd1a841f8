"""How this machine introduces itself to the person who approves it."""

import socket

from provider.host import detect_host

MAX_CHARACTERS = 64


def host_label() -> str:
    """Give the machine's name, as the approval page shows it."""
    return socket.gethostname()[:MAX_CHARACTERS]


def chip_label() -> str:
    """Give the chip's name; may run the system's own tools for a moment."""
    return detect_host().hardware().chip_name[:MAX_CHARACTERS]
