"""A daemon that has its engine: it takes requests, connects, tells about itself, and drains.

Invariant: the control socket and the state exist before anything slow begins, so that a starting daemon can be seen
and stopped; the local server opens after the models are loaded, and its file after its socket.
"""

import logging
import secrets
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Final

import trio

from protocol.sealing import ProviderKeyPair
from provider.account import RegistrationToken, TokenFile, door_address
from provider.config.terminal import notify_socket, watchdog_seconds
from provider.control.place import socket_path
from provider.control.server import ControlPlaceRefused, serve_control
from provider.daemon.confinement import confine_daemon
from provider.daemon.control import DaemonControl
from provider.daemon.control_desk import ControlDesk
from provider.daemon.doorman import Doorman
from provider.daemon.gauges import fill_gauges, measure_telemetry
from provider.daemon.interpreter import settle_heap
from provider.daemon.journal import note_loaded
from provider.daemon.leave import drain
from provider.daemon.link_keeper import LinkKeeper
from provider.daemon.load_errors import LoadErrors
from provider.daemon.local_opening import LocalOpening
from provider.daemon.parts import Parts
from provider.daemon.past import last_crash
from provider.daemon.prefetching import CatalogFetch, Prefetcher
from provider.daemon.preload import preload
from provider.daemon.provider import Provider
from provider.daemon.reporter import Sources, StateReporter
from provider.daemon.shelf import DaemonShelf
from provider.daemon.signals import obey_signals
from provider.daemon.start import DaemonRefused, timing_of
from provider.daemon.stock import Stock
from provider.daemon.supervised import supervised
from provider.daemon.telling import Telling
from provider.daemon.updating import updates_of
from provider.engine import Engine, Health
from provider.hardening.secret_memory import lock_secret
from provider.host import MetricsSampler
from provider.link import CoordinatorLink, LinkStatus
from provider.link.bell import Bell
from provider.local.asker import LocalAsker
from provider.observe.events import ProviderEvent
from provider.observe.meter import RequestMeter
from provider.observe.metrics import ProviderMetrics
from provider.observe.telemetry import TelemetryQueue
from provider.observe.throughput import Throughput
from provider.requests import RequestCounters, RequestDesk, RequestServices
from provider.schedule.keeper import ScheduleKeeper
from provider.service.notify import Notifier, keep_alive
from provider.update.auto import EXIT_FOR_RESTART
from provider.version import installed_version

log = logging.getLogger(__name__)

OPENING_THREADS: Final = 4


