"""Declarations of running a coordinator: draining it, and taking its state away."""

from __future__ import annotations

from typing import Final

import msgspec
from msgspec import UNSET, UnsetType

from server.openapi.operation import Also, Operation


class DrainWish(msgspec.Struct, kw_only=True):
    """Whether new inference is refused."""

    draining: bool | UnsetType = UNSET


class DrainState(msgspec.Struct, kw_only=True):
    """Whether new inference is refused, and what still runs."""

    draining: bool
    inflight: int


RUNNING: Final[tuple[Operation, ...]] = (
    Operation(
        method="POST",
        path="/v1/admin/drain",
        family="Administration",
        summary="Refuse new inference, or take it again",
        auth="admin",
        body=DrainWish,
        body_required=False,
        answer=DrainState,
    ),
    Operation(
        method="GET",
        path="/v1/admin/state-export",
        family="Administration",
        summary="Download the persistent-data directory",
        auth="admin_key",
        meaning="Only where it is enabled; elsewhere there is no such path.",
        answer=bytes,
        answer_media="application/octet-stream",
        also=(Also(status=412, meaning="Nobody has said for whom to encrypt."),),
        errors=(409,),
    ),
)
