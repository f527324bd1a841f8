"""What the endpoints work with; built once at start."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from server.api.auth import Door
    from server.observe import Supervisor
    from server.registry import Registry
    from server.relay import InferenceRelay
    from server.serve.drain import Drain
    from server.store import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiServices:
    """Collaborators and limits of the API; `cache_secret` keys the scopes under which providers may cache."""

    door: Door
    store: Store
    registry: Registry
    relay: InferenceRelay
    drain: Drain
    supervisor: Supervisor
    version: str
    build_commit: str
    max_body_bytes: int
    cache_secret: bytes
    clock: Callable[[], float]
    wall_clock: Callable[[], float]
