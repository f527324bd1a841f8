"""Which live sessions belong to which device: the signing key S is the device, the newest proven session wins."""

from __future__ import annotations

from typing import Generic, TypeVar

S = TypeVar("S")


class DeviceTable(Generic[S]):
    """Live sessions by signing key (65 bytes), in the order of their registration."""

    def __init__(self) -> None:
        """Start empty."""
        self._sessions: dict[bytes, list[S]] = {}

    def join(self, device: bytes, session: S) -> None:
        """Add a session that presented a blob signed by this key; nobody is disturbed by that."""
        self._sessions.setdefault(device, []).append(session)

    def older(self, device: bytes, session: S) -> list[S]:
        """Return the sessions that registered before this one: they end when it has proved itself."""
        sessions = self._sessions.get(device, [])
        return sessions[: sessions.index(session)] if session in sessions else []

    def leave(self, device: bytes, session: S) -> None:
        """Remove a session; harmless when it is not there."""
        sessions = self._sessions.get(device, [])
        if session in sessions:
            sessions.remove(session)
            if not sessions:
                del self._sessions[device]
