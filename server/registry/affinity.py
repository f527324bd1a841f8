"""A request goes to a machine that holds the beginning of its prompt, as far as that saves time.

The ordinary choice is made first. Of the machines that hold a beginning, those that the same stage of the choice could
have taken, and that are not far busier, are priced without what they need not compute again. The cheapest of those with
the longest beginning takes the winner's place unless it costs more all the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from msgspec import Struct, structs

from server.registry.decision import Candidate
from server.registry.rows import NEVER
from server.registry.state import SlotState
from server.registry.ttft import saved_ms
from server.registry.views import owned_by

if TYPE_CHECKING:
    from collections.abc import Mapping

    from server.registry.entry import Entry
    from server.registry.holders import Holders
    from server.registry.kinds import Kind
    from server.registry.policy import RoutingPolicy
    from server.registry.request import RoutedRequest
    from server.registry.search import Found, Search
    from server.registry.state import Session

BUSIER_REQUESTS: Final = 4
BUSIER_FACTOR: Final = 1.5
"""A holder with so many requests more than the winner, and so many times as many, is passed over."""
_FIRST_TOKEN_WEIGHT: Final = {"v1": 1, "v2": 2}
"""How often the time to the first token counts in the cost."""


class Credit(Struct, frozen=True):
    """A holder, the tokens it need not compute, and what it costs (µs) once `credit_us` is taken off for them."""

    entry: Entry
    tokens: int
    cost_us: int
    credit_us: int

    def candidate(self, request: RoutedRequest, priced: tuple[int, int]) -> Candidate:
        """Write the holder down as it is chosen."""
        entry = self.entry
        full = entry.candidate(request.prompt_tokens, priced, owned=owned_by(entry.session, request.account_id))
        return structs.replace(
            full,
            terms=structs.replace(full.terms, cached=-self.credit_us / 1000),
            cost_us=self.cost_us,
            cached_tokens=self.tokens,
            ttft_ms=None
            if full.ttft_ms is None
            else full.ttft_ms - saved_ms(entry.slot, entry.speed, min(self.tokens, request.prompt_tokens)),
        )


def credit_us(tokens: int, prompt_us: float, cost_us: float, policy: RoutingPolicy) -> int:
    """What cached tokens take off a cost, at `prompt_us` for each: the time they save, within the bounds of it."""
    longest = 1000 * policy.cache_max_ms * _FIRST_TOKEN_WEIGHT[policy.cost_model]
    return int(min(tokens * prompt_us, longest, policy.cache_max_fraction * cost_us))


def is_far_busier(occupancy: int, than: int) -> bool:
    """Whether a holder has so much more to do that its cache is not worth the crowd."""
    return occupancy > than + BUSIER_REQUESTS and occupancy > than * BUSIER_FACTOR


class Affinity:
    """Knows the holders; `sessions` are the live sessions by id."""

    def __init__(self, sessions: Mapping[str, Session], holders: Holders) -> None:
        self._sessions = sessions
        self._holders = holders

    def better(
        self,
        winner: Found,
        search: Search,
        usable: frozenset[Kind],
        request: RoutedRequest,
        priced: tuple[int, int],
        policy: RoutingPolicy,
        now: float,
    ) -> Credit | None:
        """Return the holder that takes the place of the winner, one of `usable` kinds of members; None: none does."""
        tokens, entries = self._longest(winner.occupancy, search, usable, request, now)
        if not entries:
            return None
        tokens = min(tokens, priced[0])
        limit = winner.cost_us if isinstance(winner, Candidate) else _cost_us(winner, search)
        best: Credit | None = None
        for entry in entries:
            cost = _cost_us(entry, search)
            credit = credit_us(tokens, entry.prompt, cost, policy)
            if cost - credit <= limit and (best is None or cost - credit < best.cost_us):
                best = Credit(entry, tokens, cost - credit, credit)
        return best

    def _longest(
        self, occupancy: int, search: Search, usable: frozenset[Kind], request: RoutedRequest, now: float
    ) -> tuple[int, list[Entry]]:
        """Return the tokens of the longest beginning that a machine holds which may take the request, and all such."""
        build, holders = request.model, self._holders
        for key in reversed(request.prefixes):
            found = []
            for session_id in holders.of(build, key, now):
                session = self._sessions.get(session_id)
                entry = session.entries.get(build) if session is not None else None
                if entry is None or entry.slot.state is not SlotState.RESIDENT:
                    holders.forget(build, (key,), session_id)
                elif (
                    entry.level is not None
                    and entry.kind in usable
                    and entry.room >= search.need
                    and search.offsets[entry.speed_number] < NEVER
                    and not is_far_busier(entry.occupancy, occupancy)
                ):
                    found.append(entry)
            if found:
                return key.tokens, found
        return 0, []


def _cost_us(entry: Entry, search: Search) -> int:
    """The cost on a machine that stands on a list of the index."""
    return entry.base + search.offsets[entry.speed_number]
