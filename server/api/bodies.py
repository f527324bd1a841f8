"""What a provider gets of a request: one body per build, with the model's defaults and its rule for thinking."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from protocol.api import ChatRequest
    from server.api.target import ModelNames


class Bodies:
    """Serialised once per build; `think_on_request` makes every build think only when its caller asks for it."""

    def __init__(
        self, chat: ChatRequest, names: ModelNames, *, max_tokens: int, limit_bytes: int, think_on_request: bool
    ) -> None:
        self.chat = chat
        self._names = names
        self._max_tokens = max_tokens
        self._limit_bytes = limit_bytes
        self._think_on_request = think_on_request
        self._made: dict[str, bytes] = {}

    def for_build(self, build: str) -> bytes:
        """Raises ApiError 413 when the rewritten body passes the cap."""
        if build not in self._made:
            self._made[build] = self.chat.provider_body(
                build,
                self._max_tokens,
                limit_bytes=self._limit_bytes,
                defaults=self._names.defaults(build) | self._thinking(build),
            )
        return self._made[build]

    def become(self, chat: ChatRequest) -> None:
        """Make all bodies from another form of the request from now on."""
        self.chat = chat
        self._made.clear()

    def _thinking(self, build: str) -> dict[str, object]:
        """Say whether to think, for callers whose other words for it are lost on the way, as aggregators' are."""
        on_request = self._names.thinks_on_request(build) or (
            self._think_on_request and self._names.has_feature(build, "reasoning")
        )
        if not on_request or self.chat.has("reasoning"):
            return {}
        effort = self.chat.reasoning_effort.strip()
        return {"reasoning": {"enabled": bool(effort) and effort != "none"}}
