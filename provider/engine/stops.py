"""Stop strings, matched on decoded text with hold-back of possible beginnings."""


class StopMatcher:
    """Finds the earliest stop string in a stream of text pieces; at the same place the longest wins.

    Text that may be the beginning of a stop string is held back until it is decided.
    """

    __slots__ = ("_held", "_stops", "matched")

    def __init__(self, stops: tuple[str, ...]) -> None:
        self._stops = tuple(stop for stop in stops if stop)
        self._held = ""
        self.matched: str | None = None

    def feed(self, text: str) -> str:
        """Take a piece and return the text that may be shown; after a match `matched` is set and feeding must end."""
        buffer = self._held + text
        best_at, best = len(buffer), ""
        for stop in self._stops:
            at = buffer.find(stop)
            if at >= 0 and (at < best_at or (at == best_at and len(stop) > len(best))):
                best_at, best = at, stop
        if best:
            self._held = ""
            self.matched = best
            return buffer[:best_at]
        kept = self._undecided(buffer)
        self._held = buffer[len(buffer) - kept :] if kept else ""
        return buffer[: len(buffer) - kept] if kept else buffer

    def flush(self) -> str:
        """Return the held text; called when generation ends without a match."""
        held, self._held = self._held, ""
        return held

    def _undecided(self, buffer: str) -> int:
        """Length of the longest suffix of `buffer` that is a proper prefix of some stop string."""
        longest = 0
        for stop in self._stops:
            for length in range(min(len(stop) - 1, len(buffer)), longest, -1):
                if buffer.endswith(stop[:length]):
                    longest = length
                    break
        return longest
