"""How clients behave: how long they wait for content, and what they do when they are told to come back later."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final

from msgspec import Meta, Struct

from server.sim.call import Ask

if TYPE_CHECKING:
    from random import Random

    from server.sim.call import Call
    from server.sim.coordinator import Coordinator
    from server.sim.tally import Tally
    from server.sim.trace import Arrival

RESEND_SECONDS: Final = 0.1
"""A round trip: what a client needs to send the same again at once."""


class Manners(Struct, frozen=True, kw_only=True):
    """One kind of client; times in seconds.

    `resend` is what it does with a 429 or 503: `obey` waits as told, `at_once` sends again without any pause, `never`
    gives up. It keeps trying until it has tried `tries` times or `patience` is over, and leaves when no content came
    within `patience` of its first try.
    """

    resend: str = "obey"
    tries: Annotated[int, Meta(ge=1, le=100_000)] = 5
    patience: Annotated[float, Meta(gt=0)] = 120.0


OBEDIENT: Final = Manners()
STUBBORN: Final = Manners(resend="at_once", tries=100_000, patience=60.0)
FICKLE: Final = Manners(resend="never", tries=1)


class Client:
    """One job: a request that its client wants answered, however often it has to send it."""

    __slots__ = (
        "_broken",
        "_call",
        "_coordinator",
        "_manners",
        "_over",
        "_random",
        "_tally",
        "arrival",
        "asked_at",
        "content_at",
        "number",
        "started_at",
        "tries",
    )

    def __init__(
        self, coordinator: Coordinator, tally: Tally, arrival: Arrival, number: int, manners: Manners, random: Random
    ) -> None:
        self.arrival = arrival
        self.number = number
        self.started_at = coordinator.kernel.now
        self.asked_at = self.started_at
        self.content_at: float | None = None
        self.tries = 0
        self._coordinator = coordinator
        self._tally = tally
        self._manners = manners
        self._random = random
        self._call: Call | None = None
        self._over = False

    def start(self) -> None:
        """Send the request for the first time, and be patient for as long as this client is."""
        self._coordinator.kernel.after(self._manners.patience, self._out_of_patience)
        self._ask()

    def _ask(self) -> None:
        if self._over:
            return
        self.tries += 1
        self.asked_at = self._coordinator.kernel.now
        self._coordinator.journal.note("ask", self.number, self.tries)
        call = self._coordinator.submit(Ask(job=self.number, arrival=self.arrival, asker=self))
        if not self._over:
            self._call = call

    def _out_of_patience(self) -> None:
        if self.content_at is None and not self._over:
            if self._call is not None:
                self._call.leave()
            self._coordinator.journal.note("left", self.number)
            self._end("left")

    # What the coordinator tells

    def on_content(self) -> None:
        """The first content arrived."""
        self.content_at = self._coordinator.kernel.now

    def on_done(self, tokens: int) -> None:
        """The answer is complete."""
        self._tally.answered(self, tokens, self._coordinator.kernel.now)
        self._over = True

    def on_broken(self) -> None:
        """The answer broke off."""
        self._end("broken")

    def on_refused(self, status: int, reason: str, retry_after_ms: int | None) -> None:
        """There is no answer: come back, or give up."""
        self._tally.refused(status, reason)
        manners, now = self._manners, self._coordinator.kernel.now
        wait = RESEND_SECONDS
        if manners.resend == "obey":
            wait = (retry_after_ms if retry_after_ms is not None else 1_000) / 1000 + self._random.uniform(0.0, 0.2)
        hopeless = status not in (429, 502, 503, 504) or manners.resend == "never" or self.tries >= manners.tries
        if hopeless or now + wait >= self.started_at + manners.patience:
            self._end(reason)
            return
        self._call = None
        self._coordinator.kernel.after(wait, self._ask)

    def _end(self, why: str) -> None:
        if not self._over:
            self._over = True
            self._tally.gave_up(self, why, self._coordinator.kernel.now)
