"""What a simulated request and its machine say of cached prompts, in the words of the real ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from protocol.messages.from_provider import Usage
from server.registry import PREFIX_DEPTHS, PrefixKey

if TYPE_CHECKING:
    from server.sim.trace import Arrival
    from server.sim.work import Work

BLOCK_TOKENS: Final = 256


def prefix_keys(arrival: Arrival) -> tuple[PrefixKey, ...]:
    """Return keys of the beginnings of a conversation, at the lengths of real ones; none for other requests.

    All turns of a conversation share their beginnings, so its name and a length stand for what is in it.
    """
    if arrival.prefix is None:
        return ()
    return tuple(
        PrefixKey(f"{arrival.account}:{arrival.prefix}:{depth}".encode(), depth * BLOCK_TOKENS)
        for depth in PREFIX_DEPTHS
        if depth * BLOCK_TOKENS <= arrival.prompt
    )


def usage_of(work: Work) -> Usage:
    """Return the report at the end of an answer; a machine keeps every conversation, so it always looks."""
    outcome = "" if work.prefix is None else "hit" if work.cached else "miss_absent"
    return Usage(
        prompt_tokens=work.prompt, completion_tokens=work.produced, cached_tokens=work.cached, cache_outcome=outcome
    )