class Serving:
    """One run from open engine to drained desk; `run` is called once, in the nursery that owns all its tasks."""

    def __init__(self, parts: Parts, nursery: trio.Nursery) -> None:
        self._parts = parts
        self._nursery = nursery
        self._bell = Bell()
        settings, seams = parts.settings, parts.seams
        self._keys = ProviderKeyPair.generate()
        self._metrics = ProviderMetrics()
        is_locked = lock_secret(self._keys.private.view())
        self._services = RequestServices(
            engine=parts.engine,
            slots=parts.slots,
            keys=self._keys,
            signer=parts.signer,
            is_advertised=self._is_advertised,
            clock=seams.clock,
            wall_clock=seams.wall_clock,
            threads=trio.CapacityLimiter(OPENING_THREADS),
            renderer=trio.CapacityLimiter(1),
            counters=RequestCounters(),
            note_queued=self._metrics.queued,
        )
        self._desk = RequestDesk(self._services, nursery, on_change=self._load_moved)
        self._doorman = Doorman(self._desk)
        self._throughput = Throughput()
        self._meter = RequestMeter(self._metrics, self._throughput, clock=seams.clock)
        self._provider = self._make_provider()
        self._provider.note_hardening(replace(self._provider.hardening, secrets_locked=is_locked))
        self._link = self._make_link()
        self._control = DaemonControl(self._link.status if self._link else LinkStatus(), self._desk)
        self._schedule = ScheduleKeeper(
            settings.schedule if settings.schedule_enabled else (),
            only_when_idle=settings.only_when_idle,
            idle_seconds=seams.user_idle_seconds,
            now=seams.local_now,
            on_change=self._schedule_changed,
        )
        scope = f"local:{secrets.token_hex(16)}" if settings.prefix_cache else ""
        self._asker = LocalAsker(self._desk, self._keys, self._meter, scope=scope)
        self._notifier = Notifier(notify_socket() if parts.options.owns_process else "")
        self._state_file = settings.state_file or parts.places.state_file
        queue = TelemetryQueue(parts.places.telemetry_queue, version=parts.facts.version, wall_clock=seams.wall_clock)
        self._telling = Telling(queue, is_on=settings.telemetry and parts.address is not None)
        sources = self._make_sources()
        if sources.previous_crash_at is not None:
            self._telling.note_crash()
        self._reporter = StateReporter(self._state_file, sources)

    async def run(self, task_status: trio.TaskStatus[DaemonControl]) -> int:
        """Serve until drained; gives the exit code. Raises `DaemonRefused`."""
        try:
            await self._begin()
        except DaemonRefused:
            await self._reporter.last_word()  # a start that was refused is no crash
            raise
        task_status.started(self._control)
        await self._control.wait_drain()
        return await self._leave()

    async def _begin(self) -> None:
        parts, nursery, control = self._parts, self._nursery, self._control
        if parts.options.owns_process:
            await nursery.start(partial(obey_signals, control, reload_level=parts.options.reload_level))
        await self._open_control()
        nursery.start_soon(supervised, "state", self._reporter.run)
        nursery.start_soon(parts.hashes.run)
        nursery.start_soon(supervised, "schedule", self._schedule.run)
        nursery.start_soon(supervised, "telemetry", partial(self._telling.watch_engine, parts.engine))
        nursery.start_soon(_ring_on_change, parts.engine, self._bell.ring, self._reporter.note)
        if parts.options.preload and parts.settings.startup_preload and self._schedule.is_open:
            self._reporter.note("loading")
            await preload(parts, self._provider, control, noted_in=self._loaded_file)
        await self._open_local()
        updates = updates_of(parts, control.restart)  # while programs may still be started
        if parts.options.owns_process:
            settle_heap()
            self._provider.note_hardening(confine_daemon(self._provider.hardening, parts.settings))
        self._start_link()
        if updates is not None:
            nursery.start_soon(supervised, "updates", updates.run)
        self._reporter.note("serving")
        self._notifier.ready()
        alive = partial(keep_alive, self._notifier, watchdog_seconds(), self._is_engine_good)
        nursery.start_soon(supervised, "service manager", alive)

    async def _leave(self) -> int:
        parts = self._parts
        parts.options.on_event(ProviderEvent(kind="draining"))
        self._notifier.stopping()
        self._doorman.close("stopping")
        self._reporter.note("draining")
        resident = parts.slots.resident
        code = await drain(self._control, self._desk, self._link, late_after=parts.settings.drain_timeout)
        await trio.to_thread.run_sync(note_loaded, self._loaded_file, resident)
        await self._reporter.last_word()
        return EXIT_FOR_RESTART if self._control.wants_restart and code == 0 else code

    def _start_prefetcher(self, stock: Stock) -> None:
        parts = self._parts
        fetch = None
        if parts.address is not None:
            physical = parts.gate.read().physical
            fetch = CatalogFetch(base=door_address(parts.address), settings=parts.settings, physical=physical)
        prefetcher = Prefetcher(
            fetch,
            is_busy=lambda: self._desk.in_flight > 0,
            is_offered=stock.offers,
            offer=stock.offer,
            count_bytes=self._metrics.downloaded,
        )
        self._provider.use_prefetcher(prefetcher)
        self._nursery.start_soon(prefetcher.run)

    async def _open_control(self) -> None:
        stock = Stock(self._parts.inventory, self._parts.hashes, self._parts.slots)
        self._start_prefetcher(stock)
        desk = ControlDesk(self._control, self._provider, stock)
        try:
            await self._nursery.start(serve_control, socket_path(self._parts.places.home), desk.handle)
        except ControlPlaceRefused as refused:
            raise DaemonRefused(str(refused)) from None

    async def _open_local(self) -> None:
        parts, control = self._parts, self._control
        if parts.options.local is None:
            return
        self._metrics.before_scrape = partial(fill_gauges, self._metrics, parts, control)
        shelf = DaemonShelf(parts.inventory, parts.slots, parts.engine, self._services)
        opening = LocalOpening(parts.options.local, parts.places.local_file, shelf, self._asker, self._metrics.render)
        control.local_url = await opening.open(self._nursery)
        if control.local_url:
            parts.options.on_event(ProviderEvent(kind="local_ready", text=control.local_url))

    def _start_link(self) -> None:
        if self._link is None:
            if not self._schedule.is_open:
                self._doorman.close("schedule")
            return
        assert self._parts.address is not None
        send = partial(self._telling.send, door_address(self._parts.address), self._read_token)
        self._nursery.start_soon(supervised, "telemetry", send)
        keeper = LinkKeeper(self._link, self._doorman, self._desk, self._parts.slots, self._schedule)
        self._control.on_renew(keeper.renew)
        if not self._schedule.is_open:
            self._doorman.close("schedule")
        self._nursery.start_soon(keeper.run)

    def _load_moved(self) -> None:
        """The machine stays awake while requests run."""
        wakefulness = self._parts.seams.wakefulness
        (wakefulness.hold if self._desk.in_flight else wakefulness.release)()
        self._bell.ring()

    def _schedule_changed(self) -> None:
        schedule, doorman = self._schedule, self._doorman
        if schedule.is_user_active:
            doorman.close("user_active")
        else:
            doorman.open("user_active")
        if self._link is None:
            (doorman.open if schedule.is_open else doorman.close)("schedule")
        log.info("schedule", extra={"open": schedule.is_open, "user_active": schedule.is_user_active})
        self._reporter.note()

    @property
    def _loaded_file(self) -> Path:
        return self._parts.settings.loaded_models_file or self._parts.places.loaded_models_file

    def _is_advertised(self, model_id: str) -> bool:
        """Whether a model is offered; asked once in each request's task, where its model becomes known."""
        if model_id not in self._parts.inventory:
            return False
        self._meter.note_model(model_id)
        return True

    def _is_engine_good(self) -> bool:
        return self._parts.engine.health is Health.GOOD

    def _make_provider(self) -> Provider:
        parts = self._parts
        return Provider(
            facts=parts.facts,
            signer=parts.signer,
            keys=self._keys,
            posture=parts.seams.posture,
            inventory=parts.inventory,
            engine=parts.engine,
            slots=parts.slots,
            gate=parts.gate,
            desk=self._desk,
            metrics=MetricsSampler(parts.seams.host),
            on_event=self._happened,
            auth_token=self._read_token,
            meter=self._meter,
            is_private=parts.settings.private_only,
            telemetry=partial(measure_telemetry, parts, self._desk),
            idle_unload_minutes=parts.settings.idle_timeout / 60,
            keeps_prefixes=parts.settings.prefix_cache,
            clock=parts.seams.clock,
            wall_clock=parts.seams.wall_clock,
        )

    def _read_token(self) -> str:
        """Read this machine's token for this coordinator; blocks."""
        parts = self._parts
        return "" if parts.address is None else RegistrationToken(TokenFile(parts.places.home), parts.address).read()

    def _make_link(self) -> CoordinatorLink | None:
        parts = self._parts
        if parts.address is None:
            return None
        return CoordinatorLink(
            parts.address,
            self._provider,
            self._bell,
            timing=parts.seams.timing or timing_of(parts.settings),
            wall_clock=parts.seams.wall_clock,
            on_event=self._happened,
        )

    def _happened(self, event: ProviderEvent) -> None:
        self._parts.options.on_event(event)
        self._telling.note_event(event, self._control.status)
        self._reporter.note()

    def _make_sources(self) -> Sources:
        parts = self._parts
        errors = LoadErrors(parts.slots, parts.inventory, wall_clock=parts.seams.wall_clock)
        return Sources(
            settings=parts.settings,
            version=installed_version(),
            config_file=parts.options.config_file,
            coordinator=None if parts.address is None else str(parts.address),
            hardware=parts.facts.hardware,
            public_key=self._keys.public_text,
            is_linked=lambda: TokenFile(parts.places.home).exists,
            provider=self._provider,
            engine=parts.engine,
            gate=parts.gate,
            control=self._control,
            schedule=self._schedule,
            throughput=self._throughput,
            last_load_error=errors.last,
            idle_span=parts.slots.idle_span,
            previous_crash_at=last_crash(self._state_file, now=parts.seams.wall_clock()),
            local_requests=lambda: self._asker.asked,
            clock=parts.seams.clock,
            wall_clock=parts.seams.wall_clock,
        )


async def _ring_on_change(engine: Engine, *listeners: Callable[[], None]) -> None:
    seen = engine.snapshot().change
    while True:
        seen = (await engine.wait_change(seen)).change
        for listener in listeners:
            listener()
