"""Machines that hold the beginning of a prompt take the winner's place where that saves time, and nowhere else."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from server.registry import Candidate, PrefixKey, RoutingPolicy, SelfRoute, price
from server.registry.affinity import Affinity, credit_us, is_far_busier
from server.registry.cost import health_us
from server.registry.decision import ChoicePath
from server.registry.least_loaded import DRAWS
from server.registry.ledger import LedgerSums
from server.registry.price import price_of, price_v1, price_v2, priced_tokens
from server.registry.select import narrow, near_ties
from server.registry.speed import Speed, speed_of
from server.registry.state import SlotState
from server.registry.views import total_memory_gb
from tests.unit.server.registry.agreement import Draws, brute
from tests.unit.server.registry.fleet import Fleet, register_message, request, slot, wire_slot
from tests.unit.server.registry.play import (
    DRAWN,
    NAMES,
    WHAT,
    Play,
    asks,
    policies,
    random_slot,
    steps,
    usual_slot,
)

if TYPE_CHECKING:
    from server.registry import Decision, RoutedRequest, Session
    from server.registry.affinity import Credit
    from server.registry.search import Found

KEYS = (PrefixKey(b"one", 60), PrefixKey(b"two", 120), PrefixKey(b"three", 4_000))
LONG = {"prompt_tokens": 4_000, "prefixes": (PrefixKey(b"k", 3_600),)}
POLICY = RoutingPolicy(quality_cap=False)


def two_machines(policy: RoutingPolicy = POLICY, **slow: object) -> Fleet:
    """`fast`, which an ordinary request goes to, and `slow`, which holds the prompt of `LONG`."""
    fleet = Fleet(policy=policy)
    for name, tps in (("fast", 60.0), ("slow", 50.0)):
        fleet.connect(name, message=register_message(decode_tps=tps))
        fields: dict[str, object] = {"active_token_budget_max": 100_000, "observed_decode_tps": tps}
        fleet.beat(name, wire_slot(**fields | (slow if name == "slow" else {})), seq=1)
    fleet.registry.holders.confirm("m", LONG["prefixes"], "slow", fleet.now)  # type: ignore[arg-type]
    return fleet


def ask(fleet: Fleet, **fields: object) -> Decision:
    return fleet.registry.choose_and_reserve(request(**LONG | fields), fleet.now)  # type: ignore[arg-type]


@pytest.mark.parametrize("cost_model", ["v1", "v2"])
def test_the_holder_is_chosen_and_the_decision_says_what_for(cost_model: Any) -> None:
    decision = ask(two_machines(structs.replace(POLICY, cost_model=cost_model)))
    assert decision.winner is not None
    assert decision.reservation is not None
    assert (decision.path, decision.reservation.session_id) == (ChoicePath.CACHED, "slow")
    assert decision.winner.terms.cached < 0
    assert decision.winner.terms.total == pytest.approx(decision.winner.cost, abs=1e-6)
    assert decision.reservation.cached_tokens == 3_600


@pytest.mark.parametrize(
    "fields",
    [
        {"prefixes": ()},
        {"prefixes": (PrefixKey(b"other", 3_600),)},
        {"excluded_sessions": frozenset({"slow"})},
        {"model": "n"},
        {"self_route": SelfRoute.EXCLUSIVE, "account_id": "owner"},
        {"allowed_serials": frozenset({"serial"})},
    ],
    ids=["no keys", "other keys", "excluded", "other build", "own machines", "allow-list"],
)
def test_nothing_is_credited_without_a_holder_that_may_be_asked(fields: dict[str, object]) -> None:
    decision = ask(two_machines(), **fields)
    assert decision.path is not ChoicePath.CACHED
    assert decision.reservation is None or decision.reservation.cached_tokens == 0


def test_the_longest_known_beginning_counts() -> None:
    fleet = two_machines()
    short, long = PrefixKey(b"short", 500), PrefixKey(b"long", 3_000)
    fleet.registry.holders.confirm("m", (short, long), "slow", fleet.now)
    found = ask(fleet, prefixes=(short, long, PrefixKey(b"longer", 3_900))).reservation
    assert found is not None
    assert found.cached_tokens == 3_000


def test_a_holder_that_is_gone_or_has_no_weights_any_more_is_forgotten() -> None:
    for change in ("gone", "evicted", "expired"):
        fleet = two_machines()
        if change == "gone":
            fleet.registry.disconnect("slow", fleet.now, graceful=True)
        elif change == "evicted":
            fleet.beat("slow", wire_slot(state="idle_shutdown"), seq=2)
        else:
            fleet.clock.now += fleet.registry.policy.cache_ttl
        assert ask(fleet).path is not ChoicePath.CACHED
        assert change == "expired" or len(fleet.registry.holders) == 0
        fleet.registry.holders.sweep(fleet.now)
        assert len(fleet.registry.holders) == 0


def test_a_holder_without_room_is_passed_over_and_kept() -> None:
    fleet = two_machines(active_token_budget_max=3_000)
    assert ask(fleet).path is not ChoicePath.CACHED
    assert len(fleet.registry.holders) == 1


SHORT_AND_LONG = (PrefixKey(b"short", 3_400), PrefixKey(b"long", 3_600))


@pytest.mark.parametrize("why", ["full", "excluded", "busier", "private", "late"])
def test_the_holder_of_a_shorter_beginning_steps_in_for_one_that_may_not_be_asked(why: str) -> None:
    fleet = two_machines(structs.replace(POLICY, ttft_hard_reject=why == "late"))
    fleet.connect("deep", message=register_message(decode_tps=50.0, private_only=why == "private"))
    room = 3_000 if why == "full" else 100_000
    running = 8 if why == "busier" else 0
    reads = 300.0 if why == "late" else 600.0
    speeds = {"observed_decode_tps": 50.0, "observed_prefill_tps": reads}
    fleet.beat("deep", wire_slot(active_token_budget_max=room, num_running=running, **speeds), seq=1)
    fleet.registry.holders.confirm("m", SHORT_AND_LONG, "deep", fleet.now)
    fleet.registry.holders.confirm("m", SHORT_AND_LONG[:1], "slow", fleet.now)
    excluded = frozenset({"deep"} if why == "excluded" else ())
    decision = ask(fleet, prefixes=SHORT_AND_LONG, excluded_sessions=excluded)
    assert decision.reservation is not None
    assert (decision.path, decision.reservation.session_id) == (ChoicePath.CACHED, "slow")
    assert decision.reservation.cached_tokens == 3_400


def test_a_holder_of_more_that_may_be_asked_is_not_passed_over_for_one_of_less() -> None:
    fleet = two_machines()
    fleet.connect("deep", message=register_message(decode_tps=50.0))
    fleet.beat("deep", wire_slot(active_token_budget_max=100_000, observed_decode_tps=50.0), seq=1)
    fleet.registry.holders.confirm("m", SHORT_AND_LONG, "deep", fleet.now)
    fleet.registry.holders.confirm("m", SHORT_AND_LONG[:1], "slow", fleet.now)
    found = ask(fleet, prefixes=SHORT_AND_LONG).reservation
    assert found is not None
    assert (found.session_id, found.cached_tokens) == ("deep", 3_600)


def test_a_failed_attempt_at_the_holder_goes_elsewhere() -> None:
    fleet = two_machines()
    again = ask(fleet, excluded_sessions=frozenset({"slow"}), attempt=2).reservation
    assert again is not None
    assert again.session_id == "fast"


@pytest.mark.parametrize(("running", "path"), [(4, ChoicePath.CACHED), (6, ChoicePath.UNIQUE_MIN)])
def test_a_holder_that_is_far_busier_is_passed_over_whatever_it_costs(running: int, path: ChoicePath) -> None:
    fleet = two_machines(num_running=running, observed_decode_tps=200 / (1 + 0.39 * running), observed_prefill_tps=600)
    assert ask(fleet).path is path


@pytest.mark.parametrize(
    ("prefixes", "delays"), [((), [8_000 - 1_000 * 4_000 / 720]), (LONG["prefixes"], [])], ids=["cold", "cached"]
)
def test_a_prompt_that_should_be_cached_says_nothing_of_the_delay_of_its_machine(
    monkeypatch: pytest.MonkeyPatch, prefixes: tuple[PrefixKey, ...], delays: list[float]
) -> None:
    """Had it lost its cache, the seconds of reading would count as its own."""
    fleet = two_machines()
    told: list[float] = []
    monkeypatch.setattr(fleet.registry.machines, "first_content", lambda _, milliseconds: told.append(milliseconds))
    found = ask(fleet, prefixes=prefixes).reservation
    assert found is not None
    found.mark_streaming(fleet.now + 8.0)
    assert told == pytest.approx(delays)


def test_a_holder_that_costs_more_all_the_same_is_passed_over() -> None:
    fleet = two_machines(structs.replace(POLICY, cache_max_ms=10.0), observed_decode_tps=20.0)
    assert ask(fleet).path is not ChoicePath.CACHED


def test_of_several_holders_the_cheapest_is_chosen() -> None:
    fleet = two_machines()
    fleet.registry.holders.confirm("m", LONG["prefixes"], "fast", fleet.now)  # type: ignore[arg-type]
    found = ask(fleet).reservation
    assert found is not None
    assert (found.session_id, found.cached_tokens) == ("fast", 3_600)


@pytest.mark.parametrize(
    ("occupancy", "than", "far"), [(4, 0, False), (5, 0, True), (12, 8, False), (13, 8, True), (30, 25, False)]
)
def test_far_busier_is_so_by_number_and_by_share(occupancy: int, than: int, far: bool) -> None:
    assert is_far_busier(occupancy, than) is far


# The worked example


def test_expected_delivery_with_cached_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    """Acceptance 5-m: 800 of 1,000 prompt tokens are cached on the machine of 5-k."""
    monkeypatch.setattr(price, "on_grid", lambda microseconds: microseconds)
    sums = LedgerSums(1, 500, unstarted=500)
    one = price_v2(slot(running=3), sums, Speed(90, 1_080), RoutingPolicy(), 0, 0)
    cost = one.total(1_000, 256)
    credit = credit_us(800, one.prompt, cost, RoutingPolicy())
    assert cost / 1000 == pytest.approx(11_780.444, abs=2e-3)
    assert (cost - credit) / 1000 == pytest.approx(10_298.963, abs=2e-3)
    first = one.state + one.queue + one.pending + 1_000 * one.prompt - credit
    assert first / 2_000 == pytest.approx(676.593, abs=2e-3)


def test_cost_v1_counts_the_saved_time_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(price, "per_token_us", lambda tps: 1_000_000 / tps)
    policy = RoutingPolicy(cost_model="v1")
    one = price_v1(slot(budget=(100_000, 0, 0)), LedgerSums(), 0, Speed(90, 1_080), policy, 0, 0)
    assert credit_us(800, one.prompt, 1e9, policy) / 1000 == pytest.approx(740.740, abs=2e-3)


@pytest.mark.parametrize(("cost_model", "weight"), [("v1", 1), ("v2", 2)])
def test_a_credit_is_bounded_in_time_and_in_share(cost_model: Any, weight: int) -> None:
    policy = RoutingPolicy(cost_model=cost_model, cache_max_ms=1_000, cache_max_fraction=0.35)
    assert credit_us(10**6, 1_000, 10**9, policy) == weight * 1_000_000
    assert credit_us(10**6, 1_000, 2_000_000, policy) == 700_000
    assert credit_us(0, 1_000, 2_000_000, policy) == 0


# Against a walk


class Watched(Affinity):
    """Remembers who was to be replaced, and by whom."""

    def __init__(self, fleet: Fleet) -> None:
        super().__init__(fleet.registry._sessions, fleet.registry.holders)
        self.winner: Found | None = None
        self.credit: Credit | None = None

    def better(self, winner: Found, *others: Any) -> Credit | None:
        self.winner = winner
        self.credit = super().better(winner, *others)
        return self.credit


def held_beginnings(fleet: Fleet, asked: RoutedRequest) -> list[tuple[int, list[str]]]:
    """Tokens and holders of the beginnings that live machines with the model in memory hold, the longest one first."""
    registry = fleet.registry
    found = []
    for key in reversed(asked.prefixes):
        names = []
        for name in registry.holders.of(asked.model, key, fleet.now):
            session = registry.session(name)
            offers = session is not None and asked.model in session.caps.models
            if session is not None and offers and session.slot(asked.model).state is SlotState.RESIDENT:
                names.append(name)
        found.append((key.tokens, names))
    return found


def full_price(fleet: Fleet, session: Session, asked: RoutedRequest) -> price.Price:
    context = fleet.registry._context
    faults = context.faults.pair(session.ident.stable_id, asked.model, fleet.now)
    speed = speed_of(session, asked.model, context)
    health = health_us(session.live, total_memory_gb(session))
    return price_of(session, session.slot(asked.model), asked.model, faults, context, speed, health)


def expected_holder(
    fleet: Fleet,
    asked: RoutedRequest,
    stage: list[Candidate],
    winner: tuple[int, int],
    held: list[tuple[int, list[str]]],
) -> tuple[str, int] | None:
    """Find the holder that takes the winner's place (cost, occupancy) by looking at everyone in full."""
    policy = fleet.registry.policy
    may_be_asked: dict[str, tuple[int, float]] = {}
    for one in stage:
        prices = full_price(fleet, one.session, asked)
        shut = one.session.caps.private_only or prices.open_backlog is not None
        if not shut and not is_far_busier(one.occupancy, winner[1]):
            may_be_asked[one.session.session_id] = (one.cost_us, prices.prompt)
    for tokens, names in held:
        best: tuple[int, str] | None = None
        usable = [name for name in names if name in may_be_asked]
        for name in usable:
            full, prompt = may_be_asked[name]
            credited = min(tokens, priced_tokens(asked, fleet.registry._context)[0])
            cost = full - credit_us(credited, prompt, full, policy)
            if cost <= winner[0] and (best is None or cost < best[0]):
                best = (cost, name)
        if usable:
            return None if best is None else (best[1], best[0])
    return None


