"""Where the beginnings of a chat's prompt end that later prompts are likely to share.

A stored cache that cannot be shortened serves only prompts that go on after all of it, so it has to end there.
"""

from collections.abc import Callable, Mapping, Sequence
from itertools import takewhile

Message = Mapping[str, object]

SYSTEM_ROLES = ("system", "developer")


def shared_beginnings(
    tokens: Sequence[int], messages: Sequence[Message], render: Callable[[Sequence[Message]], Sequence[int] | None]
) -> tuple[int, ...]:
    """Lengths of the beginnings of `tokens` that end with the system prompt and with the last message, ascending.

    `render` gives the tokens of messages without a generation header, None where the template refuses them.
    """
    system = list(takewhile(lambda message: message.get("role") in SYSTEM_ROLES, messages))
    beginnings = [messages, [*system, {"role": "user", "content": ""}]] if system else [messages]
    rendered = [render(beginning) for beginning in beginnings]
    lengths = {min(_common(tokens, part), len(tokens) - 1) for part in rendered if part is not None}
    return tuple(sorted(lengths - {0}))


def _common(left: Sequence[int], right: Sequence[int]) -> int:
    pairs = enumerate(zip(left, right, strict=False))
    return next((place for place, (one, other) in pairs if one != other), min(len(left), len(right)))
