"""Nothing of a prompt or a completion leaks from the provider, whatever breaks on their way.

The real daemon serves the demo model; only the drawn tokens are replaced, so that the completion is known. One function
in each module on the path is made to raise once, with prompt and completion in the exception's text and in that of its
cause. Afterwards no log line (level debug), no metric, no answer to the consumer beyond the completion it asked for,
and no file holds a trace of either, token ids included, and the next request is served as if nothing had happened.
"""

from __future__ import annotations

import signal
from contextlib import suppress
from pathlib import Path
from typing import Any

import h11
import trio
from tokenizers import Tokenizer

from tests.conftest import FULL
from tests.testbed.canary import Canary, leaks
from tests.testbed.consumer import chat, chat_body, connect
from tests.testbed.coordinator import API_KEY, Coordinator, coordinator
from tests.testbed.processes import ROOT, Child
from tests.testbed.real_provider import DEMO_MODEL, real_provider
from tests.testbed.sabotage import Saboteur
from tests.testbed.spelling import COMPLETION_FILE

TOKENIZER = Tokenizer.from_file(str(ROOT / "provider" / "demo" / "model" / "tokenizer.json"))


def canary(name: str) -> Canary:
    """Give a canary that is recognised as token ids too, the ends left out: they depend on the neighbours."""
    ids = TOKENIZER.encode(Canary(name).text, add_special_tokens=False).ids[2:-2]
    return Canary(name, {"tokens": ", ".join(map(str, ids)).encode(), "tokens-json": ",".join(map(str, ids)).encode()})


PROMPT, COMPLETION = canary("p"), canary("c")
ANSWER = f"before {COMPLETION.text} after {COMPLETION.text}. "
HEADERS = {"authorization": f"Bearer {API_KEY}"}
TRIES = 20
EXIT_ENGINE_LOST = 70

PLAIN: dict[str, Any] = {}
SAMPLED: dict[str, Any] = {"temperature": 1.0, "top_p": 0.9, "frequency_penalty": 0.5, "logit_bias": {"5": 1}}
STOPPED: dict[str, Any] = {"stop": ["never in it"]}
TOOLS: dict[str, Any] = {
    "tools": [{"type": "function", "function": {"name": "look", "parameters": {"properties": {"at": {}}}}}]
}
LEAVE: dict[str, Any] = {"leave": True}
LONG: dict[str, Any] = {"long": True}

THREAD = {
    "provider.engine.core:EngineCore.apply",
    "provider.engine.core:EngineCore.turn",
    "provider.engine.core:EngineCore._publish",
    "provider.engine.slot:Slot.submit",
    "provider.engine.slot:Slot.admit",
    "provider.engine.slot:Slot._take",
    "provider.engine.slot:Slot.cancel",
    "provider.engine.mailbox:Mailbox.post",
}
"""Here the engine thread itself dies; the second time ends the process, and its supervisor starts it again."""

LATER = {
    "provider.engine.core:EngineCore.apply",
    "provider.engine.core:EngineCore._publish",
    "provider.engine.slot:Slot.admit",
    "provider.engine.slot:Slot._take",
}
"""Left to the long run, as every start takes seconds: other functions of the same modules end the thread as well."""

