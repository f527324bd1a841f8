"""What the coordinator says that is only noted: trust, runtime, and frames that we do not understand."""

import logging
import time
from collections.abc import Callable
from typing import Final

import native
from protocol.codec import FrameRejected
from protocol.messages.to_provider import RuntimeStatus, TrustStatus
from provider.link.status import LinkStatus
from provider.observe.events import ProviderEvent

log = logging.getLogger(__name__)

MAX_KNOWN_STRANGERS: Final = 64
MAX_MISMATCHES: Final = 16
WORD_CHARACTERS: Final = 64
REASON_CHARACTERS: Final = 256
TOKEN_REFUSED: Final = "token_refused"


class Heard:
    """Writes into the status of the link; tells changes once."""

    def __init__(
        self,
        status: LinkStatus,
        on_event: Callable[[ProviderEvent], None],
        *,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._status = status
        self._on_event = on_event
        self._wall_clock = wall_clock

    def trust(self, message: TrustStatus) -> None:
        """The coordinator judged this machine."""
        before, self._status.trust = self._status.trust, message
        self._status.trust_at = self._wall_clock()
        if before == message:
            return
        trusted = message.trust_level != "none" and message.status == "online"
        log.log(
            logging.INFO if trusted else logging.WARNING,
            "trust changed",
            extra={
                "level_now": message.trust_level[:WORD_CHARACTERS],
                "status": message.status[:WORD_CHARACTERS],
                "reason": message.reason[:REASON_CHARACTERS],
            },
        )
        if message.account == TOKEN_REFUSED and (before is None or before.account != TOKEN_REFUSED):
            log.warning(
                "The coordinator does not know this machine's token, or it was revoked: the machine earns nothing. "
                "Run `darkbloom logout`, then `darkbloom login`."
            )
        text = message.trust_level if trusted else message.reason
        self._on_event(ProviderEvent(kind="trusted" if trusted else "untrusted", text=text[:REASON_CHARACTERS]))

    def runtime(self, message: RuntimeStatus) -> None:
        """The coordinator compared our program with what it accepts."""
        before, self._status.runtime = self._status.runtime, message
        if before == message:
            return
        for mismatch in message.mismatches[:MAX_MISMATCHES]:
            log.warning(
                "runtime differs from what the coordinator accepts",
                extra={"component": mismatch.component[:WORD_CHARACTERS]},
            )
        if message.verified:
            log.info("runtime verified")

    def rejected(self, rejected: FrameRejected, payload: bytes) -> None:
        """A frame that we do not understand changes nothing."""
        name = rejected.message_type or rejected.kind
        if rejected.kind == "unknown" and (span := native.scan_type(payload)) is not None:
            name = payload[span[0] : min(span[1], span[0] + WORD_CHARACTERS)].decode("ascii", "replace")
        self.ignored(name)

    def ignored(self, name: str) -> None:
        """Count a frame by its type; each type is logged once."""
        ignored = self._status.frames_ignored
        if name not in ignored:
            if len(ignored) >= MAX_KNOWN_STRANGERS:
                name = "other"
            log.info("message ignored", extra={"type": name})
        ignored[name] = ignored.get(name, 0) + 1
