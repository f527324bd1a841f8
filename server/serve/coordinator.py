"""All components of one coordinator, built in one place, started and stopped in order; nothing is global.

Owner: `open_coordinator` owns the nursery of every long-lived task. Order of the end: the listener goes first, then
the relay (which settles what is left), then the provider link and the housekeeping.
"""

from __future__ import annotations

import secrets
import ssl
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import trio

from server.api import ApiServices, build_blueprints, build_endpoints
from server.api.model_prices import ModelPrices
from server.catalog.file import read_catalog
from server.link import LinkContext, ProviderLink
from server.listener import Listener, server_tls_context
from server.observe import LinkMetrics, Metrics, RelayMetrics, Supervisor, mint_request_id
from server.observe.huge_pages import gather_heap_now_and_then
from server.observe.interpreter import collect_garbage, dump_tasks_on_signal
from server.observe.loop_lag import measure_loop_lag
from server.pool import FleetHedging, PoolRunner
from server.registry import Registry, run_maintenance
from server.relay import InferenceRelay, RelayServices
from server.serve.app import build_app
from server.serve.books import Books, open_books, tariff_of
from server.serve.crash_log import CrashLog
from server.serve.drain import Drain
from server.serve.fleet_facts import key_text
from server.serve.gauges import declare_gauges, declare_listener_gauges, declare_pool_gauges
from server.serve.metrics_route import metrics_blueprint
from server.serve.money_metrics import declare_money_gauges
from server.serve.public import public_blueprints
from server.serve.records import (
    attempt_limits,
    hedge_policy,
    link_settings,
    listener_limits,
    media_fetcher,
    pool_policy,
    queue_bounds,
    relay_times,
    routing_policy,
    trust_policy,
)
from server.serve.run_clock import run_clock
from server.serve.sealing import key_ring, sealed_endpoints
from server.serve.version import installed_version
from server.trust import TrustDesk

if TYPE_CHECKING:
    from quart_trio import QuartTrio

    from server.config import CoordinatorSettings
    from server.observe import QueueingHandler


@dataclass(frozen=True, slots=True, kw_only=True)
class Coordinator:
    """The running components."""

    settings: CoordinatorSettings
    metrics: Metrics
    supervisor: Supervisor
    drain: Drain
    registry: Registry
    books: Books
    link: ProviderLink
    relay: InferenceRelay
    app: QuartTrio
    listener: Listener


@asynccontextmanager
async def open_coordinator(
    settings: CoordinatorSettings, *, log: QueueingHandler | None = None
) -> AsyncIterator[Coordinator]:
    """Build all components, run their tasks, and yield them; the listener is built but does not listen yet.

    Raises CatalogUnusable, StoreNotConfigured, StoreCannotOpen, OSError or ssl.SSLError when a file or a database that
    a setting names cannot be used.
    """
    metrics = Metrics()
    registry = Registry(
        clock=run_clock(), policy=routing_policy(settings), catalog=read_catalog(settings.model_catalog)
    )
    async with (
        open_books(settings, metrics=metrics, registry=registry) as books,
        _serving(settings, metrics, registry, books, log) as coordinator,
    ):
        yield coordinator


