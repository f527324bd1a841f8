"""What the API hands to the relay, and what it gets back."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal, Protocol, TypeAlias

import msgspec

from protocol.api.shapes import CHAT, AnswerFacts
from server.registry.request import PLAIN, SelfRoute, Traits

if TYPE_CHECKING:
    from protocol.api.errors import ApiError
    from protocol.api.shapes import Dialect, StreamAssembler, WholeAssembler
    from server.answer.writer import AnswerWriter
    from server.registry.request import PrefixKey
    from server.relay.settlement import SettlementRecord
    from server.relay.timing import RequestStamps


class MediaStep(Protocol):
    """Fetches the remote images and videos of a request, once its money is reserved."""

    @property
    def prompt_tokens_hold(self) -> int | None:
        """Upper bound of the prompt with all media in it; None before `inline` is done."""

    async def inline(self) -> None:
        """Put the bytes into the bodies that are made from now on; raises ApiError, and then nothing has changed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Payer:
    """Who pays and within which limits. `covered` requests cost their account nothing; `service` marks a wholesale
    partner; the cap is the spend limit of the API key in micro-USD per window.
    """

    covered: bool = False
    service: bool = False
    cap_micro_usd: int | None = None
    cap_window: Literal["none", "daily", "weekly", "monthly"] = "none"


NOBODY: Final = Payer(covered=True)


class RelayJob(msgspec.Struct, frozen=True, kw_only=True):
    """One checked request, ready to be routed; its money is held under `coord_request_id`.

    `make_body` gives the JSON for a build (it may raise ApiError 413) and `cache_scope` the scope under which a
    provider may cache for that build. `prefixes` works out the keys of the beginnings of the prompt, once it is routed.
    Token numbers: the routing estimate, the upper bound of the prompt that the hold was taken for, and the clamped
    output bound. `created` is Unix time. `dialect` shapes the answer. `splits_think` tells for which builds `<think>`
    blocks are reasoning.
    """

    coord_request_id: str
    public_model: str
    build: str
    prompt_tokens: int
    prompt_tokens_hold: int
    max_tokens: int
    stream: bool
    include_usage: bool
    created: int
    stamps: RequestStamps
    make_body: Callable[[str], bytes]
    previous_build: str | None = None
    account_id: str | None = None
    key_id: str | None = None
    payer: Payer = NOBODY
    on_settling: Callable[[SettlementRecord], None] | None = None
    traits: Traits = PLAIN
    self_route: SelfRoute = SelfRoute.OFF
    has_linked_machine: bool = True
    splits_think: Callable[[str], bool] | None = None
    media: MediaStep | None = None
    asked_for_stop: bool = False
    wants_metadata: bool = False
    cache_scope: Callable[[str], str] | None = None
    prefixes: Callable[[], tuple[PrefixKey, ...]] | None = None
    dialect: Dialect = CHAT

    @property
    def prompt_bound(self) -> int:
        """Upper bound of the prompt's tokens as far as it is known by now."""
        fetched = self.media.prompt_tokens_hold if self.media is not None else None
        return self.prompt_tokens_hold if fetched is None else fetched

    def new_stream(self, job_id: str, build: str = "") -> StreamAssembler:
        """Make the assembler of one streamed attempt at a build, in the dialect of the request."""
        return self.dialect.new_stream(self._facts(job_id, build or self.build))

    def new_answer(self, job_id: str, build: str = "") -> WholeAssembler:
        """Make the assembler of one attempt that is answered in one piece."""
        return self.dialect.new_answer(self._facts(job_id, build or self.build))

    def _facts(self, job_id: str, build: str) -> AnswerFacts:
        return AnswerFacts(
            job_id=job_id,
            public_model=self.public_model,
            created=self.created,
            requested_max=self.max_tokens,
            prompt_tokens=self.prompt_tokens,
            include_usage=self.include_usage,
            split_think=self.splits_think is not None and self.splits_think(build),
        )

    def __repr__(self) -> str:
        return f"<RelayJob {self.coord_request_id} build={self.build}>"


@dataclass(frozen=True, slots=True)
class Committed:
    """A stream is chosen: send `headers`, then run `produce` in the task that owns the consumer's connection.

    Call `abandon` when the answer is over, however it ended: if `produce` was never called, the consumer counts as
    gone at once. It does so too when `produce` is not called within the head limit. `crash_event` gives the last event
    of an answer that `produce` broke off by a fault of ours.
    """

    job_id: str
    headers: Mapping[str, str]
    produce: Callable[[AnswerWriter], Awaitable[None]]
    abandon: Callable[[], None]
    crash_event: Callable[[], bytes] = bytes


@dataclass(frozen=True, slots=True)
class Answered:
    """A complete answer in one piece."""

    job_id: str
    headers: Mapping[str, str]
    body: Mapping[str, object] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Refused:
    """No content will come; nothing was written to the consumer."""

    error: ApiError


RelayOutcome: TypeAlias = Committed | Answered | Refused
