"""The command `darkbloom-coordinator`."""

from server.cli.main import main

__all__ = ["main"]
