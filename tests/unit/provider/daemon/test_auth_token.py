"""The token of a linked machine: sent with every registration, read anew for each, written nowhere else."""

import logging

from protocol.messages.from_provider import Register
from provider.account import MachineToken, TokenFile

TOKEN = "eigeninference-pt-" + "ab" * 32


async def test_each_registration_carries_the_token_of_that_moment(open_daemon, caplog):
    caplog.set_level(logging.DEBUG)
    async with open_daemon() as daemon:
        first = await daemon.coordinator.connection()
        assert (await first.wait(Register)).auth_token == ""
        file = TokenFile(daemon.home)
        file.write(MachineToken(TOKEN, daemon.coordinator.url.replace("ws:", "http:")))
        await first.close()
        second = await daemon.coordinator.connection(2)
        assert (await second.wait(Register)).auth_token == TOKEN
        file.remove()
        await second.close()
        third = await daemon.coordinator.connection(3)
        assert (await third.wait(Register)).auth_token == ""
    assert TOKEN not in caplog.text
    assert TOKEN not in repr(daemon.events)


async def test_the_token_of_another_coordinator_is_not_sent(open_daemon):
    async with open_daemon() as daemon:
        first = await daemon.coordinator.connection()
        TokenFile(daemon.home).write(MachineToken(TOKEN, "https://other.example"))
        await first.close()
        second = await daemon.coordinator.connection(2)
        assert (await second.wait(Register)).auth_token == ""
