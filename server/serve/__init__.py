"""Putting the coordinator together and running it."""

from server.catalog.file import CatalogUnusable
from server.serve.coordinator import Coordinator, open_coordinator
from server.serve.drain import Drain
from server.serve.run import run_coordinator, stop

__all__ = ["CatalogUnusable", "Coordinator", "Drain", "open_coordinator", "run_coordinator", "stop"]
