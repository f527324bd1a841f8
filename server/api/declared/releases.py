"""Declarations of registering releases of the provider program, and of switching them."""

from __future__ import annotations

from typing import Final, Literal

import msgspec

from server.api.declared.network import ReleaseAnswer
from server.catalog.release_wish import ReleaseName, ReleaseWish
from server.openapi.operation import Operation


class ReleaseRegistered(msgspec.Struct, kw_only=True):
    """The row as it stands; `active` is false where an administrator must approve it first."""

    status: Literal["release_registered"]
    release: ReleaseAnswer


class RegisteredRelease(ReleaseAnswer, kw_only=True):
    """A release, who registered it, and who switched it on."""

    registered_by: str
    approved_by: str


class RegisteredReleases(msgspec.Struct, kw_only=True):
    """All releases, switched off ones too, newest first."""

    releases: list[RegisteredRelease]


class ReleaseSwitched(msgspec.Struct, kw_only=True):
    """Whether the release is offered to machines now."""

    status: Literal["release_activated", "release_deactivated"]
    version: str
    platform: str


RELEASES: Final[tuple[Operation, ...]] = (
    Operation(
        method="POST",
        path="/v1/releases",
        family="Catalogue",
        summary="Register a release of the provider program",
        auth="release",
        meaning=(
            "The bundle must lie at the operator's download server already: it is downloaded, both hashes are compared "
            "and its files are looked at, which may take two minutes. The same again changes nothing; other content "
            "under a version that is registered is refused."
        ),
        body=ReleaseWish,
        answer=ReleaseRegistered,
        errors=(409,),
    ),
    Operation(
        method="GET",
        path="/v1/admin/releases",
        family="Administration",
        summary="List all releases",
        auth="admin",
        answer=RegisteredReleases,
    ),
    Operation(
        method="DELETE",
        path="/v1/admin/releases",
        family="Administration",
        summary="Offer a release no more",
        auth="admin",
        meaning="Machines that ask get the highest active version; those that have this one keep it.",
        body=ReleaseName,
        answer=ReleaseSwitched,
    ),
    Operation(
        method="POST",
        path="/v1/admin/releases/activate",
        family="Administration",
        summary="Offer a release, for the first time or again",
        auth="admin",
        body=ReleaseName,
        answer=ReleaseSwitched,
    ),
)
