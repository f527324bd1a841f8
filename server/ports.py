"""The seams between the provider link, the relay and the registry: small interfaces, no sockets.

Invariant: an attempt that was attached gets exactly one terminal call, or none at all after its owner detached it.
Invariant: every sink call is synchronous, comes from the link's reader in frame order, and neither blocks nor raises.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping

    from native import SpliceTemplate, Spout
    from protocol.failure import AttemptFailure
    from protocol.messages.from_provider import Heartbeat, InferenceComplete, LoadModelStatus, ModelsUpdate, Register
    from protocol.sealing import WipeableKey

TrustLevel: TypeAlias = Literal["none", "self_signed", "hardware"]
UntrustKind: TypeAlias = Literal["hard", "transient"]


class ChannelError(Exception):
    """A request frame did not reach the provider; `frame_started` tells whether any byte of it may have left.

    A frame that never started says nothing about the provider: try another one. A started one excludes this provider
    for the request.
    """

    def __init__(self, text: str, *, frame_started: bool = False) -> None:
        """Keep the sentence for the log and the flag for the dispatcher."""
        super().__init__(text)
        self.frame_started = frame_started


class LaneFull(ChannelError):
    """The lane holds its full number of frames, or a second frame above 1 MiB; nothing was queued."""


class WriterStopped(ChannelError):
    """The connection is closing or gone; nothing was queued."""


class WriteTimeout(ChannelError):
    """A frame passed its write deadline and the connection was aborted."""


class WriteFailed(ChannelError):
    """The socket failed while a frame was being written, or while this one waited behind it."""


class RequestWithdrawn(ChannelError):
    """The frame was taken back while it was queued: by `cancel`, or because the provider lost its trust."""


class AttemptSink(Protocol):
    """What one attempt hears of its provider.

    Terminal calls are `on_complete`, `on_error`, `on_violation`, `on_bad_text` and `on_gone`. They come after the id
    left the pending table and its key was wiped.
    """

    request_id: str

    def on_run(self, ready: bytes, deltas: int, text_bytes: int) -> None:
        """Take spliced output (ready SSE bytes) that holds `deltas` content deltas with `text_bytes` of UTF-8 text."""

    def on_stuck(self) -> None:
        """Learn that the attempt's spout is stuck: the consumer's socket did not take a whole run."""

    def on_opened(self, plaintext: bytes) -> None:
        """Take one opened chunk, valid UTF-8, that the pump did not splice."""

    def on_opaque(self, ct: bytes) -> None:
        """Take the base64 text of one chunk of an attempt that was attached as opaque."""

    def on_accepted(self) -> None:
        """Learn that the provider took the request and first loads the model."""

    def on_complete(self, complete: InferenceComplete) -> None:
        """End with success (terminal)."""

    def on_error(self, failure: AttemptFailure) -> None:
        """End with the provider's sanitised failure (terminal)."""

    def on_violation(self, rule: str) -> None:
        """End because a chunk broke the encryption rules; the provider has lost its trust (terminal)."""

    def on_bad_text(self) -> None:
        """End because a chunk opened to text that is not UTF-8 (terminal)."""

    def on_gone(self, failure: AttemptFailure) -> None:
        """End because the connection went away (terminal)."""


class ProviderChannel(Protocol):
    """One live provider connection as the relay sees it."""

    session_id: str
    public_key: bytes
    """The provider's registered X25519 key, 32 bytes; empty when it registered none (never routable then)."""

    def attach(self, sink: AttemptSink, shared: WipeableKey, *, opaque: bool = False) -> None:
        """Enter the attempt in the pending table; from here on the channel owns `shared` and wipes it.

        Raises `WriterStopped` when the connection is closing (`shared` is wiped then too) and `ValueError` when the id
        is attached already.
        """

    def detach(self, request_id: str) -> bool:
        """Take the attempt out and wipe its key; True when it was pending, and then no terminal call follows."""

    def set_template(self, request_id: str, template: SpliceTemplate | None) -> None:
        """Let the pump splice the common chunk of an attached attempt; an unknown id is ignored."""

    def set_spout(self, request_id: str, spout: Spout | None) -> None:
        """Let the pump write the runs of an attached attempt through a spout; an unknown id is ignored.

        While the spout is open there is no `on_run` for them; it counts what passed.
        """

    async def send_request(self, request_id: str, frame: bytes) -> None:
        """Write one `inference_request` (JSON text) and return when the kernel has taken all of it.

        Raises a `ChannelError`. Cancelled while queued: the frame is withdrawn. Cancelled while it is being written:
        the write goes on and the call returns its real result.
        """

    def cancel(self, request_id: str) -> None:
        """Tell the provider to stop, on the control lane, without waiting.

        A request that is still queued is withdrawn instead, and one that was never sent gets no frame. The id stays
        attached: a parked attempt still hears its completion. Call it before or after `detach`.
        """

    def challenge_soon(self) -> None:
        """Ask the provider for a proof of its trust now instead of at the next interval."""

    def load_model(self, model: str) -> None:
        """Ask the provider to load a model, on the control lane, without waiting; it answers with its progress."""

    def abort(self, code: int, reason: str) -> None:
        """Close the connection; all its attempts hear `on_gone`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Posture:
    """What a machine said of itself in its signed blob; `se_public_key` is the key that signed it (base64)."""

    se_public_key: str
    secure_enclave: bool = False
    sip_enabled: bool = False
    secure_boot_enabled: bool = False
    authenticated_root_enabled: bool = False
    system_volume_hash: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustState:
    """All that routing needs to know of a session's trust; a new value replaces the old one as a whole.

    Times are seconds of trio's clock. `epoch` grows at each loss of trust, so that a grant that started before is
    recognised as stale. `private_text` is the whole verdict on private text.
    """

    level: TrustLevel = "none"
    untrusted: UntrustKind | None = None
    verified_at: float | None = None
    attested: bool = False
    runtime_verified: bool = False
    runtime_manifest_checked: bool = False
    challenge_verified_sip: bool = False
    private_text: bool = False
    dev: bool = False
    admitted: bool = False
    """False until the first challenge passed: before, the session may be a newcomer that claims a connected device."""
    epoch: int = 0
    model_hashes: Mapping[str, str] = field(default_factory=dict)
    """Weight hashes that the last signed status confirmed, by model id."""
    posture: Posture | None = None
    """None unless the blob of the registration is valid."""


class SessionRegistry(Protocol):
    """What the provider link tells the registry; every call is synchronous and `now` is trio's clock."""

    def register(
        self,
        *,
        session_id: str,
        message: Register,
        channel: ProviderChannel,
        stable_id: str,
        account_id: str | None,
        trust: TrustState,
        now: float,
    ) -> object:
        """Enter a session; the channel knows the checked key (`channel.public_key`)."""

    def heartbeat(self, session_id: str, message: Heartbeat, now: float) -> object:
        """Apply one heartbeat."""

    def models_update(self, session_id: str, message: ModelsUpdate, now: float) -> object:
        """Replace the advertised models."""

    def load_model_status(self, session_id: str, message: LoadModelStatus, now: float) -> object:
        """Apply the progress of a load that this coordinator asked for."""

    def set_trust(self, session_id: str, trust: TrustState, now: float) -> object:
        """Replace the trust part of a session."""

    def mark_draining(self, session_id: str, now: float) -> object:
        """Route nothing new to a provider that announced its leave."""

    def disconnect(self, session_id: str, now: float, *, graceful: bool) -> object:
        """Forget a session; an unknown id is ignored."""