TARGETS: dict[str, dict[str, Any]] = {
    # From the socket to the desk.
    "provider.link.session:decode_to_provider": PLAIN,
    "provider.link.session:LinkSession._handle": PLAIN,
    "provider.daemon.provider:Provider.accept_request": PLAIN,
    "provider.requests.desk:RequestDesk._refuses_now": PLAIN,
    "provider.requests.desk:RequestDesk._accept": PLAIN,
    "provider.requests.desk:RequestDesk.admit": PLAIN,
    # Opening the box.
    "provider.requests.life:RequestLife.run": PLAIN,
    "provider.requests.life:RequestLife._serve": PLAIN,
    "provider.requests.life:RequestLife._open": PLAIN,
    "provider.requests.life:is_small": PLAIN,
    "provider.requests.life:open_order": PLAIN,
    "provider.requests.opening:open_request": PLAIN,
    "provider.requests.opening:parse_order": PLAIN,
    "provider.requests.opening:wipe_plaintext": PLAIN,
    "provider.requests.body:normalise_messages": PLAIN,
    "provider.requests.body:normalise_tools": TOOLS,
    "provider.requests.body:_stops": STOPPED,
    "provider.requests.body:_biases": SAMPLED,
    # Template and tokens.
    "provider.models.slots:SlotManager.pin": PLAIN,
    "provider.models.slots:SlotManager.get": PLAIN,
    "provider.requests.life:RequestLife._answer": PLAIN,
    "provider.requests.life:render_order": PLAIN,
    "provider.requests.render:render_chat": PLAIN,
    "provider.requests.render:within_vocabulary": PLAIN,
    "provider.requests.render:_plan": PLAIN,
    "provider.requests.life:constrained": PLAIN,
    "provider.models.prompt:encode_text": PLAIN,
    # The engine's trio side.
    "provider.engine.front:EngineFront.submit": PLAIN,
    "provider.engine.front:EngineFront._hand_out": PLAIN,
    "provider.engine.generation:Generation.push": PLAIN,
    "provider.engine.generation:Generation.receive_batch": PLAIN,
    "provider.engine.generation:Generation._account": PLAIN,
    "provider.engine.generation:Generation.close": PLAIN,
    # Its thread.
    "provider.engine.prefixes:PrefixStore.find": PLAIN,
    "provider.engine.lane:Lane.start": PLAIN,
    "provider.engine.lane:Lane.step": PLAIN,
    "provider.engine.sampling:SamplingFactory.make": PLAIN,
    "provider.engine.sampling:Sampler.__call__": SAMPLED,
    "provider.engine.sampling:keep_top_p": SAMPLED,
    "provider.engine.mlx_backend:MlxBackend.make_sampling": PLAIN,
    "provider.engine.mlx_backend:MlxBackend.is_broken": PLAIN,
    "provider.engine.core:EngineCore.apply": PLAIN,
    "provider.engine.core:EngineCore.turn": PLAIN,
    "provider.engine.core:EngineCore._publish": PLAIN,
    "provider.engine.slot:Slot.submit": PLAIN,
    "provider.engine.slot:Slot.admit": PLAIN,
    "provider.engine.slot:Slot._take": PLAIN,
    "provider.engine.slot:Slot.cancel": LEAVE,
    "provider.engine.row:Row.take": PLAIN,
    "provider.engine.row:Row.finish": PLAIN,
    "provider.engine.detokenise:ByteDetokeniser.add": PLAIN,
    "provider.engine.detokenise:ByteDetokeniser.flush": PLAIN,
    "provider.engine.stops:StopMatcher.feed": STOPPED,
    "provider.engine.mailbox:Mailbox.post": PLAIN,
    # The way back.
    "provider.requests.life:RequestLife._stream": PLAIN,
    "provider.requests.life:RequestLife._end": PLAIN,
    "provider.requests.life:RequestLife.cancel": LEAVE,
    "provider.requests.life:encode": PLAIN,
    "provider.requests.frames:EventWriter.first": PLAIN,
    "provider.requests.frames:EventWriter.content": PLAIN,
    "provider.requests.frames:EventWriter.finish": PLAIN,
    "provider.requests.frames:EventWriter.usage": PLAIN,
    "provider.requests.answer:Answer.send_delta": PLAIN,
    "provider.requests.narration:Narration.delta": PLAIN,
    "provider.requests.narration:Narration.end": PLAIN,
    "provider.requests.answer:Answer.complete_frame": PLAIN,
    "provider.requests.answer:seal_chunk": PLAIN,
    "provider.requests.answer:chunk_frame": PLAIN,
    "provider.requests.answer:sign_text": PLAIN,
    "protocol.response_hash:ResponseHasher.add_text": PLAIN,
    "protocol.response_hash:ResponseHasher.finish": PLAIN,
    "provider.link.outbox:RequestLane.put": PLAIN,
    "provider.link.outbox:RequestLane.left": PLAIN,
    "provider.link.outbox:Outbox.put_data": PLAIN,
    "provider.link.outbox:Outbox.put_control": PLAIN,
    "provider.link.outbox:Outbox.take": PLAIN,
    "provider.link.stream:FrameStream.send_frames": PLAIN,
    "provider.link.stream:FrameStream.send_all": PLAIN,
    "provider.link.stream:FrameStream.receive_some": PLAIN,
    # Beside it.
    "provider.daemon.provider:Provider.heartbeat": PLAIN,
    "provider.daemon.provider:measure_capacity": PLAIN,
    "provider.daemon.provider:build_heartbeat": PLAIN,
    "provider.link.session:is_significant": PLAIN,
    "provider.observe.log_format:line_fields": LONG,
}


