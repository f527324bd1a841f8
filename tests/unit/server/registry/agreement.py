"""What the index and a walk by the full functions must agree on: the choice, and what each keeps of the fleet."""

from __future__ import annotations

from operator import add
from random import Random
from typing import TYPE_CHECKING

from server.registry import Reason, SelfRoute
from server.registry.decision import ChoicePath
from server.registry.least_loaded import DRAWS, FEW
from server.registry.rows import ID_BITS, ID_MASK, NEVER, headroom_class
from server.registry.select import equals, narrow, near_ties
from server.registry.sums import Total
from server.registry.walk import scan
from tests.unit.server.registry.fleet import Fleet

if TYPE_CHECKING:
    from server.registry import Candidate, Registry, RoutedRequest
    from server.registry.entry import Entry
    from server.registry.kinds import Kind

MODELS = ("m", "n")


class Draws(Random):
    """A source of randomness that gives what it is told, as long as it was told anything."""

    def __init__(self, *draws: float) -> None:
        super().__init__(0)
        self.draws = list(draws)

    def random(self) -> float:
        return self.draws.pop(0) if self.draws else super().random()


def brute(fleet: Fleet, asked: RoutedRequest) -> tuple[list[Candidate], dict[Reason, int], bool]:
    """Everyone that the full functions let pass, and why the others do not."""
    found = scan(fleet.registry._index.sessions(asked.model), asked, fleet.registry._context, fleet.now)
    return found.candidates, found.rejections, found.fail_open


def rank_order(one: Candidate, asked: RoutedRequest) -> tuple[int, int, int, int]:
    """Where the index has a candidate among equals: by row, speed class and base; extra ones last, in their order."""
    entry = one.session.entries[asked.model]
    return (0, entry.row.number, entry.speed_number, entry.key) if entry.row is not None else (1, 0, 0, 0)


def drawn(equal: list[Candidate], asked: RoutedRequest, registry: Registry, draws: list[float]) -> Candidate:
    """Choose among equals by the rule: of a large level members are drawn first, otherwise a rank decides."""
    (first, *_) = [one.session.entries[asked.model] for one in equal]
    draws = list(draws)
    level = first.level
    if level is not None and all(one.session.entries[asked.model].row is not None for one in equal):
        kinds = usable_kinds(asked, registry, equal)
        rows = [row for row in level.rows if row.kind in kinds and row.headroom >= headroom_class(asked.need)]
        members = [entry for row in rows for entry in row.members]
        if len(members) > FEW:
            for _ in range(DRAWS):
                found = members[int(draws.pop(0) * len(members))]
                same = [one for one in equal if one.session is found.session]
                if same:
                    return same[0]
        else:
            found = {one.session.session_id: one for one in equal}
            listed = [found[one.session.session_id] for one in members if one.session.session_id in found]
            return listed[int(draws.pop(0) * len(listed))] if len(listed) > 1 else listed[0]
    ordered = sorted(equal, key=lambda one: rank_order(one, asked))
    return ordered[int(draws.pop(0) * len(ordered))] if len(ordered) > 1 else ordered[0]


def two_choices(
    near: list[Candidate], asked: RoutedRequest, registry: Registry, draws: list[float]
) -> tuple[list[Candidate], ChoicePath]:
    """Draw two of the near ties by the rule of cost v2: the one with less to do, of equals none that fails often."""
    ordered = sorted(near, key=lambda one: rank_order(one, asked))
    if len(ordered) == 1:
        return ordered, ChoicePath.UNIQUE_MIN
    one = ordered.pop(int(draws[0] * len(ordered)))
    other = ordered[int(draws[1] * len(ordered))]
    for each in (one, other):
        if (each.occupancy, each.share) != min((one.occupancy, one.share), (other.occupancy, other.share)):
            return [other if each is one else one], ChoicePath.RANDOM
    known = [registry.machines.is_doubtful(each.session.ident.stable_id) for each in (one, other)]
    return [other if known == [True, False] else one], ChoicePath.RANDOM


