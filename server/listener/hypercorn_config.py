"""The part of hypercorn's configuration that matters here; sockets, TLS, logging and time limits are ours."""

from __future__ import annotations

from typing import Final

from hypercorn.config import Config

# One client cannot hold more than this many answers open on one HTTP/2 connection.
HTTP2_MAX_STREAMS: Final = 128
HEADER_LIST_BYTES: Final = 16 * 1024


def hypercorn_config() -> Config:
    """Return a silent configuration: the application logs requests, the listener logs crashes."""
    config = Config()
    config.accesslog = None
    config.errorlog = None
    config.include_server_header = False
    config.h2_max_concurrent_streams = HTTP2_MAX_STREAMS
    config.h2_max_header_list_size = HEADER_LIST_BYTES
    return config
