"""The trust of one session as a state machine: registration, challenges, loss of trust, recovery.

Each event is a method that returns the effects for the session to perform; no clock, no sockets, no randomness here.

Invariant: a hard loss of trust is final for the connection: no challenge follows and no event raises the level again.
Invariant: at most one challenge is outstanding, and its nonce is used once.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

from protocol.messages.to_provider import AttestationChallenge, Mismatch, RuntimeStatus, TrustStatus
from server.ports import TrustState
from server.trust.effects import Disconnect, Effect, Publish, Send, SendChallenge, Supersede, WithdrawRequests
from server.trust.reasons import reason_text

if TYPE_CHECKING:
    from collections.abc import Mapping

    from server.ports import TrustLevel
    from server.trust.gate import PrivacyFacts
    from server.trust.policy import TrustPolicy
    from server.trust.reasons import AccountStanding

NEVER = float("inf")
UNRESPONSIVE = "attestation unresponsive"


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """What one answer to a challenge proved.

    `untrust` ends trust at once, `fail` counts towards it, `pass` proves the device alive. `model_hashes` are those
    that a signed status confirmed; `mismatches` come from the runtime manifest and neither fail nor pass.
    """

    outcome: Literal["pass", "fail", "untrust"]
    code: str
    signed: bool = False
    """Whether a signature covers the posture; an unsigned one never counts in favour."""
    model_hashes: Mapping[str, str] = field(default_factory=dict)
    mismatches: tuple[Mismatch, ...] = ()


@dataclass(slots=True)
class Outstanding:
    """A challenge without an answer; `expires_at` is infinite until its frame was written."""

    nonce: str
    timestamp: str
    expires_at: float = NEVER


class TrustMachine:
    """Level, freshness and failure counts of one session; times are seconds of trio's clock."""

    __slots__ = (
        "_account",
        "_code",
        "_failures",
        "_hard_streak",
        "_passed_once",
        "_policy",
        "_privacy",
        "_timeouts",
        "next_challenge_at",
        "outstanding",
        "state",
    )

    def __init__(self, policy: TrustPolicy, privacy: PrivacyFacts, state: TrustState, now: float) -> None:
        """Begin with what registration found; the first challenge is due at once."""
        self._policy = policy
        self._privacy = privacy
        self.state = state
        self.outstanding: Outstanding | None = None
        self.next_challenge_at = now
        self._account: AccountStanding = ""
        self._code = ""
        self._failures = 0
        self._timeouts = 0
        self._hard_streak = False
        self._passed_once = False

    @property
    def due(self) -> float:
        """The next moment at which `tick` has something to do."""
        if self.state.untrusted == "hard":
            return NEVER
        return self.next_challenge_at if self.outstanding is None else self.outstanding.expires_at

    def registered(self, code: str, mismatches: tuple[Mismatch, ...], account: AccountStanding = "") -> list[Effect]:
        """Report the registration outcome: `code` is the attestation verdict."""
        self._account = account
        effects: list[Effect] = [self._status(code)]
        if mismatches:
            effects.append(Send(RuntimeStatus(verified=False, mismatches=mismatches)))
        return effects

    def token_refused(self) -> list[Effect]:
        """Say that the token that linked the machine counts no longer; its trust is as it was."""
        self._account = "token_refused"
        return [self._status(self._code)]

    def challenge(self, message: AttestationChallenge, next_at: float) -> list[Effect]:
        """Issue a challenge; the one after it is due at `next_at`."""
        self.outstanding = Outstanding(message.nonce, message.timestamp)
        self.next_challenge_at = next_at
        return [SendChallenge(message)]

    def hasten(self, now: float) -> None:
        """Have the next challenge due at once; while one is outstanding, as soon as it is answered."""
        self.next_challenge_at = min(self.next_challenge_at, now)

    def written(self, nonce: str, now: float) -> None:
        """Start the answer's clock: the challenge is on the wire."""
        if self.outstanding is not None and self.outstanding.nonce == nonce:
            self.outstanding.expires_at = now + self._policy.challenge_timeout

    def unwritten(self, nonce: str, now: float) -> None:
        """Forget a challenge that could not be sent: that is no failure of the provider; try again later."""
        if self.outstanding is not None and self.outstanding.nonce == nonce:
            self.outstanding = None
            self.next_challenge_at = now + self._policy.challenge_timeout

    def take(self, nonce: str) -> Outstanding | None:
        """Take the outstanding challenge if this is its nonce; None for an unknown, late or repeated answer."""
        outstanding = self.outstanding
        if outstanding is None or outstanding.nonce != nonce:
            return None
        self.outstanding = None
        return outstanding

    def expire(self) -> list[Effect]:
        """Count the outstanding challenge as unanswered; freshness is left to age by itself."""
        self.outstanding = None
        self._timeouts += 1
        self._failures += 1
        if self._timeouts >= self._policy.timeouts_to_close:
            return [Disconnect(1008, UNRESPONSIVE)]
        return self._after_failure()

    def judge(self, judgement: Judgement, now: float) -> list[Effect]:
        """Apply the result of an answer whose challenge was taken."""
        if self.state.untrusted == "hard":
            return []
        self._timeouts = 0
        if judgement.outcome == "untrust":
            return self.untrust(judgement.code)
        if judgement.outcome == "fail":
            self._failures += 1
            self._hard_streak = True
            stale = self._change(verified_at=None, challenge_verified_sip=False)
            return [*stale, *self._after_failure()]
        if judgement.mismatches:
            unverified = self._change(runtime_verified=False, runtime_manifest_checked=False)
            return [*unverified, Send(RuntimeStatus(verified=False, mismatches=judgement.mismatches))]
        return self._passed(judgement, now)

    def untrust(self, code: str) -> list[Effect]:
        """Lose trust for good."""
        if self.state.untrusted == "hard":
            return []
        self.outstanding = None
        lost = self._change(
            level="none",
            untrusted="hard",
            verified_at=None,
            challenge_verified_sip=False,
            epoch=self.state.epoch + 1,
        )
        return [*lost, WithdrawRequests(), self._status(code)]

    def grant(self, level: TrustLevel, epoch: int, code: str) -> list[Effect]:
        """Raise the level; evidence for a development attestation is dropped, and so is evidence of an older epoch."""
        state = self.state
        if epoch != state.epoch or state.untrusted is not None or state.dev or not state.attested:
            return []
        return [*self._change(level=level), self._status(code)]

    def _passed(self, judgement: Judgement, now: float) -> list[Effect]:
        recovered = self.state.untrusted == "transient"
        self._failures = 0
        self._hard_streak = False
        effects: list[Effect] = []
        if not self._passed_once:
            self._passed_once = True
            effects.append(Supersede())
        effects += self._change(
            untrusted=None,
            admitted=True,
            verified_at=now,
            challenge_verified_sip=judgement.signed,
            runtime_verified=True,
            runtime_manifest_checked=True,
            model_hashes=judgement.model_hashes,
        )
        if recovered:
            effects.append(self._status("recovered"))
        return effects

    def _after_failure(self) -> list[Effect]:
        if self._failures < self._policy.failures_to_untrust:
            return []
        if self._hard_streak:
            return self.untrust("challenge_failed")
        if self.state.untrusted is not None:
            return []
        lost = self._change(untrusted="transient", epoch=self.state.epoch + 1)
        return [*lost, WithdrawRequests(), self._status("challenge_timeout")]

    def _change(self, **changes: object) -> list[Effect]:
        state = replace(self.state, **changes)  # type: ignore[arg-type]
        private_text = (
            self._privacy.eligible(self._policy, dev=state.dev)
            and state.runtime_manifest_checked
            and state.challenge_verified_sip
            and state.untrusted != "hard"
        )
        self.state = replace(state, private_text=private_text)
        return [Publish(self.state)]

    def _status(self, code: str) -> Send:
        self._code = code
        status = "online" if self.state.untrusted is None else "untrusted"
        reason = reason_text(code, self._account)
        return Send(TrustStatus(trust_level=self.state.level, status=status, reason=reason, account=self._account))
