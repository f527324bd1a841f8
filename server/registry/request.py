"""The routed request: everything that choosing a provider needs to know, and nothing of the prompt."""

from __future__ import annotations

from enum import Enum
from typing import Final

from msgspec import Struct

DEFAULT_PROMPT_TOKENS: Final = 500
DEFAULT_MAX_TOKENS: Final = 256


class SelfRoute(Enum):
    """Whether the caller asked for its own machines."""

    OFF = "off"
    EXCLUSIVE = "exclusive"
    """Owned machines only, free, no fallback."""
    PREFER = "prefer"
    """Owned machines first, then the paid public fleet."""


class Traits(Struct, frozen=True):
    """What the request demands of a provider beyond the model itself."""

    has_tools: bool = False
    requires_tool_constraint: bool = False
    """True when a tool is forced (`tool_choice` `required` or a named tool)."""
    requires_vision: bool = False
    required_features: frozenset[str] = frozenset()
    """Wire protocol features without which the request cannot be sent."""

    @property
    def shape(self) -> str:
        """`tools` or `base`: the key under which fault memory counts."""
        return "tools" if self.has_tools else "base"


PLAIN: Final = Traits()


PREFIX_DEPTHS: Final = (1, *(part << octave for octave in range(9) for part in (2, 3)), 1_024)
"""Blocks of a prompt, about 256 tokens each, after which a beginning has a key: two for every doubling."""


class PrefixKey(Struct, frozen=True, gc=False):
    """Stands for one beginning of a prompt of one account: a keyed hash, and the tokens of the estimate it covers."""

    digest: bytes
    tokens: int

    def __repr__(self) -> str:
        return f"<PrefixKey of {self.tokens} tokens>"


class RoutedRequest(Struct, frozen=True, kw_only=True):
    """One attempt of one client request; token numbers are integers, times are seconds of the monotonic clock.

    `model` is the resolved build id. `prompt_tokens` is the routing estimate, `max_tokens` the clamped output bound;
    their sum is what the ledger charges. `request_id` is fresh for every attempt, `logical_id` is the same for all.
    `deadline` is the moment after which the client wants no provider any more (None: only the queue's limit holds).
    """

    request_id: str
    logical_id: str
    model: str
    prompt_tokens: int
    max_tokens: int
    public_model: str = ""
    previous_build: str | None = None
    account_id: str | None = None
    key_id: str | None = None
    traits: Traits = PLAIN
    self_route: SelfRoute = SelfRoute.OFF
    has_linked_machine: bool = True
    """Whether the account has any machine at all; read only for an exclusive self-route."""
    allowed_serials: frozenset[str] | None = None
    excluded_sessions: frozenset[str] = frozenset()
    avoid_version: str | None = None
    attempt: int = 1
    deadline: float | None = None
    prefixes: tuple[PrefixKey, ...] = ()
    """Beginnings of the prompt that a machine may hold already, the shortest first; empty where that is no matter."""
    explain: bool = False
    """Whether the caller wants to know why: the first candidates are noted with their costs."""

    @property
    def need(self) -> int:
        """Tokens that the request is charged: prompt + maximum output."""
        return self.prompt_tokens + self.max_tokens

    @property
    def is_public(self) -> bool:
        """True when any provider may serve the request (no self-route)."""
        return self.self_route is SelfRoute.OFF