class Supervisor:
    """Keeps the provider running, as a service manager would; `ends` holds the exit code of each run.

    A provider that refuses to start ends the test: the end of its log says why.
    """

    def __init__(self, home: Path, server: Coordinator) -> None:
        self._home = home
        self._server = server
        self.ends: list[int] = []
        self.running: Child | None = None

    async def run(self) -> None:
        """Start it again whenever it ended."""
        settings = {
            "DARKBLOOM_LOG_LEVEL": "debug",
            "DARKBLOOM_HEARTBEAT_INTERVAL": "1s",
            "TMPDIR": str(self._home / "tmp"),
        }
        while True:
            async with real_provider(
                self._home, self._server.link_url, settings, module="tests.testbed.sabotage"
            ) as self.running:
                while self.running.process.poll() is None:
                    await trio.sleep(0.02)
            self.ends.append(self.running.process.returncode or 0)
            assert self.ends[-1] in (EXIT_ENGINE_LOST, -signal.SIGABRT), self.running.text()[-2000:]

    @property
    def pid(self) -> int:
        """The process id of this run."""
        assert self.running is not None
        return self.running.pid


async def hurt(server: Coordinator, more: dict[str, Any]) -> bytes:
    """Ask, and give all bytes that came back, however the answer ended."""
    fields = {name: value for name, value in more.items() if more not in (LEAVE, LONG)}
    prompt = PROMPT.text * 300 if more is LONG else PROMPT.text
    body = chat_body(DEMO_MODEL, prompt, max_tokens=400, **fields)
    with trio.fail_after(30):
        async with connect(server.port) as consumer:
            with suppress(trio.BrokenResourceError, h11.RemoteProtocolError, AssertionError):
                head = await consumer.post("/v1/chat/completions", body, HEADERS)
                if more is LEAVE and head.status == 200:
                    await consumer.next_event()
                else:
                    await consumer.whole()
            return bytes(consumer.raw)


async def served(server: Coordinator) -> None:
    """Wait until a request is answered in full; a provider that was cut off or restarted has to come back first."""
    with trio.fail_after(60):
        while True:
            head, text, _events = await chat(server.port, API_KEY, DEMO_MODEL, PROMPT.text, max_tokens=400)
            if head.status == 200 and text == ANSWER:
                return
            assert head.status in (200, 429, 502), head
            await trio.sleep(0.05)


async def test_no_exception_in_the_provider_gives_the_text_away(tmp_path: Path) -> None:
    home = tmp_path / "machine"
    (home / "tmp").mkdir(parents=True)
    (home / COMPLETION_FILE).write_text(ANSWER)
    sabotage = Saboteur(home, f"{PROMPT.text} {COMPLETION.text}", list(TARGETS))
    settings = {
        "DARKBLOOM_LOG_LEVEL": "debug",
        "DARKBLOOM_REGISTRATIONS_PER_MINUTE": "1000",
        "DARKBLOOM_FIRST_CONTENT_BASE": "8s",
    }
    silent: list[str] = []
    async with coordinator(tmp_path / "coordinator", settings) as server, trio.open_nursery() as nursery:
        provider = Supervisor(home, server)
        nursery.start_soon(provider.run)
        await server.routable(DEMO_MODEL, seconds=60)
        await served(server)
        for target, more in TARGETS.items():
            if target in LATER and not FULL:
                continue
            runs = len(provider.ends)
            await sabotage.arm(target, provider.pid)
            # Some functions are called only with a heartbeat, or when a consumer leaves at the right moment.
            for _ in range(TRIES):
                came = await hurt(server, more)
                assert PROMPT.found_in(came) == [], target
                if sabotage.sprung(target):
                    break
            assert sabotage.sprung(target), f"{target} was not called"
            if not came:
                silent.append(target)
            await served(server)
            assert provider.ends[runs:] in ([], [EXIT_ENGINE_LOST] if target in THREAD else []), target
        # A crash while a request runs leaves stacks on standard error, and no memory anywhere.
        for number in (signal.SIGUSR1, signal.SIGABRT):
            async with connect(server.port) as consumer:
                body = chat_body(DEMO_MODEL, PROMPT.text, max_tokens=400)
                await consumer.post("/v1/chat/completions", body, HEADERS)
                await consumer.next_event()
                provider.running.signal(number)  # type: ignore[union-attr]
                if number is signal.SIGUSR1:
                    await consumer.whole()
            await served(server)
        assert provider.ends[-1] == -signal.SIGABRT
        metrics = (await server.get("/metrics", None)).content
        last = provider.running
        nursery.cancel_scope.cancel()
    assert last is not None
    assert last.process.returncode == 0
    assert silent == [], "somebody is left to answer wherever the provider breaks"

    output = (home / "provider.log").read_bytes()
    assert output.count(b"Sabotaged") >= 40, "the log must show that it had something to leak"
    assert b"Current thread" in output
    for canary in (PROMPT, COMPLETION):
        assert canary.found_in(metrics) == []
    assert leaks([PROMPT, COMPLETION], tmp_path, {sabotage.secret_file, home / COMPLETION_FILE}) == []
    assert list(home.rglob("core*")) == []
