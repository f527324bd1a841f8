"""What orders of this user do to the running daemon."""

import logging
import os
from pathlib import Path

import trio

from provider.control.orders import Answer, Drain, Hello, Load, Order, ReloadAuth, Switch, Unload
from provider.daemon.control import DaemonControl
from provider.daemon.inventory import ModelUnusable, read_models
from provider.daemon.options import OfferedModel
from provider.daemon.provider import Provider
from provider.daemon.stock import Stock
from provider.engine import EngineLost

log = logging.getLogger(__name__)


class ControlDesk:
    """`handle` is called by the control server, several at a time."""

    def __init__(self, control: DaemonControl, provider: Provider, stock: Stock) -> None:
        self._control = control
        self._provider = provider
        self._stock = stock

    async def handle(self, order: Order) -> Answer:
        """Carry out one order."""
        log.info("order", extra={"order": type(order).__name__.lower()})
        match order:
            case Hello():
                return self._answer()
            case Drain():
                if not self._control.is_draining:
                    self._control.drain()
                if order.force:
                    self._control.force()
                return self._answer()
            case Load():
                return self._answer(await self._load(order.model))
            case Unload():
                return self._answer(await self._unload(order.model))
            case Switch():
                return self._answer(await self._switch(order))
            case ReloadAuth():
                self._control.renew()
                return self._answer()

    def _answer(self, error: str = "") -> Answer:
        return Answer(done=not error, pid=os.getpid(), error=error, in_flight=self._control.in_flight)

    async def _load(self, model: str) -> str:
        if not self._stock.offers(model):
            return f"The model {model} is not offered; run `darkbloom switch --model {model}` first."
        return await self._provider.load_model(model) or ""

    async def _unload(self, model: str) -> str:
        try:
            return await self._stock.unload(model)
        except EngineLost:
            return "The inference engine failed; see `darkbloom status`."

    async def _switch(self, order: Switch) -> str:
        offered = tuple(OfferedModel(entry.model, Path(entry.directory)) for entry in order.models)
        if not offered:
            return "No model is named; a provider offers one at least."
        try:
            facts = await trio.to_thread.run_sync(read_models, offered)
        except ModelUnusable as refused:
            return str(refused)
        await self._stock.replace(facts)
        for entry in offered:
            error = await self._provider.load_model(entry.model_id)
            if error is not None:
                log.warning("a switched model is offered and not loaded", extra={"model": entry.model_id})
        return ""
