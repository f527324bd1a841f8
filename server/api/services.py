"""What the endpoints work with; built once at start."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from server.catalog import NOTHING_LISTED

if TYPE_CHECKING:
    from server.api.auth import Door
    from server.api.model_prices import ModelPrices
    from server.catalog import ModelDirectory
    from server.media import MediaFetcher
    from server.observe import Supervisor
    from server.registry import Registry
    from server.relay import InferenceRelay
    from server.serve.drain import Drain
    from server.store import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiServices:
    """Collaborators and limits of the API; `cache_secret` keys the scopes under which providers may cache.

    `has_machine` tells whether an account ever linked a machine. `aliases` knows the public names of builds. Without
    `media`, nothing is fetched for anybody; without `prices`, lists show none.
    """

    door: Door
    store: Store
    has_machine: Callable[[str], Awaitable[bool]]
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
    aliases: ModelDirectory = NOTHING_LISTED
    media: MediaFetcher | None = None
    prices: ModelPrices | None = None
