"""The examples at the end of every help text."""


def examples(*lines: str) -> str:
    """Write an epilog; the lines stand as they are."""
    return "\n".join(("\b", "Examples:", *(f"  {line}" for line in lines)))
