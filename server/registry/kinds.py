"""Kinds of a pool: sessions with the same gate answers are counted together, and a request is tested once per kind."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from server.registry.reasons import Reason
from server.registry.request import PLAIN

if TYPE_CHECKING:
    from collections.abc import Iterator

    from server.registry.gate_class import GateClass
    from server.registry.request import Traits

KINDS_MAX: Final = 256
PLANS_MAX: Final = 64


class Kind:
    """Gate answers, the first rejection by state or load (`late`, gates 19 to 23), and whether it is fast enough."""

    __slots__ = ("count", "fast", "gates", "late", "listed", "public")

    def __init__(self, gates: GateClass, late: Reason | None, *, fast: bool) -> None:
        self.gates = gates
        self.late = late
        self.fast = fast
        self.count = 0
        self.listed = gates.before is None and gates.middle is None and not gates.cooldown and late is None
        """Whether some request may use its members, as far as room allows."""
        self.public = gates.is_public and late in (None, Reason.NO_HEADROOM)
        """Whether its members count in public: a small plain request of anyone passes, room aside."""

    def rejection(self, traits: Traits, *, ignore_health: bool = False) -> Reason | None:
        """Return the first of gates 3 to 23 that rejects a public request with these traits; None leaves room alone."""
        return self.gates.rejection(traits, ignore_health=ignore_health) or self.late


class Kinds:
    """All kinds of one pool; the ones that nobody belongs to any more are forgotten when there are too many."""

    __slots__ = ("_by_answers", "_plain", "_plans")

    def __init__(self) -> None:
        self._by_answers: dict[tuple[GateClass, Reason | None, bool], Kind] = {}
        self._plans: dict[tuple[Traits, bool, str | None], tuple[frozenset[Kind], ...]] = {}
        self._plain: tuple[frozenset[Kind], ...] | None = None
        """The plan of plain first attempts, the usual one."""

    def __iter__(self) -> Iterator[Kind]:
        return iter(self._by_answers.values())

    def find(self, gates: GateClass, late: Reason | None, *, fast: bool) -> Kind:
        """Return the kind with these answers."""
        answers = (gates, late, fast)
        kind = self._by_answers.get(answers)
        if kind is None:
            kind = self._by_answers[answers] = Kind(gates, late, fast=fast)
            self._forget_plans()
        return kind

    def forget_empty(self) -> set[Kind]:
        """Drop the kinds without members when there are too many, and return them."""
        if len(self._by_answers) <= KINDS_MAX:
            return set()
        empty = {kind for kind in self if not kind.count}
        self._by_answers = {answers: kind for answers, kind in self._by_answers.items() if kind not in empty}
        self._forget_plans()
        return empty

    def _forget_plans(self) -> None:
        self._plans.clear()
        self._plain = None

    def plan(
        self, traits: Traits, avoid_version: str | None, *, ignore_health: bool = False
    ) -> tuple[frozenset[Kind], ...]:
        """Return the usable kinds in order of preference: other versions than the failed one first, fast ones first."""
        if traits is PLAIN and self._plain is not None and avoid_version is None and not ignore_health:
            return self._plain
        asked = (traits, ignore_health, avoid_version)
        plan = self._plans.get(asked)
        if plan is None:
            if len(self._plans) >= PLANS_MAX:
                self._forget_plans()
            usable = [kind for kind in self if kind.rejection(traits, ignore_health=ignore_health) is None]
            stages = {(avoided, slow): set[Kind]() for avoided in (False, True) for slow in (False, True)}
            for kind in usable:
                avoided = avoid_version is not None and kind.gates.version == avoid_version
                stages[avoided, not kind.fast].add(kind)
            plan = self._plans[asked] = tuple(frozenset(stage) for stage in stages.values())
        if traits is PLAIN and avoid_version is None and not ignore_health:
            self._plain = plan
        return plan

    def tally(self, traits: Traits, *, ignore_health: bool = False) -> dict[Reason | None, int]:
        """Count members by the first gate that rejects a public request with these traits; None: only room is left."""
        counts: dict[Reason | None, int] = {}
        for kind in self:
            if kind.count:
                reason = kind.rejection(traits, ignore_health=ignore_health)
                counts[reason] = counts.get(reason, 0) + kind.count
        return counts
