"""Talking to the running daemon of this user over a socket in its home: one order, one answer."""

from provider.control.client import ControlFailed, NotRunning, ask
from provider.control.orders import Answer, Drain, Hello, Load, Order, ReloadAuth, Switch, Unload
from provider.control.place import socket_path

__all__ = [
    "Answer",
    "ControlFailed",
    "Drain",
    "Hello",
    "Load",
    "NotRunning",
    "Order",
    "ReloadAuth",
    "Switch",
    "Unload",
    "ask",
    "socket_path",
]
