"""Background loops survive their faults; a daemon whose state cannot be measured goes on serving."""

import trio

from protocol.messages.from_provider import ProviderDrain, Register
from protocol.messages.to_provider import ProviderDrainAck
from provider.daemon.reporter import StateReporter
from provider.daemon.supervised import supervised
from tests.testbed.sealed_asker import chat


async def test_a_loop_runs_again_with_growing_pauses(autojump_clock, caplog):
    starts = []

    async def loop():
        starts.append(trio.current_time())
        if len(starts) < 4:
            raise ValueError("CANARY")

    began = trio.current_time()
    await supervised("test", loop)
    assert [start - began for start in starts] == [0, 1, 3, 7]
    assert "CANARY" not in caplog.text
    assert [record.fault for record in caplog.records] == ["ValueError"] * 3


async def test_a_fault_while_the_state_is_measured_ends_nothing(open_daemon, monkeypatch, caplog):
    async def broken(self, *, stopped):
        raise ValueError("CANARY")

    monkeypatch.setattr(StateReporter, "_measure", broken)
    with trio.fail_after(30):
        async with open_daemon() as daemon:
            connection = await daemon.coordinator.connection()
            await connection.wait(Register)
            await connection.ask("r1", chat())
            assert (await connection.answer("r1")).text == "Hello"
            daemon.control.drain()
            barrier = await connection.wait(ProviderDrain)
            await connection.send(ProviderDrainAck(request_id=barrier.request_id))
            await daemon.ended.wait()
            assert daemon.code == 0
    assert "CANARY" not in caplog.text
