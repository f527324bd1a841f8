"""The rate limits of one inference request: what it was charged, what its answer shows, and what is given back."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from protocol.api.errors import ApiError
    from server.accounts import Identity
    from server.limits import Admission, RequestLimiter
    from server.relay import SettlementRecord


class RequestLimits:
    """`headers` grow with every limit that admitted the request; a refusal brings its own."""

    def __init__(self, limiter: RequestLimiter, identity: Identity) -> None:
        self._limiter = limiter
        self._identity = identity
        self._tokens: Admission | None = None
        self.headers: dict[str, str] = {}

    def count_request(self) -> None:
        """Charge one request, before its body is read; raises RateLimited."""
        self.headers.update(self._limiter.request(self._identity).headers)

    def count_tokens(self, *, prompt: int, output_bound: int) -> None:
        """Charge the estimated prompt and the bounded output; raises RateLimited."""
        self._tokens = self._limiter.tokens(self._identity, prompt=prompt, output_bound=output_bound)
        self.headers.update(self._tokens.headers)

    def settle(self, record: SettlementRecord) -> None:
        """Replace the charged bound by what was produced; nothing for a request that is not charged."""
        if self._tokens is not None:
            produced = record.usage.completion_tokens if record.usage is not None else 0
            self._limiter.reconcile(self._tokens, produced=produced)
            self._tokens = None

    def shown_on(self, error: ApiError) -> ApiError:
        """Give an error the headers of the limits that had admitted the request."""
        own = {name.lower() for name, _ in error.headers()}
        error.also = tuple(one for one in self.headers.items() if one[0].lower() not in own)
        return error
