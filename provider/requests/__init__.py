"""Requests of the coordinator: from a sealed body to sealed chunks and exactly one terminal frame."""

from provider.requests.counters import RequestCounters
from provider.requests.desk import RequestDesk, RequestServices
from provider.requests.ports import FrameLane
from provider.requests.render import enforces_tools

__all__ = ["FrameLane", "RequestCounters", "RequestDesk", "RequestServices", "enforces_tools"]
