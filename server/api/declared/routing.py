"""Declarations of what routing explains."""

from __future__ import annotations

from typing import Final

import msgspec

from server.openapi.operation import Operation
from server.registry.traces import Attempt
from server.registry.why import MachineWhy


class RequestTrace(msgspec.Struct, kw_only=True):
    """The decisions for one request, in their order."""

    request_id: str
    attempts: list[Attempt]


class ModelState(msgspec.Struct, kw_only=True):
    """The machines of one model: how many by the first gate against a small public request, and sums over the rest."""

    model: str
    providers: int
    by_first_gate: dict[str, int]
    totals: dict[str, int]
    queued: int


ROUTING: Final = (
    Operation(
        method="GET",
        path="/v1/me/providers/{provider_id}/why",
        family="Accounts",
        summary="Why a machine gets work, or does not",
        meaning="Every gate by name with what to do about it, room, price and what is held against the machine.",
        auth="session",
        answer=MachineWhy,
        errors=(404,),
    ),
    Operation(
        method="GET",
        path="/v1/admin/routing/providers/{provider_id}",
        family="Administration",
        summary="Why a machine gets work, or does not",
        auth="admin",
        answer=MachineWhy,
        errors=(404,),
    ),
    Operation(
        method="GET",
        path="/v1/admin/routing/requests/{request_id}",
        family="Administration",
        summary="How a request was routed",
        meaning="Costs, what was expected and what happened, for the last few thousand requests.",
        auth="admin",
        answer=RequestTrace,
        errors=(404,),
    ),
    Operation(
        method="GET",
        path="/v1/admin/routing/models/{model}",
        family="Administration",
        summary="Count a model's machines by what stands against them",
        auth="admin",
        answer=ModelState,
        errors=(404,),
    ),
)