def follows(fleet: Fleet, asked: RoutedRequest, draws: list[float]) -> bool:
    """Let the index choose, and compare with a walk what holders change of it; True where a holder was chosen."""
    registry = fleet.registry
    registry._index.advance(fleet.now)
    passed, _, _ = brute(fleet, asked)
    held = held_beginnings(fleet, asked)
    watched = registry._chooser._affinity = Watched(fleet)
    registry._chooser._random = Draws(*draws)
    decision = registry.choose_and_reserve(asked, fleet.now)
    if decision.winner is None or decision.reservation is None:
        assert not passed
        return False
    found, winner = None, watched.winner
    if winner is not None:
        stage = list(narrow(passed, asked, registry.policy))
        by_name = {one.session.session_id: one for one in stage}
        before = by_name[winner.session.session_id]
        assert before in near_ties(stage, expected=registry.policy.cost_model == "v2")
        found = expected_holder(fleet, asked, stage, (before.cost_us, before.occupancy), held)
        assert decision.winner.session.session_id == (found[0] if found else winner.session.session_id)
    assert (decision.path is ChoicePath.CACHED) == (found is not None)
    assert (decision.reservation.cached_tokens > 0) == (found is not None)
    assert decision.winner.terms.total == pytest.approx(decision.winner.cost, abs=1e-6)
    if found is not None:
        assert decision.winner.cost_us == found[1]
    decision.reservation.release(fleet.now)
    return found is not None


