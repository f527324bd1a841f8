"""The endpoints of the catalogue and of what everybody may know, over the parts of one coordinator."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

import trio

from server.administration.operator import Operator
from server.api.account_endpoints import account_gate
from server.api.admin_drain import admin_drain_blueprint
from server.api.admin_models import AdminModelServices, admin_models_blueprint
from server.api.attestation_feed import attestation_blueprint
from server.api.catalog import catalog_blueprint
from server.api.encryption_key import encryption_key_blueprint
from server.api.network_series import network_series_blueprint
from server.api.releases import ReleaseServices, releases_blueprint
from server.api.routing_why import routing_why_blueprint
from server.api.stats import StatsServices, stats_blueprint
from server.api.versions import VersionServices, versions_blueprint
from server.billing.ledger import PLATFORM
from server.catalog import CatalogActs
from server.catalog.release_acts import ReleaseActs
from server.serve.books import wall_clock

if TYPE_CHECKING:
    from collections.abc import Callable

    from quart import Blueprint

    from server.api import ApiServices
    from server.catalog.artefacts import Artefacts
    from server.catalog.published import PublishedFiles
    from server.config import CoordinatorSettings
    from server.sealed import KeyRing
    from server.serve.books import Books
    from server.trust import RuntimeManifest


def public_blueprints(
    services: ApiServices,
    books: Books,
    settings: CoordinatorSettings,
    *,
    ring: KeyRing | None,
    manifest: Callable[[], RuntimeManifest],
) -> list[Blueprint]:
    """Give the endpoints; `manifest` tells which runtimes may serve, `ring` the key for sealed requests."""
    chosen = settings.pseudonym_secret
    gate = account_gate(books.accounts, settings)
    operator = Operator(books.store, changes=books.accounts.changes, wall_clock=wall_clock)
    acts = CatalogActs(
        operator,
        books.catalog,
        files=_published_files(settings.model_cdn_url),
        on_priced=lambda model: books.billing.prices.forget(PLATFORM, model),
    )
    numbers = StatsServices(
        store=books.store,
        registry=services.registry,
        secret=secrets.token_bytes(32) if chosen is None else chosen.reveal().encode(),
        clock=trio.current_time,
        wall_clock=wall_clock,
    )
    return [
        catalog_blueprint(books.catalog, books.store, cdn_url=settings.model_cdn_url),
        admin_models_blueprint(
            AdminModelServices(
                keys=books.accounts.publishing, acts=acts, store=books.store, limits=books.accounts.limits
            )
        ),
        releases_blueprint(
            ReleaseServices(
                gate=gate,
                release_keys=books.accounts.release_keys,
                acts=ReleaseActs(
                    operator,
                    artefacts=_artefacts(settings.release_cdn_url),
                    approval=settings.release_approval,
                    signing_keys=settings.release_signing_keys,
                ),
                store=books.store,
            )
        ),
        admin_drain_blueprint(gate, services.drain),
        routing_why_blueprint(gate, services.registry, trio.current_time),
        encryption_key_blueprint(ring),
        attestation_blueprint(services),
        versions_blueprint(VersionServices(store=books.store, version=services.version, manifest=manifest)),
        stats_blueprint(numbers),
        network_series_blueprint(numbers),
    ]


# The HTTP client is imported where a download server is set: that takes a tenth of the time of a coordinator's start.
def _published_files(url: str | None) -> PublishedFiles | None:
    if url is None:
        return None
    from server.catalog.published import PublishedFiles

    return PublishedFiles(url)


def _artefacts(url: str | None) -> Artefacts | None:
    if url is None:
        return None
    from server.catalog.artefacts import Artefacts

    return Artefacts(url)