def usable_kinds(asked: RoutedRequest, registry: Registry, equal: list[Candidate]) -> frozenset[Kind]:
    """The stage of the plan that the tie set belongs to."""
    pool = registry.pool(asked.model)
    assert pool is not None
    wanted = {one.session.entries[asked.model].kind for one in equal}
    for ignore in (False, True):
        for stage in pool.kinds.plan(asked.traits, asked.avoid_version, ignore_health=ignore):
            if wanted <= stage:
                return stage
    raise AssertionError("All equals are of one stage.")


def agrees(fleet: Fleet, asked: RoutedRequest, draws: list[float]) -> None:
    """Let the index choose and compare with a walk: the same tie set, and the same choice for the same draws."""
    registry = fleet.registry
    expected = registry.policy.cost_model == "v2"
    registry._index.advance(fleet.now)
    passed, rejections, fail_open = brute(fleet, asked)
    size = len(registry._index.sessions(asked.model))
    assert len(passed) + sum(rejections.values()) == size
    mine = asked.self_route is SelfRoute.PREFER and any(one.owned for one in passed)
    near: list[Candidate] = []
    winner = None
    if passed and not mine:
        near = near_ties(narrow(passed, asked, registry.policy), expected=expected)
        equal, path = two_choices(near, asked, registry, draws) if expected else equals(near)
        if expected:
            winner, equal = equal[0], near
        elif not asked.excluded_sessions:
            winner = drawn(equal, asked, registry, draws)
    registry._chooser._random = Draws(*draws)
    decision = registry.choose_and_reserve(asked, fleet.now)
    if not passed:
        assert decision.reservation is None
        assert (decision.rejections, decision.scanned) == (rejections, size)
        return
    assert decision.fail_open == fail_open
    assert decision.reservation is not None
    assert decision.winner is not None
    if mine:
        assert decision.winner.owned
    else:
        assert decision.equal == len(equal) or (not decision.equal and not expected)
        assert decision.winner in equal
        assert winner is None or decision.winner == winner
        if decision.equal:
            assert decision.path is path
    (same,) = [one for one in passed if one.session is decision.winner.session]
    assert decision.winner == same
    assert abs(same.terms.total - same.cost) < 1e-6
    decision.reservation.release(fleet.now)


def bests_hold(fleet: Fleet) -> None:
    """The best cost that a row keeps for a size asked before is that of its cheapest class now."""
    for pool in fleet.registry._index.pools():
        for costs in map(pool.costs, pool._sizes):
            for row in (row for level in pool.levels for row in level.rows):
                assert min(NEVER, row.best(costs)) == min([NEVER, *map(add, costs.offsets, row.mins)])


def holds(fleet: Fleet) -> None:
    """Every derived view of the index equals a recount."""
    registry = fleet.registry
    registry._index.advance(fleet.now)
    bests_hold(fleet)
    listed = {(session.session_id, model) for session in registry.sessions() for model in session.caps.models}
    members = set()
    for model in registry._index.models():
        pool = registry.pool(model)
        assert pool is not None
        counts: dict[object, int] = {}
        total = list(Total())
        standing: dict[int, Entry] = {}
        for level in pool.levels:
            for row in level.rows:
                for number, group in enumerate(row.groups):
                    keys = group.keys
                    assert row.mins[number] == (keys[0] >> ID_BITS if keys else NEVER)
                    assert keys == sorted(keys)
                    standing |= {key & ID_MASK: pool.members[key & ID_MASK] for key in keys}
                assert row.low == min(row.mins, default=NEVER)
                assert sorted(one.key for one in row.members) == sorted(k for g in row.groups for k in g.keys)
                assert [one.place for one in row.members] == list(range(len(row.members)))
            assert level.low == min((row.low for row in level.rows), default=NEVER)
        for epoch, entry in pool.members.items():
            session = entry.session
            members.add((session.session_id, model))
            assert registry.session(session.session_id) is session
            assert entry.version == session.version
            counts[entry.kind] = counts.get(entry.kind, 0) + 1
            added = [*entry.counted, *entry.live] if entry.counted else [0] * len(total)
            total = [one + more for one, more in zip(total, added, strict=True)]
            assert (epoch in standing) == (entry.row is not None)
        assert {kind: kind.count for kind in pool.kinds if kind.count} == counts
        assert pool.sums.total == tuple(total)
        assert sum(entry.session.trust.admitted for entry in pool.members.values()) == pool.admitted
    assert members == listed
