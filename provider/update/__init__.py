"""New releases of this program: finding, checking, putting in place, and going back."""

from provider.update.release import Release, ReleaseRefused, fetch_latest
from provider.update.verdict import Verdict, compare

__all__ = ["Release", "ReleaseRefused", "Verdict", "compare", "fetch_latest"]
