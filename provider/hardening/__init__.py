"""Protection of this process: no debugger, no core dumps, no new privileges, no foreign code by environment."""

from provider.hardening.apply import Hardening, harden
from provider.hardening.environment import FORBIDDEN, clean_environment, forbidden_names, restart_with_clean_environment

__all__ = [
    "FORBIDDEN",
    "Hardening",
    "clean_environment",
    "forbidden_names",
    "harden",
    "restart_with_clean_environment",
]