def crowd(random: Random, decisions: int) -> int:
    """Compare so many choices over one crowd in which prompts are held here and there; how often a holder won."""
    policy = RoutingPolicy(
        cost_model=random.choice(("v1", "v2")),
        quality_cap=random.random() < 0.5,
        ttft_hard_reject=random.random() < 0.2,
    )
    size = random.choice((4, 8, 30))
    play = Play(policy, size)
    for index in range(size):
        play.step("beat", index, [usual_slot(random)], 1)
    taken = 0
    for _ in range(decisions):
        what, index, number = random.choice(WHAT), random.randrange(size), random.randrange(4)
        play.step(what, index, [random.choice((usual_slot, random_slot))(random)], 1 if what == "beat" else number)
        for _ in range(random.randrange(3)):
            name, build = f"s{random.randrange(size)}", random.choice(("m", "m", "m", "n"))
            play.fleet.registry.holders.confirm(build, KEYS[: random.randrange(1, 4)], name, play.fleet.now)
        asked = request(
            10_000,
            model=random.choice(("m", "m", "m", "n")),
            prompt_tokens=random.choice((90, 700, 3_000, 20_000)),
            max_tokens=random.choice((16, 256, 1_000)),
            account_id=random.choice(("consumer", "consumer", "owner-4")),
            prefixes=KEYS[: random.randrange(1, 4)],
            excluded_sessions=random.choice((frozenset(), frozenset(), frozenset({"s0", "s3"}))),
            avoid_version=random.choice((None, None, "0.6.30")),
        )
        taken += follows(play.fleet, asked, [random.random() for _ in range(DRAWS + 2)])
    return taken


