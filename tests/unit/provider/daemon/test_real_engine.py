"""The whole daemon with the real engine and a tiny random model: the text is the model's own."""

import statistics

import trio

from protocol.messages.from_provider import Heartbeat
from provider.config import load_settings
from provider.daemon import DaemonOptions, DaemonSeams, OfferedModel, run_daemon
from provider.models.prompt import render_chat
from tests.testbed.challenged_provider import challenge_seconds
from tests.testbed.fake_coordinator import FakeCoordinator
from tests.testbed.fake_machine import hardened
from tests.testbed.needs import module
from tests.testbed.tiny_model import build_tiny_model

mx = module("mlx.core")

PROMPT = "The quick brown fox"
TOKENS = 24


def greedy(directory):
    """What the library says alone."""
    from mlx_lm import stream_generate

    from provider.models.load import load_model

    model = load_model("tiny", directory)
    tokens = list(render_chat(model, [{"role": "user", "content": PROMPT}]).tokens)
    pieces = list(stream_generate(model.network, model.tokenizer, tokens, max_tokens=TOKENS))
    ids = [piece.token for piece in pieces if piece.token not in model.eos_ids]
    return len(tokens), model.vocabulary.decode(ids)


async def test_greedy_text_over_the_link_equals_the_library(tmp_path):
    directory = await trio.to_thread.run_sync(build_tiny_model, tmp_path / "tiny")
    prompt_tokens, expected = await trio.to_thread.run_sync(greedy, directory)
    with trio.fail_after(120):
        async with FakeCoordinator.open(loopback=True) as coordinator, trio.open_nursery() as nursery:
            options = DaemonOptions(
                models=(OfferedModel("tiny", directory),),
                coordinator_url=coordinator.url,
                settings=load_settings({"DARKBLOOM_HOME": str(tmp_path / "home")}).settings,
                owns_process=False,
            )

            async def run(task_status=trio.TASK_STATUS_IGNORED):
                codes.append(await run_daemon(options, seams=DaemonSeams(harden=hardened), task_status=task_status))

            codes = []
            control = await nursery.start(run)
            connection = await coordinator.connection()
            beat = await connection.wait(Heartbeat)
            assert beat.backend_capacity.slots[0].state == "idle"
            assert beat.backend_capacity.slots[0].active_token_budget_max > 0
            body = {"model": "tiny", "messages": [{"role": "user", "content": PROMPT}], "max_tokens": TOKENS}
            for number in range(4):
                await connection.ask(f"r{number}", body)
            for number in range(4):
                heard = await connection.answer(f"r{number}")
                assert heard.text == expected
                usage = heard.terminal.usage
                assert usage.prompt_tokens == prompt_tokens
                assert 0 < usage.completion_tokens <= TOKENS
            control.drain()
            await connection.wait_end()
    assert codes == [0]


async def test_a_challenge_is_answered_while_sixteen_rows_decode(tmp_path):
    """The bound is for machines with other work; `python -m bench engine` prints what it takes."""
    directory = await trio.to_thread.run_sync(build_tiny_model, tmp_path / "tiny")
    with trio.fail_after(120):
        taken = await challenge_seconds(directory, tmp_path / "home", rows=16, challenges=5)
    assert statistics.median(taken) < 2.0
