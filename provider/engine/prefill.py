"""How many prompt tokens one step may process, so that decoding rows never wait long."""

FIRST_CHUNK = 512
MIN_CHUNK = 128
MAX_CHUNK = 2048
MIN_ROW_CHUNK = 32
GAP_WHILE_DECODING_SECONDS = 0.15
"""Aim for a chunk beside decoding rows; what remains to a quarter of a second is for misjudged speeds."""
GAP_ALONE_SECONDS = 1.0


def chunk_tokens(tokens_per_second: float | None, *, decoding: bool, rows: int) -> int:
    """Prompt tokens per row for the next step.

    `tokens_per_second` is the measured prefill speed over all rows, or None before the first measurement. The budget
    of the step is divided among the `rows` that prefill together.
    """
    if tokens_per_second is None:
        total = FIRST_CHUNK
    else:
        gap = GAP_WHILE_DECODING_SECONDS if decoding else GAP_ALONE_SECONDS
        total = int(min(max(tokens_per_second * gap, MIN_CHUNK), MAX_CHUNK))
    return max(MIN_ROW_CHUNK, total // max(1, rows))
