"""Nothing of a prompt or a completion leaks, whatever breaks on their way.

One function in each module on the path is made to raise once, with prompt and completion in the exception's text and
in that of its cause. Afterwards no log line (level debug), no metric, no answer to the consumer and no file holds a
trace of either, and the next request is served as if nothing had happened.
"""

from __future__ import annotations

from pathlib import Path

import h11
import pytest
import trio

from tests.testbed.canary import Canary, leaks
from tests.testbed.consumer import chat, chat_body, connect
from tests.testbed.coordinator import API_KEY, Coordinator, coordinator
from tests.testbed.sabotage import NO_SPOUT_FILE, Saboteur
from tests.testbed.sim_provider import MODEL, SimulatedProvider
from tests.testbed.sim_script import FaultScript, SessionScript, say
from tests.testbed.waiting import until

PROMPT, COMPLETION = Canary("p"), Canary("c")
ANSWER = ("before ", COMPLETION.text, " after", COMPLETION.text, ".")
HEADERS = {"authorization": f"Bearer {API_KEY}"}

BOTH, STREAM, ONE_PIECE = (True, False), (True,), (False,)
TARGETS: dict[str, tuple[bool, ...]] = {
    # The way in.
    "server.listener.http1_server:Http1Server._serve": STREAM,
    "server.listener.http1_server:Http1Server._run_app": STREAM,
    "server.listener.exchange:Exchange.push": STREAM,
    "server.listener.exchange:Exchange.listen": STREAM,
    "server.serve.layers:Layers.__call__": STREAM,
    "server.serve.layers:is_gated": STREAM,
    "server.api.auth:Door.identify": STREAM,
    "server.accounts.callers:Callers.identify_call": STREAM,
    "server.api.request_limits:RequestLimits.count_request": STREAM,
    "server.api.request_limits:RequestLimits.count_tokens": STREAM,
    "server.api.chat:parse_chat_request": BOTH,
    "server.api.target:ModelNames.target": STREAM,
    "server.relay.relay:InferenceRelay.run": STREAM,
    "server.billing.relay_funds:LedgerFunds.admit": BOTH,
    "server.billing.relay_funds:LedgerFunds.dispatch": STREAM,
    "server.registry.registry:Registry.decide": BOTH,
    "server.registry.reserve:Chooser._enter": STREAM,
    # Through the relay to the provider.
    "server.relay.request_run:RequestRun._serve": BOTH,
    "server.relay.opening:Opening._submit": STREAM,
    "server.relay.dispatch:seal_for_provider": BOTH,
    "server.relay.dispatch:inference_request_frame": STREAM,
    "server.link.attempts:Attempts.attach": STREAM,
    "server.link.attempts:Attempts.send_request": STREAM,
    "server.link.writer:TwoLaneWriter.submit_data": STREAM,
    "server.link.transport:SocketTransport.send_now": STREAM,
    # And back.
    "server.link.reader:Reader.dispatch": STREAM,
    "server.link.reader:decode_from_provider": STREAM,
    "server.link.reader:handle": STREAM,
    "server.link.attempts:Attempts.completed": BOTH,
    "server.relay.attempt:Attempt.on_opened": BOTH,
    "server.relay.attempt:Attempt.on_run": ONE_PIECE,
    "server.relay.attempt:Attempt.on_complete": BOTH,
    "server.relay.attempt:advance": STREAM,
    "protocol.api.chat_stream:ChatStream.feed": STREAM,
    "protocol.api.chat_stream:ChatStream.finish": STREAM,
    "protocol.api.chat_answer:ChatAnswer.feed": ONE_PIECE,
    "protocol.api.chat_answer:ChatAnswer.add_run": ONE_PIECE,
    "protocol.api.chat_answer:ChatAnswer.finish": ONE_PIECE,
    "server.relay.outlet:Outlet.put": STREAM,
    "server.relay.outlet:Outlet.pump": STREAM,
    "server.relay.request_run:RequestRun._relay": STREAM,
    "server.relay.request_run:RequestRun._finish": BOTH,
    "server.billing.settlement:LedgerSettlement.settle": BOTH,
    "server.billing.settlement:settle": STREAM,
    "server.api.request_limits:RequestLimits.settle": STREAM,
    "server.answer.streaming:AnswerConnection._stream": STREAM,
    "server.answer.direct:DirectWriter.drain": STREAM,
    "server.answer.direct:DirectWriter.write_now": STREAM,
    "server.listener.exchange:Exchange.send": BOTH,
    "server.api.inference:json_answer": ONE_PIECE,
    # Beside it.
    "server.observe.observers:RelayMetrics.request_ended": STREAM,
    "server.serve.layers:mint_coord_request_id": STREAM,
    "server.serve.request_log:AccessLog.write": STREAM,
    "server.observe.log_format:line_fields": STREAM,
}


