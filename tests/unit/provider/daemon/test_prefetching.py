"""Downloads by order of the coordinator, on trio's jumping clock, with a download that does what a test says."""

import time
from dataclasses import dataclass, field
from itertools import pairwise

import pytest
import trio

from protocol.messages.to_provider import DesiredModel
from provider.catalog.download import Downloaded
from provider.catalog.failures import CatalogFailed, DownloadFailed
from provider.catalog.progress import Progress
from provider.daemon.hashing import HashKeeper
from provider.daemon.inventory import Inventory
from provider.daemon.prefetching import BUSY_PAUSE_SECONDS, NOT_DOWNLOADED, RETRY_SECONDS, CatalogFetch, Prefetcher
from provider.daemon.stock import Stock
from provider.daemon.weight_hashes import WeightHashes
from provider.memory.policy import GIB
from provider.models.facts import ModelFacts
from tests.testbed.model_folder import write_model_folder
from tests.testbed.model_server import ModelServer

SLOW = 10


@dataclass
class Bench:
    """`fails` are raised one after the other; a download takes `seconds` in ten writes."""

    offered: list = field(default_factory=list)
    begun: list = field(default_factory=list)
    fails: list = field(default_factory=list)
    reports: list = field(default_factory=list)
    seconds: float = 0.0
    busy: bool = False
    at_once: int = 0
    most_at_once: int = 0

    def __post_init__(self):
        self.prefetcher = Prefetcher(
            self.fetch,
            is_busy=lambda: self.busy,
            is_offered=lambda model_id: any(model_id == model for model, _ in self.offered),
            offer=self.offer,
            read=lambda models: [ModelFacts(model_id=models[0].model_id, directory=models[0].directory, disk_bytes=1)],
        )

    async def fetch(self, model_id, listener, pace):
        self.begun.append((trio.current_time(), model_id))
        self.at_once += 1
        self.most_at_once = max(self.at_once, self.most_at_once)
        try:
            if self.fails:
                raise self.fails.pop(0)
            for done in range(1, SLOW + 1):
                await trio.sleep(self.seconds / SLOW)
                await pace()
                listener(Progress("downloading", "f", done, SLOW, done, SLOW))
        finally:
            self.at_once -= 1
        return Downloaded(None, SLOW)

    async def offer(self, facts, previous):
        self.offered.append((facts.model_id, previous))

    async def has_offered(self, count):
        """Wait in real time: the folder is read in a thread, and the virtual clock does not wait for threads."""
        for _ in range(10_000):
            if len(self.offered) >= count:
                return
            await trio.to_thread.run_sync(time.sleep, 0.001)

    def told(self):
        return [(report.status, report.bytes_done) for report in self.reports]


@pytest.fixture
def bench():
    return Bench()


async def test_order_is_reported_from_start_to_end(bench, autojump_clock):
    bench.seconds = 10.0
    assert await bench.prefetcher.prefetch("a", bench.reports.append)
    assert bench.told()[0] == ("started", 0)
    assert bench.told()[-1] == ("verified", 10)
    assert [done for status, done in bench.told() if status == "downloading"] == [2, 4, 6, 8, 10]
    assert bench.offered == [("a", "")]


@pytest.mark.parametrize(
    ("failure", "text"),
    [
        (DownloadFailed("The disk of /home/me/.cache is full."), NOT_DOWNLOADED),
        (CatalogFailed("The catalogue has no model a."), "The catalogue has no model a."),
    ],
)
async def test_failure_is_reported_without_places_of_this_machine(bench, autojump_clock, failure, text):
    bench.fails = [failure]
    assert not await bench.prefetcher.prefetch("a", bench.reports.append)
    assert [(report.status, report.error) for report in bench.reports] == [("started", ""), ("failed", text)]
    assert bench.offered == []


async def test_bytes_that_came_are_counted_and_those_that_were_there_are_not(autojump_clock):
    counted = []

    async def fetch(_model_id, listener, _pace):
        listener(Progress("started", "", 0, 0, 4, 10))
        for done in (6, 5, 9, 10):  # a part is fetched again
            listener(Progress("downloading", "f", done, 10, done, 10))
        raise DownloadFailed("The connection ended.")

    prefetcher = Prefetcher(
        fetch, is_busy=lambda: False, is_offered=lambda _: False, offer=Bench().offer, count_bytes=counted.append
    )
    await prefetcher.prefetch("a", lambda _report: None)
    assert counted == [2, 4, 1]


async def test_one_download_at_a_time(bench, autojump_clock):
    bench.seconds = 5.0
    async with trio.open_nursery() as nursery:
        for name in "abc":
            nursery.start_soon(bench.prefetcher.prefetch, name, bench.reports.append)
    assert bench.most_at_once == 1
    assert len(bench.offered) == 3


async def test_download_rests_while_requests_run(bench, autojump_clock):
    bench.busy = True
    await bench.prefetcher.prefetch("a", bench.reports.append)
    assert trio.current_time() == pytest.approx(SLOW * BUSY_PAUSE_SECONDS)


