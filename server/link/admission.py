"""Who may hold an unregistered socket, and how often one identity may register; pure counting, all of it bounded."""

from __future__ import annotations

from collections import OrderedDict, deque
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from server.link.settings import LinkSettings

_WINDOW_SECONDS: Final = 60.0
_MAX_IDENTITIES: Final = 16_384


class UnregisteredSockets:
    """Sockets that have not registered yet, in all and per client address."""

    def __init__(self, settings: LinkSettings) -> None:
        """Start empty."""
        self._settings = settings
        self._by_ip: dict[str, int] = {}
        self._total = 0

    def enter(self, client_ip: str) -> bool:
        """Count a new socket; False when either bound is reached, and then it is not counted."""
        held = self._by_ip.get(client_ip, 0)
        if held >= self._settings.unregistered_per_ip or self._total >= self._settings.unregistered_total:
            return False
        self._by_ip[client_ip] = held + 1
        self._total += 1
        return True

    def leave(self, client_ip: str) -> None:
        """Count a socket that registered or went away; call it once for each `enter` that was granted."""
        self._total -= 1
        held = self._by_ip[client_ip] - 1
        if held:
            self._by_ip[client_ip] = held
        else:
            del self._by_ip[client_ip]


class RegistrationRate:
    """Registrations of the last minute by identity; an identity is forgotten with its minute, or as the oldest."""

    def __init__(self, settings: LinkSettings) -> None:
        """Start empty."""
        self._limit = settings.registrations_per_minute
        self._times: OrderedDict[str, deque[float]] = OrderedDict()

    def allow(self, identity: str, now: float) -> bool:
        """Count a registration; False when the identity used up its minute, and then it is not counted."""
        times = self._times.setdefault(identity, deque(maxlen=self._limit))
        self._times.move_to_end(identity)
        self._forget(now)
        if self._is_full(times, now):
            return False
        times.append(now)
        return True

    def used_up(self, identity: str, now: float) -> bool:
        """Tell whether the identity used up its minute, without counting anything."""
        times = self._times.get(identity)
        return times is not None and self._is_full(times, now)

    def __len__(self) -> int:
        return len(self._times)

    def _forget(self, now: float) -> None:
        """Drop those whose minute is over, longest ago first, and whoever is too many; the last one seen stays."""
        while len(self._times) > 1:
            oldest = next(iter(self._times.values()))
            if len(self._times) <= _MAX_IDENTITIES and now - oldest[-1] < _WINDOW_SECONDS:
                return
            self._times.popitem(last=False)

    def _is_full(self, times: deque[float], now: float) -> bool:
        return len(times) == self._limit and now - times[0] < _WINDOW_SECONDS


class FloodGuard:
    """Invalid frames of one connection within a sliding window."""

    __slots__ = ("_limit", "_times", "_window")

    def __init__(self, settings: LinkSettings) -> None:
        """Start empty; nothing is allocated before the first invalid frame."""
        self._limit = settings.invalid_frames
        self._window = settings.invalid_window_seconds
        self._times: deque[float] | None = None

    def flooded(self, now: float) -> bool:
        """Count an invalid frame; True when the limit is reached within the window."""
        if self._times is None:
            self._times = deque(maxlen=self._limit)
        self._times.append(now)
        return len(self._times) == self._limit and now - self._times[0] <= self._window
