"""Which sessions offer which model: the only way by which routing finds providers.

Invariant: a session is listed under exactly the models of its `caps.models`, and nowhere after it was removed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from server.registry.state import ModelAd, Session

_NOBODY: Final[Mapping[str, Session]] = {}


class ModelIndex:
    """Sessions by model id, in the order in which they came."""

    def __init__(self) -> None:
        self._pools: dict[str, dict[str, Session]] = {}

    def sessions(self, model: str) -> Collection[Session]:
        """Return the sessions that offer a model."""
        return self._pools.get(model, _NOBODY).values()

    def add(self, session: Session) -> None:
        """List a session under its models."""
        for model in session.caps.models:
            self._pools.setdefault(model, {})[session.session_id] = session

    def remove(self, session: Session, models: Iterable[str]) -> tuple[str, ...]:
        """Take a session out of the pools of these models; returns the models that nobody offers any more."""
        orphaned = []
        for model in models:
            pool = self._pools.get(model)
            if pool is None:
                continue
            pool.pop(session.session_id, None)
            if not pool:
                del self._pools[model]
                orphaned.append(model)
        return tuple(orphaned)

    def replace(self, session: Session, before: Mapping[str, ModelAd]) -> tuple[str, ...]:
        """Follow a change of the session's models; returns the models that nobody offers any more."""
        gone = [model for model in before if model not in session.caps.models]
        orphaned = self.remove(session, gone)
        self.add(session)
        return orphaned
