"""The life of one attempt: every state with every event, and long random lives."""

from __future__ import annotations

from random import Random

import pytest

from server.relay.attempt_state import BEFORE_COMMIT, TERMINAL, Effect, Event, Phase, advance

E, P, F = Event, Phase, Effect
EARLY = {
    E.SEND_FAILED: (P.DONE, (F.RELEASE, F.DETACH, F.RETRY)),
    E.CONTENT: (P.COMMITTED, (F.COMMIT,)),
    E.COMPLETED: (P.DONE, (F.COMMIT, F.RELEASE, F.FINISH)),
    E.FAILED: (P.DONE, (F.RELEASE, F.RETRY)),
    E.CLOCK: (P.DONE, (F.RELEASE, F.DETACH, F.CANCEL, F.RETRY)),
    E.CUT: (P.DONE, (F.RELEASE, F.DETACH, F.CANCEL, F.RETRY)),
    E.CONSUMER_GONE: (P.DONE, (F.RELEASE, F.DETACH, F.CANCEL, F.ABANDON)),
    E.SHUTDOWN: (P.DONE, (F.RELEASE, F.DETACH, F.CANCEL, F.ABANDON)),
    E.LOST: (P.DONE, (F.RELEASE, F.DETACH, F.CANCEL, F.LOSE)),
}
TABLE: dict[tuple[Phase, Event], tuple[Phase, tuple[Effect, ...]]] = {
    **{(phase, event): step for phase in BEFORE_COMMIT for event, step in EARLY.items()},
    (P.RESERVED, E.SENT): (P.SENT, ()),
    (P.RESERVED, E.ACCEPTED): (P.ACCEPTED, ()),
    (P.RESERVED, E.PREAMBLE): (P.STREAMING, ()),
    (P.SENT, E.ACCEPTED): (P.ACCEPTED, ()),
    (P.SENT, E.PREAMBLE): (P.STREAMING, ()),
    (P.ACCEPTED, E.PREAMBLE): (P.STREAMING, ()),
    (P.COMMITTED, E.COMPLETED): (P.DONE, (F.RELEASE, F.FINISH)),
    (P.COMMITTED, E.FAILED): (P.DONE, (F.RELEASE, F.BREAK)),
    (P.COMMITTED, E.CUT): (P.DONE, (F.RELEASE, F.DETACH, F.CANCEL, F.BREAK)),
    (P.COMMITTED, E.CONSUMER_GONE): (P.PARKED, (F.RELEASE, F.CANCEL, F.PARK)),
    (P.COMMITTED, E.OVERFLOW): (P.PARKED, (F.RELEASE, F.CANCEL, F.PARK)),
    (P.COMMITTED, E.SHUTDOWN): (P.DONE, (F.RELEASE, F.DETACH, F.CANCEL, F.BREAK)),
    (P.PARKED, E.COMPLETED): (P.DONE, (F.SETTLE_LATE,)),
    (P.PARKED, E.FAILED): (P.DONE, (F.EXPIRE,)),
    (P.PARKED, E.PARK_EXPIRED): (P.DONE, (F.DETACH, F.EXPIRE)),
    (P.PARKED, E.SHUTDOWN): (P.DONE, (F.DETACH, F.EXPIRE)),
}


@pytest.mark.parametrize("phase", list(Phase))
@pytest.mark.parametrize("event", list(Event))
def test_every_state_with_every_event(phase: Phase, event: Event) -> None:
    assert advance(phase, event) == TABLE.get((phase, event), (phase, ()))


def live(events: list[Event]) -> tuple[Phase, list[Effect]]:
    phase, effects = Phase.RESERVED, []
    for event in events:
        phase, more = advance(phase, event)
        effects += more
    return phase, effects


def test_a_thousand_random_lives() -> None:
    random = Random(20)
    for _ in range(1000):
        events = random.choices(list(Event), k=random.randrange(1, 20))
        # Whatever happened, a shutdown ends it.
        phase, effects = live([*events, Event.SHUTDOWN])
        assert phase is Phase.DONE
        assert sum(effect in TERMINAL for effect in effects) == 1
        assert effects.count(Effect.RELEASE) == 1
        assert effects.count(Effect.CANCEL) <= 1
        assert effects.count(Effect.DETACH) <= 1
        assert effects.count(Effect.COMMIT) <= 1
        if Effect.CANCEL in effects:
            assert effects.index(Effect.RELEASE) < effects.index(Effect.CANCEL)
        if effects[-1] in (Effect.FINISH, Effect.BREAK, Effect.SETTLE_LATE, Effect.EXPIRE):
            assert Effect.COMMIT in effects
        else:
            assert Effect.COMMIT not in effects


def test_a_terminal_of_the_provider_gets_no_cancel() -> None:
    for phase in Phase:
        for event in (Event.COMPLETED, Event.FAILED):
            assert Effect.CANCEL not in advance(phase, event)[1]
