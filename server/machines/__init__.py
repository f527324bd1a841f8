"""What is learnt of machines, in the database: it survives a restart of the coordinator."""

from server.machines.keeper import MachineKeeper

__all__ = ["MachineKeeper"]
