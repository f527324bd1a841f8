"""Which machines hold the beginning of which prompts, as far as their own answers showed it.

Invariant: at most `KEYS_MAX` keys with `HOLDERS_MAX` holders each, every one of them for a limited time; in memory
alone, about 190 bytes a key with one holder, and nothing of it is logged or shown.
Owner: the registry. A session that is gone is not searched for here: whoever looks a key up forgets it then.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from server.registry.request import PrefixKey

KEYS_MAX: Final = 131_072
ENTERED_MAX: Final = 8
"""Keys that one answer enters, those of the longest beginnings: the next turn has them, and few others must leave."""
HOLDERS_MAX: Final = 4
SWEPT_MAX: Final = 2_000
"""Keys that one call of `sweep` drops: more would hold everybody else up."""


class Holders:
    """Sessions by build and key of a beginning; a confirmation holds for `ttl` seconds."""

    def __init__(self, ttl: float) -> None:
        self._ttl = ttl
        self._held: OrderedDict[bytes, tuple[tuple[str, float], ...]] = OrderedDict()
        """Sessions and when they expire, the one that was confirmed last at the end; keys in the same order."""

    def __len__(self) -> int:
        return len(self._held)

    def __repr__(self) -> str:
        return f"<Holders of {len(self)} keys>"

    def of(self, build: str, key: PrefixKey, now: float) -> tuple[str, ...]:
        """Return the sessions that hold a beginning, the one that was confirmed first at the front."""
        held = self._held.get(_place(build, key))
        return () if held is None else tuple([session_id for session_id, until in held if until > now])

    def confirm(self, build: str, keys: Sequence[PrefixKey], session_id: str, now: float) -> None:
        """Note that a session holds these beginnings from now on, the shortest one first; the oldest keys make room."""
        held, alone = self._held, ((session_id, now + self._ttl),)
        for key in keys[-ENTERED_MAX:]:
            place = _place(build, key)
            others = [one for one in held.pop(place, ()) if one[0] != session_id and one[1] > now]
            held[place] = (*others[1 - HOLDERS_MAX :], *alone) if others else alone
        while len(held) > KEYS_MAX:
            held.popitem(last=False)

    def forget(self, build: str, keys: Iterable[PrefixKey], session_id: str) -> None:
        """Take a session out of these beginnings."""
        for key in keys:
            place = _place(build, key)
            held = self._held.get(place, ())
            others = tuple([one for one in held if one[0] != session_id])
            if others:
                self._held[place] = others
            elif held:
                del self._held[place]

    def sweep(self, now: float) -> bool:
        """Drop some keys that nobody holds any more, at the front; True when there may be more of them."""
        held = self._held
        for _ in range(SWEPT_MAX):
            if not held or next(iter(held.values()))[-1][1] > now:
                return False
            held.popitem(last=False)
        return True


def _place(build: str, key: PrefixKey) -> bytes:
    """One flat value, which takes less memory than a pair; the name of a build has no zero byte."""
    return b"%b\0%b" % (build.encode(), key.digest)
