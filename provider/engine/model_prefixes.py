"""One model's side of the store of prefixes: looking for one, and bringing caches of rows."""

import logging

from provider.engine.backend import Backend
from provider.engine.events import CacheOutcome
from provider.engine.lane import Lane
from provider.engine.model import LoadedModel
from provider.engine.prefixes import PrefixStore, Reuse
from provider.engine.row import Row
from provider.observe.place import last_place

logger = logging.getLogger(__name__)


class ModelPrefixes:
    """Takes caches at once and stores them a turn later, so that the end of an answer does not wait for the copy.

    Owned by the engine thread. Nothing is kept of a row without a scope.
    """

    def __init__(self, model: LoadedModel, backend: Backend, prefixes: PrefixStore) -> None:
        self._model = model
        self._backend = backend
        self._prefixes = prefixes
        self._waiting: list[tuple[str, list[object], list[int]]] = []

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def find(self, row: Row, now: float) -> Reuse:
        """Look for what a row need not compute; a fault costs the prefixes of this model, never the row."""
        request = row.request
        try:
            return self._prefixes.find(
                self._model.model_id, request.cache_scope, request.prompt_tokens, self._backend, now
            )
        except Exception as error:  # a cold row is as good
            self._fault(error)
            return Reuse(CacheOutcome.NONE)

    def take(self, row: Row, cache: list[object] | None, tokens: list[int] | None) -> None:
        """Note a row's cache and the tokens that it covers, unless there is surely no room: then its usage says so."""
        if not row.request.cache_scope or not cache or tokens is None:
            return
        size = len(tokens) * self._model.kv_bytes_per_token + self._model.kv_bytes_per_row
        if size <= self._prefixes.room:
            self._waiting.append((row.request.cache_scope, cache, list(tokens)))
        elif row.cache_outcome is not CacheOutcome.HIT:
            row.cache_outcome = CacheOutcome.CAPACITY

    def take_from(self, row: Row, lane: Lane) -> None:
        """Note what a row that goes on has computed so far; a fault costs the prefixes of this model, never the row."""
        try:
            cache, tokens = lane.look_at(row)
        except Exception as error:  # what cannot be kept is computed again
            self._fault(error)
        else:
            self.take(row, cache, tokens)

    def store(self, now: float) -> None:
        """Hand over what was noted. A fault costs the prefixes of this model, never an answer."""
        waiting, self._waiting = self._waiting, []
        for scope, cache, tokens in waiting:
            try:
                kept = self._backend.keep_cache(cache)
                size = self._backend.cache_bytes(kept)
                whole = not self._model.rewindable
                self._prefixes.put(self._model.model_id, scope, tokens, kept, size, now=now, whole=whole)
            except Exception as error:  # what cannot be kept is computed again
                self._fault(error)

    def forget(self) -> None:
        """Drop what was noted, and every stored prefix of this model."""
        self._waiting.clear()
        self._prefixes.forget_model(self._model.model_id)

    def _fault(self, error: Exception) -> None:
        logger.error("prefix fault", extra={"fault": type(error).__name__, "place": last_place(error)})
        self._prefixes.forget_model(self._model.model_id)
