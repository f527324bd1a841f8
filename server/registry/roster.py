"""Sessions by what else than their id they are asked for: owner, serial number, machine.

Invariant: a session is listed under its present account, serials and stable id, and nowhere after it was removed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from server.registry.state import Ident, Session

_NOBODY: Final[Mapping[str, Session]] = {}


class Roster:
    """Live sessions by account, serial and stable id."""

    def __init__(self) -> None:
        self._accounts: dict[str, dict[str, Session]] = {}
        self._serials: dict[str, dict[str, Session]] = {}
        self._machines: dict[str, dict[str, Session]] = {}

    def owned(self, account_id: str | None) -> Collection[Session]:
        """Return the machines of an account."""
        return _NOBODY.values() if account_id is None else self._accounts.get(account_id, _NOBODY).values()

    def of_machine(self, stable_id: str) -> Collection[Session]:
        """Return the sessions of a machine: one, or two while one supersedes the other."""
        return self._machines.get(stable_id, _NOBODY).values()

    def with_serials(self, serials: Iterable[str]) -> list[Session]:
        """Return the sessions that have any of these serials."""
        found = {session.session_id: session for one in serials for session in self._serials.get(one, _NOBODY).values()}
        return list(found.values())

    def enter(self, session: Session) -> None:
        """List a session."""
        for table, key in self._places(session.ident):
            table.setdefault(key, {})[session.session_id] = session

    def leave(self, session: Session, ident: Ident) -> None:
        """Take a session out from where `ident` put it."""
        for table, key in self._places(ident):
            there = table.get(key)
            if there is not None:
                there.pop(session.session_id, None)
                if not there:
                    del table[key]

    def _places(self, ident: Ident) -> list[tuple[dict[str, dict[str, Session]], str]]:
        places = [(self._machines, ident.stable_id)]
        if ident.account_id is not None:
            places.append((self._accounts, ident.account_id))
        places += [(self._serials, serial) for serial in ident.serials]
        return places
