"""What a migration is: a number, a name, statements with tokens, and perhaps a step that changes data."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeAlias

from server.store.dialect import EngineKind, render
from server.store.engine import Tx

DataStep: TypeAlias = Callable[[Tx], Awaitable[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Migration:
    """One step of the schema.

    It never changes after it was released: what it did is compared by checksum at each start.
    """

    version: int
    name: str
    statements: tuple[str, ...]
    data: DataStep | None = None

    def rendered(self, kind: EngineKind) -> tuple[str, ...]:
        """Return the statements as the engine takes them."""
        return tuple(render(statement, kind) for statement in self.statements)

    def checksum(self, kind: EngineKind) -> str:
        """Return the SHA-256 of the rendered statements; line breaks and indentation do not count."""
        text = "\n".join(" ".join(statement.split()) for statement in self.rendered(kind))
        return hashlib.sha256(text.encode()).hexdigest()


def statements(script: str) -> tuple[str, ...]:
    """Split a script at each `;` that ends a line."""
    parts = (part.strip() for part in script.strip().removesuffix(";").split(";\n"))
    return tuple(part for part in parts if part)