async def test_desired_build_is_fetched_and_replaces_the_old_one(bench, nursery, autojump_clock):
    nursery.start_soon(bench.prefetcher.run)
    bench.offered = [("old", "")]
    wanted = [
        DesiredModel(model_name="m", desired_build="new", previous_build="old"),
        DesiredModel(desired_build="old"),
    ]
    bench.prefetcher.desire(wanted)
    await bench.has_offered(2)
    assert bench.offered[1:] == [("new", "old")]
    bench.prefetcher.desire(wanted)
    await trio.sleep(1)
    assert len(bench.begun) == 1


async def test_failed_build_is_tried_again_with_growing_pauses_and_then_given_up(bench, nursery, autojump_clock):
    nursery.start_soon(bench.prefetcher.run)
    bench.fails = [DownloadFailed("no") for _ in range(20)]
    bench.prefetcher.desire([DesiredModel(desired_build="new")])
    await trio.sleep(10_000)
    times = [time for time, _ in bench.begun]
    assert [round(b - a) for a, b in pairwise(times)] == [round(pause) for pause in RETRY_SECONDS]
    bench.fails.clear()
    bench.prefetcher.desire([DesiredModel(desired_build="new")])
    await bench.has_offered(1)
    assert bench.offered == [("new", "")]


async def test_empty_list_ends_what_is_under_way(bench, nursery, autojump_clock):
    nursery.start_soon(bench.prefetcher.run)
    bench.seconds = 100.0
    bench.prefetcher.desire([DesiredModel(desired_build="new")])
    await trio.sleep(50)
    bench.prefetcher.desire([])
    await trio.sleep(100)
    assert bench.offered == []
    assert bench.at_once == 0


async def test_provider_without_a_coordinator_says_so():
    reports = []
    prefetcher = Prefetcher(None, is_busy=lambda: False, is_offered=lambda _: False, offer=Bench().offer)
    assert not await prefetcher.prefetch("a", reports.append)
    assert reports[-1].error == "This provider has no catalogue to download from."


class Slots:
    """Resident models that are let go at the second asking."""

    def __init__(self, *models):
        self.resident = list(models)
        self.asked = 0

    async def unload(self, model_id):
        await trio.lowlevel.checkpoint()
        self.asked += 1
        if self.asked < 2:
            return False
        self.resident.remove(model_id)
        return True


async def test_new_files_of_an_offered_model_wait_until_the_old_ones_are_unloaded(tmp_path, autojump_clock):
    old = ModelFacts(model_id="m", directory=tmp_path / "old", disk_bytes=1)
    new = ModelFacts(model_id="m", directory=tmp_path / "new", disk_bytes=2)
    inventory = Inventory([old, ModelFacts(model_id="x", directory=tmp_path, disk_bytes=3)], WeightHashes())
    slots = Slots("m")
    stock = Stock(inventory, HashKeeper(inventory), slots)
    seen = []

    async def watch():
        version = inventory.version
        while True:
            version = await inventory.wait_change(version)
            seen.append((sorted(inventory.model_ids), list(slots.resident)))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(watch)
        await trio.testing.wait_all_tasks_blocked()
        await stock.offer(new, "")
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert seen == [(["x"], ["m"]), (["m", "x"], [])]
    assert inventory.locate("m").directory == tmp_path / "new"


async def test_model_of_a_real_catalogue_arrives(tmp_path):
    import json

    from provider.config import load_settings

    folder = write_model_folder(tmp_path / "source")
    async with ModelServer.open() as server:
        manifest = server.publish(folder)
        entry = {
            "id": manifest.model_id,
            "total_size_bytes": manifest.total_size_bytes,
            "r2_prefix": manifest.r2_prefix,
            "aggregate_sha256": manifest.aggregate_sha256,
        }
        content = {"models": [entry], "cdn_url": server.url}
        server.documents["v1/models/catalog"] = 200, json.dumps(content).encode()
        settings = load_settings({"DARKBLOOM_MODELS_CACHE_DIR": str(tmp_path / "hub")}).settings
        bench = Bench()
        fetch = CatalogFetch(base=server.url, settings=settings, physical=64 * GIB)
        prefetcher = Prefetcher(fetch, is_busy=lambda: False, is_offered=lambda _: False, offer=bench.offer)
        assert await prefetcher.prefetch(manifest.model_id, bench.reports.append)
        assert bench.reports[-1].status == "verified"
        assert bench.offered == [(manifest.model_id, "")]
        small = CatalogFetch(base=server.url, settings=settings, physical=2**20)
        prefetcher = Prefetcher(small, is_busy=lambda: False, is_offered=lambda _: False, offer=bench.offer)
        assert not await prefetcher.prefetch(manifest.model_id, bench.reports.append)
        assert not await prefetcher.prefetch("org/other", bench.reports.append)
        assert bench.reports[-1].error == "The catalogue has no model org/other."
