"""Counters of requests since the start of the process."""

from dataclasses import dataclass, fields

from protocol.messages.from_provider import Stats


@dataclass(slots=True)
class RequestCounters:
    """Only ever grow; the names are those of the heartbeat's `stats`, but for the last four."""

    requests_served: int = 0
    tokens_generated: int = 0
    cancellations_received: int = 0
    cancellations_before_output: int = 0
    cancellations_partial_complete: int = 0
    generation_errors_after_output: int = 0
    chunk_encryption_errors: int = 0
    stream_closed_without_terminal: int = 0
    cancel_during_model_load: int = 0

    duplicates_ignored: int = 0
    cancels_unknown: int = 0
    biases_dropped: int = 0
    tool_calls_spoiled: int = 0

    def as_stats(self) -> Stats:
        """Give the wire form."""
        names = Stats.__struct_fields__
        return Stats(**{field.name: getattr(self, field.name) for field in fields(self) if field.name in names})
