"""The walk over some providers: gates and price of one request on each of them, by the full functions.

It serves the few machines that a request names itself (the caller's own, an allow-list), explanations and tests. The
way of an ordinary request goes over the index instead (`search`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from server.registry.gates import evaluate
from server.registry.price import candidate
from server.registry.reasons import CAPACITY, HEALTH, Reason

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from server.registry.decision import Candidate
    from server.registry.gates import GateContext
    from server.registry.request import RoutedRequest
    from server.registry.state import Session


class Scan(Struct, frozen=True):
    """What one walk found."""

    candidates: list[Candidate]
    rejections: dict[Reason, int]
    scanned: int
    fail_open: bool = False


def scan(sessions: Iterable[Session], request: RoutedRequest, context: GateContext, now: float) -> Scan:
    """Run gates and cost over the sessions; a second walk ignores breakers when only they stand in the way."""
    asked = list(sessions)
    found = _walk(asked, request, context, now)
    if found.candidates or context.ignore_health or not only_health(found.rejections):
        return found
    second = _walk(asked, request, context.without_health(), now)
    return Scan(second.candidates, second.rejections, second.scanned, fail_open=True)


def only_health(rejections: Mapping[Reason, int]) -> bool:
    """Whether breakers reject somebody, and nobody lacks room or comes too late: then breakers may be ignored."""
    return bool(HEALTH & rejections.keys()) and not (CAPACITY | {Reason.TTFT_CEILING}) & rejections.keys()


def _walk(sessions: Iterable[Session], request: RoutedRequest, context: GateContext, now: float) -> Scan:
    candidates: list[Candidate] = []
    rejections: dict[Reason, int] = {}
    scanned = 0
    for session in sessions:
        scanned += 1
        reason = evaluate(session, request, context, now)
        if reason is None:
            candidates.append(candidate(session, request, context, now))
        else:
            rejections[reason] = rejections.get(reason, 0) + 1
    return Scan(candidates, rejections, scanned)
