"""Machines with nothing loaded: asked where nobody else has room, and warmed before it happens again."""

from __future__ import annotations

import trio

from tests.testbed.consumer import chat
from tests.testbed.coordinator import API_KEY, Launch
from tests.testbed.sim_provider import MODEL, SimulatedProvider
from tests.testbed.sim_script import FaultScript, say
from tests.testbed.waiting import until


def machine(*, warm: bool) -> SimulatedProvider:
    """A machine that takes one request at a time, and is not done with it before the test is."""
    return SimulatedProvider(
        answering=say("a ", "b ", "c ", script=FaultScript(gap_seconds=60.0)), max_concurrency=1, warm=warm
    )


async def test_a_shortage_warms_an_idle_machine(launch: Launch) -> None:
    warm, *cold = machine(warm=True), machine(warm=False), machine(warm=False)
    async with (
        launch({"DARKBLOOM_WARM_POOL_INTERVAL": "1s"}) as server,
        warm.session(server.link_url),
        cold[0].session(server.link_url),
        cold[1].session(server.link_url),
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(chat, server.port, API_KEY, MODEL)
        await until(lambda: warm.heard("request"))
        nursery.start_soon(chat, server.port, API_KEY, MODEL)
        await until(lambda: any(one.heard("request") for one in cold))
        asked, idle = sorted(cold, key=lambda one: not one.heard("request"))
        await until(lambda: idle.heard("load"), seconds=20)
        assert idle.heard("load") == [("load", MODEL)]
        assert asked.heard("load") == []
        assert await server.metric("darkbloom_pool_target_machines", model=MODEL) >= 2
        nursery.cancel_scope.cancel()


async def test_observing_loads_nothing(launch: Launch) -> None:
    warm, *cold = machine(warm=True), machine(warm=False), machine(warm=False)
    settings = {"DARKBLOOM_WARM_POOL_INTERVAL": "200ms", "DARKBLOOM_WARM_POOL_OBSERVE_ONLY": "true"}
    async with (
        launch(settings) as server,
        warm.session(server.link_url),
        cold[0].session(server.link_url),
        cold[1].session(server.link_url),
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(chat, server.port, API_KEY, MODEL)
        await until(lambda: warm.heard("request"))
        nursery.start_soon(chat, server.port, API_KEY, MODEL)

        async def wanted() -> None:
            while await server.metric("darkbloom_pool_target_machines", model=MODEL) < 2:
                await trio.sleep(0.05)

        with trio.fail_after(20):
            await wanted()
        assert not any(one.heard("load") for one in (warm, *cold))
        nursery.cancel_scope.cancel()