WITHOUT_SPOUT: dict[str, tuple[bool, ...]] = {
    # Runs that the pump could not write to the consumer by itself.
    "server.relay.attempt:Attempt.on_run": BOTH,
    "server.relay.outlet:Outlet.run": STREAM,
    "server.answer.direct:DirectWriter.write_now": STREAM,
    "server.answer.direct:DirectWriter.drain": STREAM,
}

CONNECTION_LOST = {
    "server.listener.http1_server:Http1Server._serve",
    "server.listener.http1_server:Http1Server._run_app",
    "server.listener.exchange:Exchange.push",
    "server.listener.exchange:Exchange.listen",
}
TRIES = 20


async def hurt(server: Coordinator, *, stream: bool) -> bytes:
    """Ask, and give all bytes that came back, however the answer ended."""
    with trio.fail_after(15):
        async with connect(server.port) as consumer:
            try:
                body = chat_body(MODEL, PROMPT.text, stream=stream)
                await consumer.request("POST", "/v1/chat/completions", body, HEADERS)
                await consumer.head()
                await consumer.whole()
            except (trio.BrokenResourceError, h11.RemoteProtocolError, AssertionError):
                pass  # an aborted connection is an honest end
            return bytes(consumer.raw)


async def served(server: Coordinator) -> None:
    """Wait until a request is answered in full; a provider that was cut off has to come back first."""
    with trio.fail_after(15):
        while True:
            head, text, _events = await chat(server.port, API_KEY, MODEL, PROMPT.text)
            if head.status == 200:
                assert text == "".join(ANSWER)
                return
            assert head.status in (429, 502), head
            await trio.sleep(0.02)


@pytest.mark.parametrize(("targets", "fewest_faults"), [(TARGETS, 10), (WITHOUT_SPOUT, 1)], ids=["spout", "no-spout"])
async def test_no_exception_on_the_path_gives_the_text_away(
    tmp_path: Path, targets: dict[str, tuple[bool, ...]], fewest_faults: int
) -> None:
    home = tmp_path / "home"
    (home / "tmp").mkdir(parents=True)
    if targets is WITHOUT_SPOUT:
        (home / NO_SPOUT_FILE).touch()
    sabotage = Saboteur(home, f"{PROMPT.text} {COMPLETION.text}", list(targets))
    settings = {
        "DARKBLOOM_LOG_LEVEL": "debug",
        "DARKBLOOM_REGISTRATIONS_PER_MINUTE": "1000",
        "DARKBLOOM_FIRST_CONTENT_BASE": "2s",
        "TMPDIR": str(home / "tmp"),
    }
    provider = SimulatedProvider(
        answering=say(*ANSWER, script=FaultScript(gap_seconds=0.002)), script=SessionScript(heartbeat_seconds=0.5)
    )
    unanswered: list[str] = []
    async with (
        coordinator(home, settings, module="tests.testbed.sabotage") as server,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(provider.stay, server.link_url)
        await until(lambda: provider.heard("challenge") and provider.judged.is_set())
        await served(server)
        for target, kinds in targets.items():
            for stream in kinds:
                await sabotage.arm(target, server.process.pid)
                # Some functions are called only when a write has to wait, or when a heartbeat comes.
                for _ in range(TRIES):
                    came = await hurt(server, stream=stream)
                    assert PROMPT.found_in(came) == [], target
                    if sabotage.sprung(target):
                        break
                assert sabotage.sprung(target), f"{target} was not called"
                if not came:
                    unanswered.append(target)
                await served(server)
        metrics = (await server.get("/metrics", None)).content
        nursery.cancel_scope.cancel()
    assert server.process.process.returncode == 0

    output = server.process.output.read_bytes()
    assert output.count(b"Sabotaged") >= fewest_faults, "the log must show that it had something to leak"
    for canary in (PROMPT, COMPLETION):
        assert canary.found_in(metrics) == []
    assert leaks([PROMPT, COMPLETION], tmp_path, {sabotage.secret_file}) == []
    # Nobody is left to answer where the connection itself breaks; everything further in has somebody.
    assert set(unanswered) <= CONNECTION_LOST


@pytest.mark.parametrize("form", Canary("x").traces())
def test_search_finds_each_form(tmp_path: Path, form: str) -> None:
    canary = Canary("x")
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "file").write_bytes(b"around " + canary.traces()[form] + b" it")
    assert f"deep/file: {form}" in leaks([canary], tmp_path, set())
