"""News of changed credentials: told to the caches of this process, and through PostgreSQL to all others.

A change is announced inside the transaction that makes it, so other processes hear of it exactly when it is committed.
The store's listener hands every payload to `heard`, those of this process too, and calls `missed` after a gap. What is
announced while nobody can listen costs the few seconds that the caches keep what they know.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, Literal, TypeAlias, get_args

if TYPE_CHECKING:
    from server.store import Store, Tx

_log = logging.getLogger("darkbloom.accounts")

CHANNEL: Final = "darkbloom_accounts"
Topic: TypeAlias = Literal["key", "account", "provider_token", "session"]
TOPICS: Final = get_args(Topic)
Listener = Callable[[str], None]


class Changes:
    """Topics and their listeners; a subject is an id, an account or a hash, never a secret."""

    def __init__(self, store: Store) -> None:
        self._notifies = store.kind == "postgres"
        self._listeners: dict[str, list[Listener]] = {topic: [] for topic in TOPICS}

    def listen(self, topic: Topic, listener: Listener) -> None:
        """Call `listener` with the subject of every change, `*` for all; maybe twice. It must not raise."""
        self._listeners[topic].append(listener)

    async def announce(self, tx: Tx, topic: Topic, subject: str) -> None:
        """Tell other processes when the transaction commits; nothing on SQLite, which has one process."""
        if self._notifies:
            sql = "SELECT pg_notify(CAST($1 AS TEXT), CAST($2 AS TEXT)) IS NULL AS told"
            await tx.fetch(sql, CHANNEL, f"{topic} {subject}")

    def heard(self, payload: str) -> None:
        """Take a notification of the channel; an unknown topic comes from a newer process and is passed over."""
        topic, _, subject = payload.partition(" ")
        for listener in self._listeners.get(topic, ()):
            listener(subject)

    def missed(self) -> None:
        """Take note that notifications may have been lost (the listening connection is new): everything is dropped."""
        _log.info("notifications of changed credentials may have been lost; the caches are emptied")
        for listeners in self._listeners.values():
            for listener in listeners:
                listener("*")
