"""What can go wrong between us and Stripe, planned ahead for single calls."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, TypeAlias

FaultKind: TypeAlias = Literal[
    "error_before",  # 503 from a front end: nothing happened, nothing is remembered
    "error_after",  # 502 from a front end: it happened, and the key knows its true answer
    "error_saved",  # 500 of the endpoint: nothing happened, and the key answers 500 from now on
    "cut_before",  # the connection breaks before Stripe reads the call
    "cut_after",  # the connection breaks after it happened
    "busy",  # 409: another call with this key is at work
    "rate_limited",  # 429
    "rejected",  # 400 with a code
    "delay",  # an answer that takes its time
]


class ConnectionCut(Exception):
    """The peer breaks the connection instead of answering."""


@dataclass(slots=True)
class Fault:
    """A fault for the next `times` calls of a method whose path starts with `path`."""

    kind: FaultKind
    path: str = "/"
    method: str = "POST"
    times: int = 1
    code: str = "parameter_invalid"
    seconds: float = 0.0


class FaultPlan:
    """Faults in the order in which they were planned; each call takes the first that fits."""

    def __init__(self, faults: Iterable[Fault] = ()) -> None:
        self._faults = list(faults)

    def add(self, fault: Fault) -> None:
        """Plan a fault."""
        self._faults.append(fault)

    def clear(self) -> None:
        """Forget what is planned."""
        self._faults.clear()

    def take(self, method: str, path: str) -> Fault | None:
        """Use one fault up."""
        for fault in self._faults:
            if fault.method == method and path.startswith(fault.path) and fault.times > 0:
                fault.times -= 1
                return fault
        return None
