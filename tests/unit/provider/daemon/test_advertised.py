"""What a registration says about speed and about forced tools."""

from dataclasses import replace

from protocol.messages.from_provider import ModelsUpdate, Register
from provider.benchmark import SavedSpeeds, save_speeds
from tests.testbed.byte_model import byte_model


class Compiler:
    def compile(self, source):
        raise AssertionError("nothing is compiled for a registration")


async def test_measured_speeds_are_registered(open_daemon, tmp_path):
    save_speeds(tmp_path / "home", "bytes", SavedSpeeds(prefill_tps=1210.5, decode_tps=92.1))
    async with open_daemon() as daemon:
        register = await (await daemon.coordinator.connection()).wait(Register)
        assert (register.prefill_tps, register.decode_tps) == (1210.5, 92.1)


async def test_nothing_is_claimed_that_was_not_measured(open_daemon):
    async with open_daemon() as daemon:
        register = await (await daemon.coordinator.connection()).wait(Register)
        assert register.prefill_tps is register.decode_tps is None
        assert (register.tool_constraint_protocol, register.tool_constraint_models) == (0, ())
        assert register.darkbloom.features == ("tools", "raw_prompts")


async def test_models_whose_tools_are_enforced_are_named(open_daemon):
    def load(source):
        return replace(byte_model(source.model_id), grammars=Compiler())

    async with open_daemon(load=load) as daemon:
        connection = await daemon.coordinator.connection()
        told = await connection.wait(Register)
        if not told.tool_constraint_models:  # registered before the load was through
            told = await connection.wait(ModelsUpdate, where=lambda update: update.tool_constraint_models)
        assert (told.tool_constraint_protocol, told.tool_constraint_models) == (1, ("bytes",))
