"""Dividing an epoch's budget when not everybody can get all: the idle and the mid-sized first. Pure integers.

Invariant: the grants of an epoch, with what was granted before, never pass its budget; nobody gets more than he asked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from server.rewards.floors import is_workhorse


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """What one machine asks of one epoch; micro-USD. `organic` is what it earned there by work."""

    provider_key: str
    account_id: str
    memory_gb: int
    floor: int
    organic: int
    draw: int

    @property
    def score(self) -> Fraction:
        """The higher, the earlier served: idle machines, and those of the workhorse band."""
        idle = Fraction(self.floor - min(self.organic, self.floor), self.floor) if self.floor > 0 else Fraction(0)
        return idle + (1 if is_workhorse(self.memory_gb) else 0)


def allocate(
    claims: Sequence[Claim],
    *,
    budget: int,
    settled: int = 0,
    account_cap: int | None = None,
    settled_by_account: Mapping[str, int] | None = None,
) -> dict[str, int]:
    """Give each machine's grant (also 0) by its key.

    `budget` is the epoch's whole one, `settled` what earlier runs spent of it, `account_cap` the most for one account
    in the epoch (None: no limit). Half of the budget is first offered to the workhorses alone.
    """
    ranked = sorted(claims, key=lambda claim: (-claim.score, claim.provider_key))
    pot = _Pot(max(0, budget - settled), account_cap, dict(settled_by_account or {}))
    granted = {claim.provider_key: 0 for claim in ranked}
    pot.serve([claim for claim in ranked if is_workhorse(claim.memory_gb)], granted, at_most=budget // 2)
    pot.serve(ranked, granted, at_most=budget)
    return granted


class _Pot:
    """What is left, in all and for each account."""

    def __init__(self, remaining: int, account_cap: int | None, by_account: dict[str, int]) -> None:
        self._remaining = remaining
        self._account_cap = account_cap
        self._by_account = by_account

    def serve(self, claims: Sequence[Claim], granted: dict[str, int], *, at_most: int) -> None:
        """Grant in order, up to `at_most` for all of them together."""
        left = at_most
        for claim in claims:
            amount = min(
                claim.draw - granted[claim.provider_key], left, self._remaining, self._headroom(claim.account_id)
            )
            if amount <= 0:
                continue
            granted[claim.provider_key] += amount
            self._by_account[claim.account_id] = self._by_account.get(claim.account_id, 0) + amount
            self._remaining -= amount
            left -= amount

    def _headroom(self, account_id: str) -> int:
        if self._account_cap is None:
            return self._remaining
        return self._account_cap - self._by_account.get(account_id, 0)
