"""Socket options where the system refuses them."""

from __future__ import annotations

import errno
import socket
from typing import cast

from server.listener.sockets import reset_on_close


class _Shut:
    """Refuses options, as macOS does for a socket that was shut in both directions."""

    asked = 0

    def setsockopt(self, *_: object) -> None:
        self.asked += 1
        raise OSError(errno.EINVAL, "Invalid argument")


def test_reset_of_a_socket_that_takes_no_option_is_left_to_its_close() -> None:
    sock = _Shut()
    reset_on_close(cast(socket.socket, sock))
    assert sock.asked == 1
