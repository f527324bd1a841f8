"""Weight hashes of the offered models, taken again only when a file of the model changed.

Invariant: a hash is kept only if no file changed while it was taken. Callable from any thread; one hash at a time.
"""

import threading
from pathlib import Path

from protocol.weight_hash import weight_hash
from provider.models.hash_cache import Fingerprint, HashCache, fingerprint


class WeightHashes:
    """Hashes by model id. With a `cache` a restart takes over what an earlier process found."""

    def __init__(self, cache: HashCache | None = None) -> None:
        self._lock = threading.Lock()
        self._cache = cache
        self._known: dict[str, tuple[Fingerprint, str]] = {}

    def known(self, model_id: str) -> str:
        """Give the hash that was taken last, or ""."""
        found = self._known.get(model_id)
        return "" if found is None else found[1]

    def drop_if_changed(self, model_id: str, directory: Path) -> bool:
        """Forget a hash whose files changed since; gives whether it did. Looks at the files' dates only."""
        known = self._known.get(model_id)
        if known is None or known[0] == fingerprint(directory):
            return False
        return self._known.pop(model_id, None) is not None

    def refresh(self, model_id: str, directory: Path) -> bool:
        """Hash the model unless nothing changed since the last time; gives whether the known hash changed. Blocks.

        Files that cannot be read, or that change while they are read, leave no hash.
        """
        with self._lock:
            before = fingerprint(directory)
            known = self._known.get(model_id)
            if known is not None and known[0] == before:
                return False
            if before and self._cache is not None and (cached := self._cache.get(directory, before)):
                self._known[model_id] = before, cached
                return known is None or known[1] != cached
            taken = weight_hash(directory) if before else None
            if taken is None or fingerprint(directory) != before:
                return self._known.pop(model_id, None) is not None
            self._known[model_id] = before, taken
            if self._cache is not None:
                self._cache.put(directory, before, taken)
            return known is None or known[1] != taken
