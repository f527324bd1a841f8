"""Read-only checks of this machine, its daemon and its coordinator; nothing here changes anything."""

from provider.doctor.finding import Finding, Level
from provider.doctor.run import run_checks

__all__ = ["Finding", "Level", "run_checks"]
