"""Settings of the HTTP side: the server, access to it, and observability."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_network
from pathlib import Path
from typing import Final

from protocol.settings import (
    Network,
    Secret,
    boolean,
    choice,
    duration,
    integer,
    networks,
    pairs,
    path,
    secret,
    secrets,
    setting,
    size,
    text,
    url,
    words,
)

LEVELS: Final = ("debug", "info", "warn", "error")
# Not imported from the listener: reading settings must not load the whole server.
_LOOPBACK: Final = (ip_network("127.0.0.0/8"), ip_network("::1/128"))
_MIB: Final = 1024 * 1024


@dataclass(frozen=True, kw_only=True)
class HttpSettings:
    """Durations in seconds, sizes in bytes."""

    # --- server ---
    host: str = setting("HOST", text(), default="0.0.0.0", group="Server", meaning="Address to listen on.")
    port: int = setting("PORT", integer(0, 65535), default=8080, group="Server", meaning="TCP port; 0: a free one.")
    base_url: str | None = setting(
        "BASE_URL",
        url("http", "https"),
        default=None,
        group="Server",
        meaning="Public origin for links in answers; without it the request's own host and scheme.",
    )
    env: str = setting(
        "ENV",
        choice("production", "development"),
        default="development",
        group="Server",
        meaning="`production` refuses every development shortcut.",
    )
    build_commit: str = setting(
        "BUILD_COMMIT", text(), default="dev", group="Server", meaning="Commit that `/health` names."
    )
    trusted_proxies: tuple[Network, ...] = setting(
        "TRUSTED_PROXIES",
        networks(),
        default=_LOOPBACK,
        group="Server",
        meaning="Peers whose `X-Forwarded-For`, `X-Real-IP` and `X-Forwarded-Proto` count.",
    )
    tls_cert: Path | None = setting(
        "TLS_CERT",
        path(),
        default=None,
        group="Server",
        meaning="Certificate chain (PEM); with `TLS_KEY` it turns TLS on.",
    )
    tls_key: Path | None = setting(
        "TLS_KEY", path(), default=None, group="Server", meaning="Private key (PEM) of `TLS_CERT`."
    )
    cors_origins: tuple[str, ...] = setting(
        "CORS_ORIGINS",
        words(),
        default=(),
        group="Server",
        meaning="Origins (`https://host`) whose pages may call the API; none by default. Public reads are for all.",
    )
    drain_grace: float = setting(
        "DRAIN_GRACE",
        duration(0, 86400),
        default=600.0,
        group="Server",
        meaning="How long a stopping coordinator waits for running requests; 0 does not wait.",
    )
    max_body_bytes: int = setting(
        "MAX_BODY_BYTES", size(1024, 64 * _MIB), default=16 * _MIB, group="Server", meaning="Largest request body."
    )
    head_timeout: float = setting(
        "HEAD_TIMEOUT",
        duration(0.1, 60),
        default=10.0,
        group="Server",
        meaning="Time for a TLS handshake, and for a request head.",
    )
    body_timeout: float = setting(
        "BODY_TIMEOUT",
        duration(1, 600),
        default=60.0,
        group="Server",
        meaning="Time for a request body, plus one second for each 128 KiB of it.",
    )
    keep_alive: float = setting(
        "KEEP_ALIVE",
        duration(1, 3600),
        default=120.0,
        group="Server",
        meaning="How long an idle connection stays open.",
    )
    write_deadline: float = setting(
        "WRITE_DEADLINE",
        duration(0.1, 600),
        default=30.0,
        group="Server",
        meaning="How long a consumer may take no bytes of an answer before its connection is reset.",
    )
    max_connections: int = setting(
        "MAX_CONNECTIONS",
        integer(0, 1_000_000),
        default=16_384,
        group="Server",
        meaning="Open connections in all; 0: no limit.",
    )
    max_connections_per_ip: int = setting(
        "MAX_CONNECTIONS_PER_IP",
        integer(0, 1_000_000),
        default=1_024,
        group="Server",
        meaning="Open connections from one address that is no trusted proxy; 0: no limit.",
    )

    # --- access ---
    api_keys: tuple[Secret, ...] = setting(
        "API_KEYS",
        secrets(),
        default=(),
        group="Access",
        meaning="The operator's own API keys; production needs at least one. They have no limit, and the platform "
        "pays for what is done with them: never give one to anybody else.",
    )
    metrics_token: Secret | None = setting(
        "METRICS_TOKEN",
        secret(),
        default=None,
        group="Access",
        meaning="Bearer token for `/metrics`; without it only clients on this machine may read.",
    )

    # --- observability ---
    log_format: str = setting(
        "LOG_FORMAT",
        choice("auto", "json", "text"),
        default="auto",
        group="Observability",
        meaning="`auto` is text on a terminal and JSON lines elsewhere.",
    )
    log_level: str = setting(
        "LOG_LEVEL", choice(*LEVELS), default="info", group="Observability", meaning="Lowest level."
    )
    log_levels: Mapping[str, str] | None = setting(
        "LOG_LEVELS",
        pairs("=", choice(*LEVELS)),
        default=None,
        group="Observability",
        meaning="Levels of single areas, such as `registry=debug,api=warn`.",
    )
    strict_tasks: bool = setting(
        "STRICT_TASKS",
        boolean(),
        default=False,
        group="Observability",
        meaning="End the process when a background task crashes; for tests.",
    )
    step_profile: bool = setting(
        "STEP_PROFILE",
        boolean(),
        default=False,
        group="Observability",
        meaning="Measure how long tasks run without a checkpoint (`darkbloom_task_step_*`); costs some CPU.",
    )
