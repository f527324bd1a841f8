"""Settings of the model catalogue and of the provider program's releases."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import urlsplit

from protocol.release_signature import signing_keys
from protocol.settings import boolean, setting, url


@dataclass(frozen=True, kw_only=True)
class CatalogSettings:
    """Where the published bytes of models and programs lie; the coordinator itself never passes them on."""

    model_cdn_url: str | None = setting(
        "MODEL_CDN_URL",
        url("http", "https"),
        default=None,
        group="Catalogue",
        meaning="Where the files of published models are downloaded from; with it, publishing checks every file there.",
    )
    release_cdn_url: str | None = setting(
        "RELEASE_CDN_URL",
        url("http", "https"),
        default=None,
        group="Catalogue",
        meaning="Where bundles of the provider program are downloaded from; without it no release can be registered.",
    )
    release_signing_keys: tuple[bytes, ...] = setting(
        "RELEASE_SIGNING_KEYS",
        signing_keys(),
        default=(),
        group="Catalogue",
        meaning="Ed25519 public keys, of which one must have signed a release before it can be registered.",
    )
    release_approval: bool = setting(
        "RELEASE_APPROVAL",
        boolean(),
        default=False,
        group="Catalogue",
        meaning="A registered release is offered to machines only when an administrator has activated it.",
    )


def catalog_problems(settings: CatalogSettings) -> Iterable[str]:
    """Name every rule that the settings of the catalogue break."""
    if settings.release_cdn_url is None:
        return
    parts = urlsplit(settings.release_cdn_url)
    # The value is not repeated: what is wrong with it may be that it holds a password.
    if parts.username or parts.password or parts.query or parts.fragment:
        yield "DARKBLOOM_RELEASE_CDN_URL must have neither a user, a password, a query nor a fragment."
    if parts.scheme == "http" and not _is_this_machine(parts.hostname or ""):
        yield "DARKBLOOM_RELEASE_CDN_URL must be https, because machines download their program from there."


def _is_this_machine(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
