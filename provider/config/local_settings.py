"""Settings of the server for programs on this machine."""

from __future__ import annotations

from dataclasses import dataclass

from protocol.settings import boolean, integer, setting, text, words


@dataclass(frozen=True, kw_only=True)
class LocalSettings:
    """Where the local server listens and whom it answers."""

    local_endpoint: bool = setting(
        "LOCAL_ENDPOINT",
        boolean(),
        default=False,
        group="Local server",
        meaning="Serve programs on this machine too, beside the coordinator.",
    )
    local_port: int = setting(
        "LOCAL_PORT",
        integer(0, 65535),
        default=8000,
        group="Local server",
        meaning="TCP port of the local server; 0: a free one.",
    )
    local_bind: str = setting(
        "LOCAL_BIND",
        text(),
        default="127.0.0.1",
        group="Local server",
        meaning="Address that the local server listens on.",
    )
    local_hosts: tuple[str, ...] = setting(
        "LOCAL_HOSTS",
        words(),
        default=(),
        group="Local server",
        meaning="Further host names under which the local server may be asked; others are refused.",
    )
    local_auth: bool = setting(
        "LOCAL_AUTH",
        boolean(),
        default=True,
        group="Local server",
        meaning="Ask for the token of the file `local_token`.",
    )
