"""Where the beginnings of a chat's prompt end that later prompts are likely to share.

A stored cache that cannot be shortened serves only prompts that go on after all of it, so it has to end there.
"""

from collections.abc import Callable, Mapping, Sequence
from itertools import takewhile

from provider.engine.prefixes import common_beginning

Message = Mapping[str, object]

SYSTEM_ROLES = ("system", "developer")


def shared_beginnings(
    tokens: tuple[int, ...],
    messages: Sequence[Message],
    render: Callable[[Sequence[Message]], tuple[int, ...] | None],
) -> tuple[int, ...]:
    """Lengths of the beginnings of `tokens` that end with the system prompt and with the last message, ascending.

    `render` gives the tokens of messages without a generation header, None where the template refuses them.
    """
    system = list(takewhile(lambda message: message.get("role") in SYSTEM_ROLES, messages))
    beginnings = [messages, [*system, {"role": "user", "content": ""}]] if system else [messages]
    rendered = [render(beginning) for beginning in beginnings]
    lengths = {min(common_beginning(tokens, part), len(tokens) - 1) for part in rendered if part is not None}
    return tuple(sorted(lengths - {0}))
