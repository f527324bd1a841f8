"""Machines in the database: what is remembered of them survives a restart of the coordinator."""

from server.machines.keeper import MachineKeeper

__all__ = ["MachineKeeper"]