@asynccontextmanager
async def _serving(
    settings: CoordinatorSettings, metrics: Metrics, registry: Registry, books: Books, log: QueueingHandler | None
) -> AsyncIterator[Coordinator]:
    """Build what serves, over books that are open."""
    supervisor = Supervisor(metrics, strict=settings.strict_tasks)
    drain = Drain()
    policy = trust_policy(settings)
    link = ProviderLink(
        LinkContext(
            registry=registry,
            desk=TrustDesk(policy=policy, catalog_hash=_catalog_hash(registry)),
            settings=link_settings(settings),
            meter=LinkMetrics(metrics),
            link_account=books.accounts.provider_tokens.link,
            on_registered=partial(_note_machine, books),
            on_left=partial(_note_left, books),
        )
    )
    books.accounts.book.on_revoked = partial(_unlink, registry, link)
    relay = InferenceRelay(
        RelayServices(
            registry=registry,
            settlement=books.billing.settlement,
            funds=books.funds,
            observer=RelayMetrics(metrics),
            times=relay_times(settings),
            limits=attempt_limits(settings),
            bounds=queue_bounds(settings),
            hedging=_hedging(settings, registry),
            clock=run_clock(),
        )
    )
    model_prices = ModelPrices(books.billing.prices, tariff_of(settings), clock=run_clock())
    services_of_api = ApiServices(
        door=books.door,
        store=books.store,
        has_machine=books.accounts.provider_tokens.has_any,
        registry=registry,
        relay=relay,
        drain=drain,
        supervisor=supervisor,
        version=installed_version(),
        build_commit=settings.build_commit,
        max_body_bytes=settings.max_body_bytes,
        cache_secret=_cache_secret(settings),
        clock=run_clock(),
        wall_clock=time.time,
        media=media_fetcher(settings),
        aliases=books.catalog,
        prices=model_prices,
    )
    ring = key_ring(settings)
    blueprints = [
        *build_blueprints(services_of_api),
        *books.blueprints(settings),
        *public_blueprints(services_of_api, books, settings, ring=ring, manifest=lambda: policy.manifest),
        metrics_blueprint(settings, metrics),
    ]
    endpoints = sealed_endpoints(build_endpoints(services_of_api), ring, settings)
    app = build_app(settings, metrics=metrics, drain=drain, blueprints=blueprints, endpoints=endpoints)
    listener = Listener(
        app,
        link.serve,
        limits=listener_limits(settings),
        trusted_proxies=settings.trusted_proxies,
        tls=_tls_context(settings),
        on_crash=CrashLog(metrics),
        new_request_id=mint_request_id,
    )
    declare_gauges(metrics, registry=registry, drain=drain, log=log)
    declare_listener_gauges(metrics, listener)
    declare_money_gauges(metrics, books.billing)

    async with _background(books, supervisor), trio.open_nursery() as services:
        await services.start(link.run)
        await services.start(relay.serve)
        supervisor.start(services, "registry_maintenance", run_maintenance, registry, restart="backoff", essential=True)
        pool = PoolRunner(registry, pool_policy(settings), model_prices.of_output)
        declare_pool_gauges(metrics, pool)
        supervisor.start(services, "warm_pool", pool.run, restart="backoff")
        supervisor.start(services, "loop_lag", measure_loop_lag, metrics, restart="backoff")
        supervisor.start(services, "garbage", collect_garbage, restart="backoff")
        supervisor.start(services, "huge_pages", gather_heap_now_and_then, restart="backoff")
        supervisor.start(services, "task_dump", dump_tasks_on_signal, restart="backoff")
        yield Coordinator(
            settings=settings,
            metrics=metrics,
            supervisor=supervisor,
            drain=drain,
            registry=registry,
            books=books,
            link=link,
            relay=relay,
            app=app,
            listener=listener,
        )
        services.cancel_scope.cancel()


def _hedging(settings: CoordinatorSettings, registry: Registry) -> FleetHedging | None:
    policy = hedge_policy(settings)
    return None if policy is None else FleetHedging(registry, policy)


def _note_machine(books: Books, session_id: str, public_key: bytes, account_id: str | None) -> None:
    books.rewards.sessions.opened(session_id, provider_key=key_text(public_key), account_id=account_id or "")


def _unlink(registry: Registry, link: ProviderLink, session_id: str) -> None:
    registry.unlink(session_id)
    link.token_revoked(session_id)


def _note_left(books: Books, session_id: str) -> None:
    books.accounts.book.leave(session_id)
    books.rewards.sessions.closed(session_id)


@asynccontextmanager
async def _background(books: Books, supervisor: Supervisor) -> AsyncIterator[None]:
    """Run the tasks of the books for as long as the block, whose end they outlive."""
    async with trio.open_nursery() as nursery:
        books.start(nursery, supervisor)
        yield
        nursery.cancel_scope.cancel()


def _catalog_hash(registry: Registry) -> Callable[[str], str]:
    """Return how trust looks up the expected weight hash of a model; empty for unknown ones."""

    def expected(model: str) -> str:
        entry = registry.catalog.entry(model)
        return entry.weight_hash if entry is not None else ""

    return expected


def _cache_secret(settings: CoordinatorSettings) -> bytes:
    """Return the key of the cache scopes; a random one lasts until the restart, which only empties caches."""
    secret = settings.cache_scope_secret
    return secrets.token_bytes(32) if secret is None else secret.reveal().encode()


def _tls_context(settings: CoordinatorSettings) -> ssl.SSLContext | None:
    if settings.tls_cert is None or settings.tls_key is None:
        return None
    return server_tls_context(settings.tls_cert, settings.tls_key)
