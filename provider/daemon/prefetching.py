"""Downloads that the coordinator asks for: one at a time, in the background, giving way to requests.

Invariant: a model is offered only after it is in place and verified; the build it replaces is offered until then.
Owner: the daemon's nursery. Source: provider rules, inbound messages and background prefetch.
"""

import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final

import trio

from protocol.messages.from_provider import PrefetchModelStatus
from protocol.messages.to_provider import DesiredModel
from provider.catalog.client import CatalogClient
from provider.catalog.download import Download, Downloaded
from provider.catalog.failures import CatalogFailed, DownloadFailed
from provider.catalog.limits import DownloadLimits
from provider.catalog.progress import Progress
from provider.catalog.transfer import Pace
from provider.config import ProviderSettings
from provider.daemon.inventory import ModelUnusable, read_models
from provider.daemon.options import OfferedModel
from provider.link.bell import Bell
from provider.memory.fit import fits_machine
from provider.memory.policy import padded_weights
from provider.models.facts import ModelFacts
from provider.models.hub import HubCache

log = logging.getLogger(__name__)

REPORT_SECONDS: Final = 2.0
RETRY_SECONDS: Final = (30.0, 60.0, 120.0, 300.0, 600.0)
BUSY_PAUSE_SECONDS: Final = 0.1
"""How long a download rests after each write while requests run."""

MAX_DESIRED: Final = 64
NOT_DOWNLOADED: Final = "the model could not be downloaded to this machine"

Report = Callable[[PrefetchModelStatus], None]
Fetch = Callable[[str, Callable[[Progress], None], Pace], Awaitable[Downloaded]]


@dataclass(frozen=True, slots=True, kw_only=True)
class CatalogFetch:
    """Finds a model in the catalogue of the coordinator at `base` and downloads it."""

    base: str
    settings: ProviderSettings
    physical: int

    async def __call__(self, model_id: str, listener: Callable[[Progress], None], pace: Pace) -> Downloaded:
        """Raises `CatalogFailed` and `DownloadFailed`."""
        async with CatalogClient.open(self.base) as client:
            catalogue = await client.catalogue()
            entry = next((entry for entry in catalogue.models if entry.id == model_id), None)
            if entry is None:
                raise CatalogFailed(f"The catalogue has no model {model_id}.")
            if not fits_machine(padded_weights(entry.disk_bytes), self.physical, self.settings.memory_policy()):
                raise DownloadFailed(f"The model {model_id} does not fit this machine.")
            cdn = self.settings.model_cdn_url or catalogue.cdn_url or ""
            if not cdn:
                raise DownloadFailed("The coordinator names no download server.")
            manifest = await client.manifest(entry, cdn=cdn)
            cache = HubCache(self.settings.models_directory)
            limits = DownloadLimits().quietly()
            return await Download(client.http, cache, manifest, cdn, limits=limits, listener=listener, pace=pace).run()


class Prefetcher:
    """`prefetch` carries out one order, `desire` notes what is wanted, `run` brings it about until cancelled.

    `offer` adds a model to what is offered, or replaces the build named second; `is_offered` knows what is there.
    `count_bytes` hears of every piece that came.
    """

    def __init__(
        self,
        fetch: Fetch | None,
        *,
        is_busy: Callable[[], bool],
        is_offered: Callable[[str], bool],
        offer: Callable[[ModelFacts, str], Awaitable[None]],
        read: Callable[[Sequence[OfferedModel]], list[ModelFacts]] = read_models,
        count_bytes: Callable[[int], None] = lambda _amount: None,
    ) -> None:
        self._fetch = fetch
        self._is_busy = is_busy
        self._is_offered = is_offered
        self._offer = offer
        self._read = read
        self._count_bytes = count_bytes
        self._one_at_a_time = trio.CapacityLimiter(1)
        self._desired: tuple[DesiredModel, ...] = ()
        self._bell = Bell()

    async def prefetch(self, model_id: str, report: Report, *, previous: str = "") -> bool:
        """Download and verify a model and offer it; what comes of it is reported. Gives whether it is there."""
        report(PrefetchModelStatus(model_id=model_id, status="started"))
        try:
            async with self._one_at_a_time:
                await self._bring(model_id, report, previous)
        except (CatalogFailed, DownloadFailed, ModelUnusable) as failed:
            log.warning("model not downloaded", extra={"model": model_id, "why": str(failed)})
            # What is wrong with a folder names its place on this machine; that is for the log here.
            text = str(failed) if isinstance(failed, CatalogFailed) else NOT_DOWNLOADED
            report(PrefetchModelStatus(model_id=model_id, status="failed", error=text))
            return False
        log.info("model downloaded and verified", extra={"model": model_id})
        return True

    def desire(self, models: Sequence[DesiredModel]) -> None:
        """The coordinator says which builds it wants; an empty list ends what is under way."""
        self._desired = tuple(models[:MAX_DESIRED])
        self._bell.ring()

    async def run(self) -> None:
        """Bring about what is desired, and begin anew whenever that changes."""
        while True:
            self._bell.clear()
            wanted = self._desired
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._reconcile, wanted)
                await self._bell.wait()
                nursery.cancel_scope.cancel()

    async def _reconcile(self, wanted: Sequence[DesiredModel]) -> None:
        for model in wanted:
            if not model.desired_build or self._is_offered(model.desired_build):
                continue
            for pause in (*RETRY_SECONDS, None):
                if await self.prefetch(model.desired_build, _unheard, previous=model.previous_build):
                    break
                if pause is None:
                    log.error("model given up until the coordinator asks again", extra={"model": model.desired_build})
                    break
                await trio.sleep(pause)

    async def _bring(self, model_id: str, report: Report, previous: str) -> None:
        if self._fetch is None:
            raise CatalogFailed("This provider has no catalogue to download from.")
        last = trio.current_time()
        done = total = 0

        def hear(progress: Progress) -> None:
            nonlocal last, done, total
            if progress.phase != "started" and progress.done > done:
                self._count_bytes(progress.done - done)
            done, total = progress.done, progress.total
            if trio.current_time() - last >= REPORT_SECONDS:
                last = trio.current_time()
                report(PrefetchModelStatus(model_id=model_id, status="downloading", bytes_done=done, bytes_total=total))

        found = await self._fetch(model_id, hear, self._pace)
        offered = [OfferedModel(model_id, found.directory)]
        (facts,) = await trio.to_thread.run_sync(self._read, offered)
        await self._offer(facts, previous)
        report(PrefetchModelStatus(model_id=model_id, status="verified", bytes_done=total, bytes_total=total))

    async def _pace(self) -> None:
        if self._is_busy():
            await trio.sleep(BUSY_PAUSE_SECONDS)


def _unheard(_status: PrefetchModelStatus) -> None:
    """Nobody asked for a report."""
