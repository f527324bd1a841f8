"""What of the daemon's life is worth an event for the operators."""

import ssl
from collections.abc import Callable

import httpx
import trio

from provider.engine import Engine, Health
from provider.link import LinkStatus
from provider.observe.events import ProviderEvent
from provider.observe.telemetry import TelemetryQueue, Value, worth_telling
from provider.observe.telemetry_sender import send_events


class Telling:
    """Queues events while `is_on`; without it nothing is queued and nothing is sent."""

    def __init__(self, queue: TelemetryQueue, *, is_on: bool) -> None:
        self._queue = queue
        self._is_on = is_on

    def note_crash(self) -> None:
        """An earlier run ended without a stop."""
        if self._is_on:
            self._queue.note("error", "backend_crash", "An earlier run ended without a stop.", {"component": "daemon"})

    def note_event(self, event: ProviderEvent, status: LinkStatus) -> None:
        """Something happened to models or to the link."""
        if not self._is_on:
            return
        match event.kind:
            case "disconnected" if worth_telling(status.reconnects + 1):
                ends: dict[str, Value] = {"reconnect_count": status.reconnects + 1, "reason": event.text}
                self._queue.note("warn", "connectivity", "The connection to the coordinator keeps ending.", ends)
            case "model_failed":
                failed: dict[str, Value] = {"operation": "load", "model": event.model}
                self._queue.note("error", "custom", "A model could not be loaded.", failed)
            case _:
                return

    async def watch_engine(self, engine: Engine) -> None:
        """Tell when the engine's health turns; runs until cancelled."""
        before = engine.health
        seen = engine.snapshot().change
        while True:
            seen = (await engine.wait_change(seen)).change
            if engine.health is not before:
                before = engine.health
                if self._is_on and before is not Health.GOOD:
                    fields = {"component": "engine", "reason": before.value}
                    self._queue.note("error", "backend_crash", "The engine makes no progress.", fields)

    async def send(self, base_url: str, token: Callable[[], str]) -> None:
        """Send what is queued until cancelled, or until the coordinator wants none."""
        if not self._is_on:
            return
        verify = ssl.create_default_context() if base_url.startswith("https:") else False
        secret = await trio.to_thread.run_sync(token)
        headers = {"User-Agent": "darkbloom", **({"Authorization": f"Bearer {secret}"} if secret else {})}
        async with httpx.AsyncClient(headers=headers, trust_env=False, verify=verify, timeout=20) as client:
            await send_events(self._queue, base_url, client)
