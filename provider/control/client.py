"""The asking side: blocking, and quick to import, for commands that end in a moment."""

import socket
from pathlib import Path
from typing import Final

from provider.control.orders import MAX_LINE_BYTES, Answer, Order, decode_answer, encode_line
from provider.control.place import is_own_directory, socket_path

CONNECT_SECONDS: Final = 5.0


class NotRunning(Exception):
    """No daemon listens in this home."""


class ControlFailed(Exception):
    """The daemon did not answer as it should; the text says how."""


def ask(home: Path, order: Order, *, timeout: float = 30.0) -> Answer:
    """Send one order and wait `timeout` seconds for its answer; raises `NotRunning` or `ControlFailed`."""
    path = socket_path(home)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(CONNECT_SECONDS)
        try:
            # A home may be another user's for whoever may enter it; the place beside it must be this user's own.
            if path.parent != home.absolute() and not is_own_directory(path.parent):
                raise ControlFailed(f"The directory {path.parent} is not this user's; nothing was asked. Remove it.")
            connection.connect(str(path))
        except (FileNotFoundError, ConnectionRefusedError, NotADirectoryError):
            raise NotRunning(f"No provider runs in {home}.") from None
        except OSError as error:
            raise ControlFailed(f"The provider's socket {path} cannot be used ({error.strerror or error}).") from None
        try:
            connection.sendall(encode_line(order))
            connection.settimeout(timeout)
            line = _read_line(connection)
        except TimeoutError:
            raise ControlFailed(f"The provider did not answer within {timeout:g} s.") from None
        except OSError as error:
            raise ControlFailed(f"The provider ended while it was asked ({error.strerror or error}).") from None
    answer = decode_answer(line)
    if answer is None:
        raise ControlFailed("The provider ended without an answer, or is of another version; see `darkbloom status`.")
    return answer


def _read_line(connection: socket.socket) -> bytes:
    line = bytearray()
    while not line.endswith(b"\n") and len(line) <= MAX_LINE_BYTES:
        piece = connection.recv(4096)
        if not piece:
            break
        line += piece
    return bytes(line)
