"""Opening the local server: socket first, then the file that tells clients where it is."""

import logging
import os
import time
from contextlib import suppress
from pathlib import Path
from typing import Final

import trio

from provider.local.app import LocalApp, LocalServices
from provider.local.discovery import LocalInfo, write_local_info
from provider.local.http_server import serve_connection
from provider.local.options import MAX_BODY_BYTES
from provider.status.process import process_start

log = logging.getLogger(__name__)

MAX_CONNECTIONS: Final = 256
BIND_SECONDS: Final = 5.0
BACKLOG: Final = 128


class LocalPortRefused(Exception):
    """The server cannot listen where it should; the text says where and what to do."""


async def serve_local(
    services: LocalServices, info_file: Path, *, task_status: trio.TaskStatus[str] = trio.TASK_STATUS_IGNORED
) -> None:
    """Serve until cancelled; started with the base URL once clients can connect. Raises `LocalPortRefused`."""
    options = services.options
    try:
        with trio.fail_after(BIND_SECONDS):
            listeners = await trio.open_tcp_listeners(options.port, host=options.bind, backlog=BACKLOG)
    except (OSError, trio.TooSlowError) as error:
        why = getattr(error, "strerror", None) or type(error).__name__
        raise LocalPortRefused(
            f"The local server cannot listen on {options.bind} port {options.port} ({why}); choose another with --port."
        ) from None
    port = listeners[0].socket.getsockname()[1]
    base_url = options.base_url(port)
    app = LocalApp(services)
    limit = trio.CapacityLimiter(MAX_CONNECTIONS)
    if options.is_public and options.token is None:
        log.warning("other machines can use the local server without a token", extra={"bind": options.bind})

    async def serve(stream: trio.SocketStream) -> None:
        try:
            limit.acquire_nowait()
        except trio.WouldBlock:
            await trio.aclose_forcefully(stream)
            return
        try:
            await serve_connection(stream, app.handle, app.fault, admit=app.admit, max_body=MAX_BODY_BYTES)
        finally:
            limit.release()

    info = LocalInfo(
        base_url=f"{base_url}/v1",
        api_key=options.token or "",
        host=options.shown_host,
        port=port,
        pid=os.getpid(),
        version=services.version,
        updated_at=time.time(),
        process_start=process_start(os.getpid()) or "",
    )
    try:
        await trio.to_thread.run_sync(write_local_info, info_file, info)
    except OSError as error:
        log.warning("the local server's place cannot be written down", extra={"errno": error.errno})
    try:
        log.info("serving programs on this machine", extra={"address": base_url})
        task_status.started(base_url)
        await trio.serve_listeners(serve, listeners)
    finally:
        with suppress(OSError):
            info_file.unlink()
