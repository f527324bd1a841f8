"""Opening the local server inside a daemon."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import trio

from provider.daemon.shelf import DaemonShelf
from provider.daemon.start import DaemonRefused
from provider.local.app import LocalServices
from provider.local.asker import LocalAsker
from provider.local.options import LocalOptions
from provider.local.server import LocalPortRefused, serve_local
from provider.local.tokens import TokenTools
from provider.version import installed_version

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class LocalOpening:
    """What the server is made of; `metrics` renders the Prometheus text."""

    options: LocalOptions
    info_file: Path
    shelf: DaemonShelf
    asker: LocalAsker
    metrics: Callable[[], bytes]

    async def open(self, nursery: trio.Nursery) -> str:
        """Serve in the nursery; gives the base URL, or "" when the port is taken and the daemon can do without.

        Raises `DaemonRefused` when it cannot.
        """
        services = LocalServices(
            options=self.options,
            asker=self.asker,
            shelf=self.shelf,
            tokens=TokenTools(self.shelf.with_model, self.shelf.only_model),
            metrics=self.metrics,
            version=installed_version(),
        )
        try:
            base_url: str = await nursery.start(serve_local, services, self.info_file)
        except LocalPortRefused as refused:
            if self.options.is_required:
                raise DaemonRefused(str(refused)) from None
            log.error("the local server is not available: %s", refused)
            return ""
        return base_url
