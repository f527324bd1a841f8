"""The routing simulator: replays load against the very routing code of the coordinator, in virtual time."""

from server.sim.errors import SimulationError
from server.sim.report import Report, make_report
from server.sim.simulation import Policy, Run, Setup, simulate

__all__ = ["Policy", "Report", "Run", "Setup", "SimulationError", "make_report", "simulate"]
