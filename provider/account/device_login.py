"""The course of a log-in, after RFC 8628: get a code, show it, and ask until the person has decided or time is up.

What may pass (429, 5xx, a broken network) makes the questions rarer, never ends them before the code does.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import trio

from provider.account.door import CodeAnswer, CoordinatorDoor, DoorFailed, PollAnswer, Refusal, fit_for_terminal
from provider.account.token_file import is_token

MIN_INTERVAL_SECONDS: Final = 1.0
MAX_PAUSE_SECONDS: Final = 60.0
SLOW_DOWN_SECONDS: Final = 5.0
MAX_LIFE_SECONDS: Final = 3600.0
_MAX_DOUBLINGS: Final = 6


class LoginFailed(Exception):
    """The log-in ended without a token; the text is a sentence for the person."""


@dataclass(frozen=True, slots=True)
class UserCode:
    """What the person needs: where to go and what to type."""

    user_code: str
    verification_uri: str
    verification_uri_complete: str
    expires_in_seconds: float


@dataclass(frozen=True, slots=True)
class Linked:
    """A machine that belongs to an account now."""

    token: str = field(repr=False)
    account_id: str


async def log_in(door: CoordinatorDoor, *, client_label: str, chip: str, show: Callable[[UserCode], None]) -> Linked:
    """Log this machine in; `show` is called once, before the wait. Raises `LoginFailed`.

    Waits for the person, at most as long as the code lives. When cancelled, the code is left to expire.
    """
    code = await _request_code(door, client_label, chip)
    lives = min(float(code.expires_in), MAX_LIFE_SECONDS)
    deadline = trio.current_time() + lives
    shown = UserCode(
        fit_for_terminal(code.user_code),
        fit_for_terminal(code.verification_uri),
        fit_for_terminal(code.verification_uri_complete),
        lives,
    )
    show(shown)
    pace = Pace(float(code.interval))
    while (left := deadline - trio.current_time()) > 0:
        await trio.sleep(min(pace.pause_seconds, left))
        try:
            found = await door.poll(code.device_code)
        except DoorFailed as failed:
            pace.troubled(str(failed))
            continue
        if isinstance(found, Refusal):
            if not found.may_pass:
                raise LoginFailed(found.text)
            pace.refused(found)
        elif (linked := _linked(found)) is not None:
            return linked
        else:
            pace.answered()
    raise LoginFailed(f"Nobody approved the code {shown.user_code} in time.{pace.last_trouble}")


class Pace:
    """How long to wait before the next question, in seconds."""

    def __init__(self, interval: float) -> None:
        self._interval = min(max(interval, MIN_INTERVAL_SECONDS), MAX_PAUSE_SECONDS)
        self._troubles = 0
        self._at_least = 0.0
        self._trouble = ""

    @property
    def pause_seconds(self) -> float:
        """The interval, doubled for each trouble in a row, and never under what the coordinator asked for."""
        doubled: float = self._interval * 2 ** min(self._troubles, _MAX_DOUBLINGS)
        return max(min(doubled, MAX_PAUSE_SECONDS), self._at_least)

    @property
    def last_trouble(self) -> str:
        """A sentence on what went wrong last, with a space before it; empty when the last answer was good."""
        return f" {self._trouble}" if self._trouble else ""

    def answered(self) -> None:
        """The coordinator said that the person has not decided yet."""
        self._troubles, self._at_least, self._trouble = 0, 0.0, ""

    def refused(self, refusal: Refusal) -> None:
        """The coordinator cannot or will not answer now; `slow_down` makes the interval longer for good."""
        if refusal.code == "slow_down":
            self.answered()
            self._interval = min(self._interval + SLOW_DOWN_SECONDS, MAX_PAUSE_SECONDS)
        else:
            self.troubled(refusal.text)
        self._at_least = refusal.retry_after_seconds

    def troubled(self, text: str) -> None:
        """No usable answer came."""
        self._troubles += 1
        self._at_least = 0.0
        self._trouble = text


async def _request_code(door: CoordinatorDoor, client_label: str, chip: str) -> CodeAnswer:
    try:
        found = await door.request_code(client_label=client_label, chip=chip)
    except DoorFailed as failed:
        raise LoginFailed(str(failed)) from None
    if isinstance(found, Refusal):
        raise LoginFailed(found.text)
    return found


def _linked(answer: PollAnswer) -> Linked | None:
    """Read a poll's answer; None while the person has not decided. Raises `LoginFailed`."""
    if answer.status == "authorization_pending":
        return None
    if answer.status != "authorized" or not is_token(answer.token):
        raise LoginFailed("The coordinator's answer is not understood; is this version of darkbloom too old for it?")
    return Linked(answer.token, fit_for_terminal(answer.account_id))
