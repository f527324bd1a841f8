"""What a reader finds in an answer, in order."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias


@dataclass(frozen=True, slots=True)
class Content:
    """Visible text, never empty."""

    text: str


@dataclass(frozen=True, slots=True)
class Thought:
    """Reasoning text, never empty."""

    text: str


@dataclass(frozen=True, slots=True)
class Call:
    """One complete tool call; `arguments` is JSON text of an object. `call_id` is the model's own, or empty."""

    name: str
    arguments: str
    call_id: str = ""


@dataclass(frozen=True, slots=True)
class SpoiledCall:
    """The payload of a call that cannot be read, to be shown as it is."""

    text: str


@dataclass(frozen=True, slots=True)
class CallOpened:
    """A call begins whose arguments follow piece by piece."""

    name: str


@dataclass(frozen=True, slots=True)
class CallArguments:
    """A piece of the open call's arguments, never empty."""

    text: str


@dataclass(frozen=True, slots=True)
class CallClosed:
    """The open call is complete; `arguments` is all of their text, JSON of an object."""

    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class CallBroken:
    """The open call ended without being one."""


Part: TypeAlias = Content | Thought | Call | SpoiledCall | CallOpened | CallArguments | CallClosed | CallBroken


class AnswerReader(Protocol):
    """State of one answer. Raises nothing."""

    @property
    def is_thinking(self) -> bool:
        """Whether the text that comes next belongs to the reasoning, as far as is known."""

    @property
    def is_visible(self) -> bool:
        """Whether the text that comes next is shown, as far as is known."""

    def feed(self, text: str) -> Sequence[Part]:
        """Take decoded text, marks included, and return what is certain now."""

    def flush(self, *, is_complete: bool) -> Sequence[Part]:
        """Return what was held back. A call that was open when an answer was cut short is dropped."""
