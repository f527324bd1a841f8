"""A coordinator that is gone for ten minutes, in virtual time: the provider keeps trying, says so, and comes back."""

from itertools import pairwise

import trio

from protocol.messages.from_provider import Register
from provider.status.record import Connectivity, DaemonState
from provider.status.text import connection_line

MINUTES = 10


async def test_ten_minutes_without_a_coordinator(open_bench, autojump_clock):
    async with open_bench(spread=lambda: 0.5, wall_clock=trio.current_time) as bench:
        first = await bench.coordinator.connection(1)
        await first.wait(Register)
        await trio.sleep(60)
        bench.coordinator.refuse_with = 502
        gone_at = trio.current_time()
        await first.reset()
        await trio.sleep(MINUTES * 60)
        status = bench.link.status
        assert (status.connected, status.registered, status.last_error) == (False, False, "http_502")
        assert abs(status.since - gone_at) < 1
        dials = [moment for moment in bench.coordinator.dials if moment >= gone_at]
        assert all(0.5 <= later - earlier <= 30 for earlier, later in pairwise(dials))
        assert MINUTES * 60 / 30 <= len(dials) <= MINUTES * 60 / 15 + 10
        line = connection_line(shown(status), trio.current_time())
        assert line.startswith("ws://127.0.0.1/ws/provider   not connected for 10m0")
        assert line.endswith("last reason: http_502")
        bench.coordinator.refuse_with = None
        back_at = trio.current_time()
        second = await bench.coordinator.connection(2)
        await second.wait(Register)
        assert trio.current_time() - back_at <= 31
        assert (status.connected, bench.port.lost != []) == (True, True)
        assert "connected" in connection_line(shown(status), trio.current_time())


def shown(status):
    """The status as the state file has it."""
    link = Connectivity(
        coordinator="ws://127.0.0.1/ws/provider",
        connected=status.connected,
        registered=status.registered,
        reconnect_count=status.reconnects,
        last_error=status.last_error,
        since=status.since,
    )
    return DaemonState(
        pid=1,
        process_start="",
        version="0",
        written_at=0,
        started_at=0,
        refresh_seconds=1,
        phase="serving",
        connectivity=link,
    )
