"""Comparison of reported runtime hashes with the manifest of accepted ones; an empty manifest accepts everything."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from protocol.messages.to_provider import Mismatch

if TYPE_CHECKING:
    from collections.abc import Mapping

    from server.trust.policy import RuntimeManifest

_MISSING = "(missing)"


class RuntimeReport(Protocol):
    """The hashes of a `register` or of a challenge answer; an empty text means not reported."""

    @property
    def python_hash(self) -> str:
        """Hash of the interpreter's library."""

    @property
    def runtime_hash(self) -> str:
        """Hash of the provider's own files."""

    @property
    def template_hashes(self) -> Mapping[str, str]:
        """Hashes of named components, the GPU kernel library among them."""


def compare_runtime(manifest: RuntimeManifest, report: RuntimeReport) -> tuple[Mismatch, ...]:
    """Return one entry for each component that the manifest knows and the report does not match.

    Components that only the report names are no mismatch. The accepted set is shown as its smallest member.
    """
    checks = [
        ("python", manifest.python_hashes, report.python_hash),
        ("runtime", manifest.runtime_hashes, report.runtime_hash),
        *(
            (f"template:{name}", accepted, report.template_hashes.get(name, ""))
            for name, accepted in sorted(manifest.template_hashes.items())
        ),
    ]
    return tuple(
        Mismatch(component=component, expected=min(accepted), got=got or _MISSING)
        for component, accepted, got in checks
        if accepted and got.strip().lower() not in accepted
    )
