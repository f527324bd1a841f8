"""What everybody may know: evidence, numbers, versions, the encryption key, health; and who may drain."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Iterable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from quart import Blueprint
from trio.testing import MockClock

from protocol.messages.from_provider import ModelEntry
from protocol.messages.register import CpuCores, Hardware
from server.api.admin_drain import admin_drain_blueprint
from server.api.attestation_feed import attestation_blueprint
from server.api.encryption_key import encryption_key_blueprint
from server.api.network_series import network_series_blueprint
from server.api.stats import StatsServices, stats_blueprint
from server.api.versions import VersionServices, versions_blueprint
from server.config import CoordinatorSettings
from server.observe import Metrics
from server.ports import Posture
from server.sealed import KeyRing, key_from_mnemonic
from server.serve.app import build_app
from server.serve.drain import Drain
from server.store import Store, Tx
from server.trust import RuntimeManifest
from tests.testbed.flaky_store import FlakyStore
from tests.testbed.sealed_client import KID, MNEMONIC, PUBLIC_KEY
from tests.testbed.store import open_test_store
from tests.unit.server.api.reward_site import Gate
from tests.unit.server.api.site import open_site
from tests.unit.server.registry.fleet import Fleet, heartbeat, register_message, trusted

MINUTE = 60_000_000
NOW = 1_780_000_000_000_000
SERIAL = "C02ABCDEFGHI"
POSTURE = Posture(
    se_public_key="BKey",
    secure_enclave=True,
    sip_enabled=True,
    secure_boot_enabled=True,
    authenticated_root_enabled=True,
    system_volume_hash="ab\r\ncd",
)


class Answers:
    """`get` asks an application of these blueprints."""

    def __init__(self, blueprints: Iterable[Blueprint], drain: Drain | None = None) -> None:
        app = build_app(CoordinatorSettings(), metrics=Metrics(), drain=drain or Drain(), blueprints=blueprints)
        self.client = app.test_client()
        self.headers: dict[str, str] = {}

    async def get(self, path: str, **headers: str) -> tuple[int, Any]:
        return await self.ask("GET", path, **headers)

    async def ask(self, method: str, path: str, body: bytes = b"", **headers: str) -> tuple[int, Any]:
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        response = await self.client.open(path, method=method, headers=sent, data=body)
        self.headers = {name.lower(): value for name, value in response.headers.items()}
        raw = await response.get_data(as_text=False)
        return response.status_code, json.loads(raw) if raw else None


def machine(**more: Any) -> Any:
    hardware = Hardware(
        machine_model="Mac15,9",
        chip_name="M3\r\nX-Injected: 1",
        chip_family="M3",
        chip_tier="Max",
        memory_gb=64,
        cpu_cores=CpuCores(total=16, performance=12, efficiency=4),
        gpu_cores=40,
        memory_bandwidth_gbs=400.0,
    )
    return register_message(ModelEntry(id="m"), **{"hardware": hardware, "decode_tps": 90.0, **more})


# --- evidence ------------------------------------------------------------------------------------------------------


async def test_the_feed_says_what_is_proven_and_nothing_personal(autojump_clock: MockClock) -> None:
    async with open_site() as site:
        fleet = Fleet()
        fleet.connect("a", message=machine(), trust=trusted(posture=POSTURE), serials=frozenset({SERIAL}))
        fleet.connect("soft", message=machine(), trust=trusted(level="self_signed"))
        fleet.connect("newcomer", message=machine(), trust=trusted(admitted=False))
        fleet.connect("own", message=machine(private_only=True))
        answers = Answers([attestation_blueprint(Services(site.services, fleet))])  # type: ignore[arg-type]
        status, found = await answers.get("/v1/providers/attestation")
        assert status == 200
        assert answers.headers["cache-control"] == "public, max-age=5"
        assert answers.headers["access-control-allow-origin"] == "*"
        assert [one["provider_id"] for one in found["providers"]] == ["a", "soft"]
        first = found["providers"][0]
        assert first["chip_name"] == "M3X-Injected: 1"
        assert (first["memory_gb"], first["gpu_cores"], first["models"]) == (64, 40, ["m"])
        assert (first["trust_level"], first["mdm_verified"], first["secure_enclave"]) == ("hardware", True, True)
        assert (first["se_public_key"], first["system_volume_hash"]) == ("BKey", "abcd")
        assert found["providers"][1]["se_public_key"] == ""
        assert not found["providers"][1]["mdm_verified"]
        text = json.dumps(found)
        for personal in (SERIAL, "serial", "udid", "account", "chain"):
            assert personal not in text
        fleet.registry.disconnect("a", fleet.now, graceful=True)
        fleet.registry.disconnect("soft", fleet.now, graceful=True)
        assert (await answers.get("/v1/providers/attestation"))[1]["providers"] == []


class Services:
    """The services of a site with another fleet."""

    def __init__(self, services: Any, fleet: Fleet) -> None:
        self._services = services
        self.registry = fleet.registry
        self.clock = fleet.clock

    def __getattr__(self, name: str) -> Any:
        return getattr(self._services, name)


# --- numbers -------------------------------------------------------------------------------------------------------


class Numbers:
    """The statistics of a small network over a store that may be away."""

    def __init__(self, store: Store) -> None:
        self.store = FlakyStore(store)
        self.fleet = Fleet()
        self.now = NOW
        services = StatsServices(
            store=self.store,  # type: ignore[arg-type]
            registry=self.fleet.registry,
            secret=b"s" * 32,
            clock=self.fleet.clock,
            wall_clock=lambda: self.now,
        )
        self.answers = Answers([stats_blueprint(services), network_series_blueprint(services)])

    async def get(self) -> tuple[int, Any]:
        return await self.answers.get("/v1/stats")

    async def use(self, at: int, *, private: int = 0, prompt: int = 10, completion: int = 5) -> None:
        async def insert(tx: Tx) -> None:
            await tx.execute(
                "INSERT INTO usage (request_id, account_id, provider_id, model, prompt_tokens, completion_tokens,"
                " private, created_at) VALUES ($1, 'a', 'p', 'm', $2, $3, $4, $5)",
                f"r{at}{private}",
                prompt,
                completion,
                private,
                at,
            )

        await self.store.write(insert)


@asynccontextmanager
async def open_numbers() -> AsyncGenerator[Numbers, None]:
    async with open_test_store("sqlite") as store:
        yield Numbers(store)


async def test_an_empty_network_is_zeros_and_empty_lists() -> None:
    async with open_numbers() as numbers:
        status, found = await numbers.get()
        assert status == 200
        assert (found["total_requests"], found["avg_tokens_per_request"], found["active_providers"]) == (0, 0.0, 0)
        assert (found["providers"], found["models"]) == ([], [])
        assert len(found["time_series"]) == 30
        assert {one["requests"] for one in found["time_series"]} == {0}


async def test_totals_come_from_the_books_and_machines_have_pseudonyms() -> None:
    async with open_numbers() as numbers:
        await numbers.store.write(
            lambda tx: tx.execute(
                "INSERT INTO usage_totals (id, total_requests, total_prompt_tokens, total_completion_tokens)"
                " VALUES (1, 4, 100, 50)"
            )
        )
        fleet = numbers.fleet
        fleet.connect("a", message=machine())
        fleet.registry.heartbeat("a", heartbeat(stats=(0, 0)), fleet.now)
        fleet.registry.heartbeat("a", heartbeat(stats=(10**9, 10**12)), fleet.now)
        fleet.connect("newcomer", message=machine(), trust=trusted(admitted=False))
        fleet.connect("own", message=machine(private_only=True))
        _, found = await numbers.get()
        assert (found["total_requests"], found["total_tokens"], found["avg_tokens_per_request"]) == (4, 150, 37.5)
        assert (found["active_providers"], found["total_gpu_cores"], found["total_cpu_cores"]) == (1, 40, 16)
        assert (found["total_memory_gb"], found["total_bandwidth_gbs"]) == (64, 400.0)
        assert found["network_capacity_tps"] == 90.0
        assert found["models"] == [{"id": "m", "providers": 1}]
        (shown,) = found["providers"]
        assert shown["requests_served"] == 10**9, "what it says of itself stands with it alone"
        assert len(shown["id"]) == 16
        assert shown["id"] not in ("a", "dev-a")
        assert shown["cpu_cores"] == {"total": 16, "performance": 12, "efficiency": 4}


async def test_the_last_minutes_without_private_requests() -> None:
    async with open_numbers() as numbers:
        end = NOW // MINUTE * MINUTE
        await numbers.use(end - 1)
        await numbers.use(end - MINUTE)
        await numbers.use(end - 1, private=1)
        await numbers.use(end - 30 * MINUTE)
        await numbers.use(end - 30 * MINUTE - 1)
        await numbers.use(end)  # the minute that is not over
        _, found = await numbers.get()
        series = found["time_series"]
        assert [one["requests"] for one in series] == [1] + [0] * 28 + [2]
        assert series[-1] == {
            "timestamp": "2026-05-28T20:25:00Z",
            "requests": 2,
            "prompt_tokens": 20,
            "completion_tokens": 10,
            "total_tokens": 30,
        }


async def test_numbers_are_kept_for_half_a_minute_and_stand_in_while_the_database_is_away() -> None:
    async with open_numbers() as numbers:
        first = await numbers.get()
        assert numbers.answers.headers["cache-control"] == "public, max-age=30"
        numbers.now += MINUTE
        assert await numbers.get() == first
        numbers.fleet.clock.now += 30
        second = await numbers.get()
        assert second[1]["snapshot_at"] != first[1]["snapshot_at"]
        numbers.store.down = True
        numbers.fleet.clock.now += 31
        assert await numbers.get() == second
        numbers.fleet.clock.now += 1000
        status, error = await numbers.get()
        assert (status, error["error"]["type"]) == (503, "service_unavailable")
        assert "retry-after" in numbers.answers.headers


@pytest.mark.parametrize(
    ("window", "seconds", "count"), [("30m", 60, 30), ("24h", 1800, 48), ("7d", 21600, 28), ("30d", 86400, 30)]
)
async def test_series_hold_whole_buckets(window: str, seconds: int, count: int) -> None:
    async with open_numbers() as numbers:
        bucket = seconds * 1_000_000
        end = NOW // bucket * bucket
        for at in (end - 1, end - bucket, end - count * bucket, end - count * bucket - 1, end):
            await numbers.use(at)
        status, found = await numbers.answers.get(f"/v1/network/series?window={window}")
        assert (status, found["window"], found["bucket_seconds"]) == (200, window, seconds)
        assert [one["requests"] for one in found["buckets"]] == [1] + [0] * (count - 2) + [2]
        assert found["buckets"][-1]["total_tokens"] == 30
        assert found["end_at"].endswith("Z")
        assert numbers.answers.headers["access-control-allow-origin"] == "*"


async def test_an_unknown_window_names_those_that_are() -> None:
    async with open_numbers() as numbers:
        status, error = await numbers.answers.get("/v1/network/series?window=1y")
        assert (status, error["error"]["param"]) == (400, "window")
        assert "30m, 24h, 7d, 30d" in error["error"]["message"]
        assert (await numbers.answers.get("/v1/network/series"))[1]["window"] == "24h"


# --- versions ------------------------------------------------------------------------------------------------------


NO_MANIFEST = RuntimeManifest()


@asynccontextmanager
async def open_versions(manifest: RuntimeManifest = NO_MANIFEST) -> AsyncGenerator[tuple[Answers, Store], None]:
    async with open_test_store("sqlite") as store:
        services = VersionServices(store=store, version="1.2.3", manifest=lambda: manifest)
        yield Answers([versions_blueprint(services)]), store


async def release(store: Store, version: str, platform: str = "macos-arm64") -> None:
    async def insert(tx: Tx) -> None:
        await tx.execute(
            "INSERT INTO releases (version, platform, backend, binary_hash, bundle_hash, url, changelog, created_at)"
            " VALUES ($1, $2, 'mlx', 'b1', 'b2', 'https://cdn.test/x', 'better', $3)",
            version,
            platform,
            NOW,
        )

    await store.write(insert)


async def test_without_a_release_the_version_is_the_coordinators() -> None:
    async with open_versions() as (answers, _):
        assert await answers.get("/api/version") == (200, {"version": "1.2.3", "download_url": ""})
        status, error = await answers.get("/v1/releases/latest")
        assert (status, error["error"]["code"]) == (404, "not_found")


async def test_the_newest_release() -> None:
    async with open_versions() as (answers, store):
        for version in ("0.6.9", "0.6.10", "0.6.11-dev.1"):
            await release(store, version)
        await release(store, "9.9.9", "linux-x86_64")
        status, found = await answers.get("/v1/releases/latest?platform=macos-arm64")
        assert (status, found["version"], found["url"], found["backend"]) == (
            200,
            "0.6.10",
            "https://cdn.test/x",
            "mlx",
        )
        assert "metallib_hash" not in found
        assert (await answers.get("/v1/releases/latest?channel=dev"))[1]["version"] == "0.6.11-dev.1"
        assert (await answers.get("/api/version?platform=linux-x86_64"))[1]["version"] == "9.9.9"
        await store.write(lambda tx: tx.execute("UPDATE releases SET active = 0 WHERE version = '0.6.10'"))
        assert (await answers.get("/v1/releases/latest"))[1]["version"] == "0.6.9"


@pytest.mark.parametrize("query", ["platform=../etc", "platform=A", "channel=nightly", "platform=" + "x" * 65])
async def test_impossible_questions(query: str) -> None:
    async with open_versions() as (answers, _):
        status, error = await answers.get(f"/v1/releases/latest?{query}")
        assert (status, error["error"]["param"]) == (400, query.partition("=")[0])


async def test_the_runtime_manifest() -> None:
    async with open_versions() as (answers, _):
        assert await answers.get("/v1/runtime/manifest") == (200, {"configured": False})
    manifest = RuntimeManifest(python_hashes=frozenset({"b", "a"}), template_hashes={"t": frozenset({"c"})})
    async with open_versions(manifest) as (answers, _):
        assert (await answers.get("/v1/runtime/manifest"))[1] == {
            "configured": True,
            "python_hashes": ["a", "b"],
            "runtime_hashes": [],
            "template_hashes": {"t": ["c"]},
        }


# --- the key, health and drain -------------------------------------------------------------------------------------


async def test_the_encryption_key() -> None:
    answers = Answers([encryption_key_blueprint(KeyRing(key_from_mnemonic(MNEMONIC)))])
    expected = {"kid": KID, "public_key": PUBLIC_KEY, "algorithm": "x25519-nacl-box"}
    assert await answers.get("/v1/encryption-key") == (200, expected)
    assert answers.headers["cache-control"] == "public, max-age=300"
    status, error = await Answers([encryption_key_blueprint(None)]).get("/v1/encryption-key")
    assert (status, error["error"]["code"]) == (503, "encryption_unavailable")


async def test_an_administrator_drains_and_ends_the_drain(autojump_clock: MockClock) -> None:
    async with open_site() as site:
        drain = site.drain
        answers = Answers([admin_drain_blueprint(Gate(financial=None), drain)], drain)  # type: ignore[arg-type]
        boss = {"Authorization": "Bearer admin"}
        assert await answers.ask("POST", "/v1/admin/drain", **boss) == (200, {"draining": True, "inflight": 0})
        assert json.loads((await site.ask("GET", "/health"))[2])["draining"] is True
        assert (await site.ask("GET", "/readyz"))[0] == 503
        status, headers, _ = await site.chat()
        assert (status, headers["retry-after"]) == (429, "3")
        off = await answers.ask("POST", "/v1/admin/drain", b'{"draining": false}', **boss)
        assert off == (200, {"draining": False, "inflight": 0})
        assert "draining" not in json.loads((await site.ask("GET", "/health"))[2])
        assert (await answers.ask("POST", "/v1/admin/drain", b"{}", **boss))[1]["draining"] is True


@pytest.mark.parametrize(
    ("body", "who", "status"),
    [(b'{"draining": 1}', "admin", 400), (b"[", "admin", 400), (b"", "key:boss", 403), (b"", "session:ann", 403)],
)
async def test_only_administrators_drain(body: bytes, who: str, status: int) -> None:
    drain = Drain()
    answers = Answers([admin_drain_blueprint(Gate(financial=None), drain)], drain)  # type: ignore[arg-type]
    assert (await answers.ask("POST", "/v1/admin/drain", body, Authorization=f"Bearer {who}"))[0] == status
    assert not drain.draining
