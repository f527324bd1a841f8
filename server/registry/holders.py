"""Which machines hold the beginning of which prompts, as far as their own answers showed it.

Invariant: at most `KEYS_MAX` keys with `HOLDERS_MAX` holders each, every one of them for a limited time; in memory
alone, and nothing of it is logged or shown.
Owner: the registry. A session that is gone is not searched for here: whoever looks a key up forgets it then.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

    from server.registry.request import PrefixKey

KEYS_MAX: Final = 32_768
HOLDERS_MAX: Final = 4


class Holders:
    """Sessions by build and key of a beginning; a confirmation holds for `ttl` seconds."""

    def __init__(self, ttl: float) -> None:
        self._ttl = ttl
        self._held: OrderedDict[tuple[str, bytes], tuple[tuple[str, float], ...]] = OrderedDict()
        """Sessions and when they expire, the one that was confirmed last at the end; keys in the same order."""

    def __len__(self) -> int:
        return len(self._held)

    def __repr__(self) -> str:
        return f"<Holders of {len(self)} keys>"

    def of(self, build: str, key: PrefixKey, now: float) -> tuple[str, ...]:
        """Return the sessions that hold a beginning, the one that was confirmed first at the front."""
        held = self._held.get((build, key.digest))
        return () if held is None else tuple([session_id for session_id, until in held if until > now])

    def confirm(self, build: str, keys: Iterable[PrefixKey], session_id: str, now: float) -> None:
        """Note that a session holds these beginnings from now on; the oldest keys make room."""
        held, until = self._held, now + self._ttl
        for key in keys:
            place = (build, key.digest)
            others = [one for one in held.pop(place, ()) if one[0] != session_id and one[1] > now]
            held[place] = (*others[1 - HOLDERS_MAX :], (session_id, until))
        while len(held) > KEYS_MAX:
            held.popitem(last=False)

    def forget(self, build: str, keys: Iterable[PrefixKey], session_id: str) -> None:
        """Take a session out of these beginnings."""
        for key in keys:
            place = (build, key.digest)
            held = self._held.get(place, ())
            others = tuple([one for one in held if one[0] != session_id])
            if others:
                self._held[place] = others
            elif held:
                del self._held[place]

    def sweep(self, now: float) -> None:
        """Drop the keys at the front that nobody holds any more; they stand in the order of their confirmation."""
        held = self._held
        while held and next(iter(held.values()))[-1][1] <= now:
            held.popitem(last=False)