def test_the_index_follows_holders_as_a_walk_does_in_a_crowd() -> None:
    assert sum(crowd(Random(seed), 50) for seed in range(16)) > 100


@pytest.mark.nightly
@pytest.mark.parametrize("part", range(4))
def test_twenty_thousand_choices_beside_holders_agree(part: int) -> None:
    assert sum(crowd(Random(10_000 * (1 + part) + number), 100) for number in range(50)) > 500


confirmed = st.lists(
    st.tuples(st.sampled_from(NAMES), st.sampled_from(("m", "m", "n")), st.integers(1, 3)), min_size=1, max_size=8
)


@settings(max_examples=120, deadline=None)
@given(policies, steps, st.lists(asks, min_size=1, max_size=3), confirmed, DRAWN)
def test_the_index_follows_holders_as_a_walk_does(
    policy: RoutingPolicy,
    happenings: list[Any],
    asked: list[RoutedRequest],
    held: list[tuple[str, str, int]],
    draws: list[float],
) -> None:
    play = Play(policy)
    for happening in happenings:
        play.step(*happening)
    for name, build, depth in held:
        play.fleet.registry.holders.confirm(build, KEYS[:depth], name, play.fleet.now)
    for one in asked:
        for depth in (3, 1):
            follows(play.fleet, structs.replace(one, prefixes=KEYS[:depth]), draws)


@pytest.mark.parametrize("cost_model", ["v1", "v2"])
def test_the_comparison_with_a_walk_meets_holders(cost_model: Any) -> None:
    assert follows(two_machines(structs.replace(POLICY, cost_model=cost_model)), request(**LONG), [0.0] * 8)  # type: ignore[arg-type]
