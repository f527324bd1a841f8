"""The trust of one provider session: judges what it sends, and has its connection perform what follows.

Invariant: this object is the only writer of the session's `TrustState`.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Protocol

from protocol.challenge import ChallengePolicy, ChallengeVerdict, Expectation, check_reply
from protocol.p256 import parse_p256_public
from server.ports import Posture, TrustState
from server.trust.effects import Disconnect, Effect, Publish, Send, SendChallenge, Supersede, WithdrawRequests
from server.trust.gate import PrivacyFacts
from server.trust.machine import Judgement, Outstanding, TrustMachine
from server.trust.runtime import compare_runtime

if TYPE_CHECKING:
    from collections.abc import Iterable

    from protocol.attestation import BlobVerdict
    from protocol.messages.from_provider import AttestationResponse, ModelEntry, Register
    from protocol.messages.to_provider import AttestationChallenge, RuntimeStatus, TrustStatus
    from server.link.meter import LinkEvent
    from server.ports import TrustLevel
    from server.trust.desk import TrustDesk
    from server.trust.reasons import AccountStanding

_log = logging.getLogger("darkbloom.trust")


class TrustPort(Protocol):
    """What trust needs of a connection; every call is synchronous."""

    session_id: str

    def trust_changed(self, state: TrustState) -> None:
        """Write the new state into the registry, and hold requests back while there is no trust."""

    def send(self, message: TrustStatus | RuntimeStatus) -> None:
        """Send a status message; a full lane drops it."""

    def send_challenge(self, message: AttestationChallenge) -> None:
        """Send a challenge and report `written` or `unwritten` to this object."""

    def withdraw_requests(self) -> None:
        """Take back the requests that are queued."""

    def proved(self, device_id: str) -> bool:
        """Learn that the device passed its first challenge; False when the connection must end because of that."""

    def replaced(self) -> None:
        """Close, because the device proved itself on a newer connection."""

    def close(self, code: int, reason: str) -> None:
        """Close the connection."""

    def count(self, event: LinkEvent) -> None:
        """Count one event."""


class SessionTrust:
    """Registration verdict, challenges and level of one session; times are seconds of trio's clock."""

    __slots__ = (
        "_binary_hash",
        "_desk",
        "_device",
        "_key_text",
        "_machine",
        "_metallib_hash",
        "_mismatches",
        "_models",
        "_port",
        "verdict",
    )

    def __init__(
        self,
        desk: TrustDesk,
        port: TrustPort,
        message: Register,
        public_key: bytes,
        registration_nonce: str,
        now: float,
    ) -> None:
        """Judge a registration whose K was checked: `public_key` is empty when it is absent or unusable."""
        verdict = desk.verify(message, registration_nonce, has_key=bool(public_key))
        mismatches = compare_runtime(desk.policy.manifest, message)
        self._desk = desk
        self._port = port
        self._device = parse_p256_public(verdict.signing_key) if verdict.valid else None
        self._key_text = message.public_key if public_key else ""
        self._mismatches = mismatches
        self._binary_hash = verdict.blob.binary_hash if verdict.blob is not None else ""
        self._metallib_hash = verdict.blob.metallib_hash if verdict.blob is not None and verdict.valid else ""
        self._models = tuple(model.id for model in message.models)
        self.verdict: str = verdict.code
        privacy = PrivacyFacts(
            # A blob that failed binds no key: such a session never gets private text, whatever its challenges say.
            has_key=bool(public_key) and (verdict.valid or verdict.open_mode),
            backend=message.backend,
            encrypted_chunks=message.encrypted_response_chunks,
            capabilities=message.privacy_capabilities,
        )
        state = TrustState(
            level="self_signed" if verdict.valid else "none",
            attested=verdict.valid,
            verified_at=now if verdict.valid else None,
            runtime_verified=not mismatches,
            runtime_manifest_checked=not mismatches,
            dev=verdict.dev,
            posture=_posture(verdict),
        )
        self._machine = TrustMachine(desk.policy, privacy, state, now)

    @property
    def state(self) -> TrustState:
        """The present trust."""
        return self._machine.state

    @property
    def device_id(self) -> str | None:
        """The stable id of the device, `sekey:` and the hex of its signing key; None without a valid blob."""
        return None if self._device is None else f"sekey:{self._device.hex()}"

    @property
    def due(self) -> float:
        """The next moment at which `tick` has something to do."""
        return self._machine.due

    def begin(self, account: AccountStanding = "") -> None:
        """Tell the provider the outcome of its registration, and take its place among the device's sessions."""
        if self._device is not None:
            self._desk.devices.join(self._device, self)
        code = "se_verified" if self.verdict == "ok" else self.verdict
        self._perform(self._machine.registered(code, self._mismatches, account))

    def advertised(self, models: Iterable[ModelEntry]) -> None:
        """Note a new inventory: the next challenge compares the hashes of these models."""
        self._models = tuple(model.id for model in models)

    def tick(self, now: float) -> None:
        """Count an unanswered challenge, issue the next one."""
        machine = self._machine
        if now < machine.due:
            return
        if machine.outstanding is not None:
            self._port.count("challenge_timeout")
            self._perform(machine.expire())
        if machine.outstanding is None and now >= machine.due:
            self._perform(machine.challenge(self._desk.new_challenge(), now + self._desk.interval()))

    def hasten(self, now: float) -> None:
        """Have the next challenge due at once, or after the answer that is awaited."""
        self._machine.hasten(now)

    def written(self, nonce: str, now: float) -> None:
        """Start the answer's clock."""
        self._machine.written(nonce, now)

    def unwritten(self, nonce: str, now: float) -> None:
        """Forget a challenge that could not be sent."""
        self._machine.unwritten(nonce, now)

    def answered(self, reply: AttestationResponse, now: float) -> None:
        """Judge an answer; one with an unknown nonce is ignored."""
        outstanding = self._machine.take(reply.nonce)
        if outstanding is None:
            self._port.count("challenge_unknown_nonce")
            return
        verdict = check_reply(reply, self._expectation(outstanding), self._challenge_policy())
        self._port.count("challenge_passed" if verdict.ok else "challenge_failed")
        if not verdict.ok:
            _log.warning("challenge_failed", extra={"session": self._port.session_id, "code": verdict.code})
        self._perform(self._machine.judge(self._judgement(verdict, reply), now))

    def token_refused(self) -> None:
        """Tell the provider that the token which linked it was revoked."""
        self._perform(self._machine.token_refused())

    def untrust(self, code: str) -> None:
        """Lose trust for good; `code` is a reason of `trust_status`."""
        self._perform(self._machine.untrust(code))

    def grant(self, level: TrustLevel, epoch: int, code: str) -> None:
        """Raise the level on evidence that was asked for at `epoch`; dropped when trust was lost since."""
        self._perform(self._machine.grant(level, epoch, code))

    def leave(self) -> None:
        """Give up the place among the device's sessions; the connection ends."""
        if self._device is not None:
            self._desk.devices.leave(self._device, self)

    def _challenge_policy(self) -> ChallengePolicy:
        policy = self._desk.policy
        return ChallengePolicy(require_status_signature=policy.require_status_signature, rdma=policy.rdma)

    def _expectation(self, outstanding: Outstanding) -> Expectation:
        return Expectation(
            nonce=outstanding.nonce,
            timestamp=outstanding.timestamp,
            public_key=self._key_text,
            signing_key=self._device,
            dev=self.state.dev,
            registered_binary_hash=self._binary_hash,
            catalog_hashes=self._catalog_hashes(),
            metallib_hash=self._metallib_hash,
        )

    def _catalog_hashes(self) -> dict[str, str]:
        expected = ((model, self._desk.catalog_hash(model)) for model in self._models)
        return {model: known for model, known in expected if known}

    def _judgement(self, verdict: ChallengeVerdict, reply: AttestationResponse) -> Judgement:
        if not verdict.ok:
            return Judgement(outcome="untrust" if verdict.untrust else "fail", code=verdict.code)
        return Judgement(
            outcome="pass",
            code=verdict.code,
            signed=verdict.posture_signed,
            model_hashes={
                model: reply.model_hashes.get(model, reply.active_model_hash) for model in verdict.verified_models
            },
            mismatches=compare_runtime(self._desk.policy.manifest, reply),
        )

    def _perform(self, effects: list[Effect]) -> None:
        port = self._port
        for effect in effects:
            match effect:
                case Publish(state):
                    port.trust_changed(state)
                case Send(message):
                    port.send(message)
                case SendChallenge(message):
                    port.send_challenge(message)
                case WithdrawRequests():
                    port.count("untrusted")
                    _log.warning("provider_untrusted", extra={"session": port.session_id})
                    port.withdraw_requests()
                case Supersede():
                    self._supersede()
                case Disconnect(code, reason):
                    port.close(code, reason)

    def _supersede(self) -> None:
        if self._device is not None and self.device_id is not None and self._port.proved(self.device_id):
            for older in self._desk.devices.older(self._device, self):
                older._port.replaced()  # noqa: SLF001 - another object of this very class


def _posture(verdict: BlobVerdict) -> Posture | None:
    """What a valid blob says of its machine; the public may know it."""
    blob = verdict.blob
    if blob is None or not verdict.valid:
        return None
    return Posture(
        se_public_key=verdict.signing_key,
        secure_enclave=blob.secure_enclave_available,
        sip_enabled=blob.sip_enabled,
        secure_boot_enabled=blob.secure_boot_enabled,
        authenticated_root_enabled=blob.authenticated_root_enabled,
        system_volume_hash=blob.system_volume_hash,
    )
