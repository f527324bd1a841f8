"""A simulated provider that speaks the true wire: real sealing, real challenge answers, and faults on request."""

from __future__ import annotations

import json
import time
from base64 import b64encode
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import msgspec
import trio

from protocol import codec
from protocol.attestation import AttestationFacts
from protocol.identity import Posture, SoftwareSigner, build_attestation, build_challenge_reply
from protocol.messages.from_provider import (
    BackendCapacity,
    CpuCores,
    Hardware,
    Heartbeat,
    InferenceAccepted,
    InferenceComplete,
    InferenceError,
    LoadModelStatus,
    ModelEntry,
    PrivacyCapabilities,
    Register,
    Slot,
    SystemMetrics,
    Usage,
)
from protocol.messages.to_provider import AttestationChallenge, Cancel, InferenceRequest, LoadModel, TrustStatus
from protocol.response_hash import ResponseHasher
from protocol.sealing import ProviderKeyPair, SealingError, WipeableKey, open_request, seal_chunk
from tests.testbed.sim_script import Answering, ChunkShape, FaultScript, SessionScript, say
from tests.testbed.sim_wire import Closed, SimWire, frame

MODEL = "sim-model"
ALL_CAPABILITIES = PrivacyCapabilities(
    text_backend_inprocess=True,
    text_proxy_disabled=True,
    anti_debug_enabled=True,
    core_dumps_disabled=True,
    env_scrubbed=True,
)
GONE = (trio.BrokenResourceError, trio.ClosedResourceError, Closed, OSError)


class SimulatedProvider:
    """One machine: identity, key, models and a script; connect it with `session`.

    `log` holds what happened, in order: ("registered",), ("challenge",), ("trust", level, status, reason),
    ("request", id), ("cancel", id), ("load", model), ("closed", code). A machine that is not `warm` has its models on
    disk until it is told to load them, or asked for an answer.
    """

    def __init__(
        self,
        *,
        models: Sequence[str] = (MODEL,),
        answering: Answering | None = None,
        script: SessionScript | None = None,
        signer: SoftwareSigner | None = None,
        max_concurrency: int = 24,
        token_budget: int = 4_000_000,
        decode_tps: float = 100.0,
        reads_images: bool = False,
        forces_tools: bool = False,
        warm: bool = True,
    ) -> None:
        self.models = tuple(models)
        self.answering = answering or say("Hello", ", ", "world")
        self.script = script or SessionScript()
        self.signer = signer or SoftwareSigner.generate()
        self.keys = ProviderKeyPair.generate()
        self.max_concurrency = max_concurrency
        self.token_budget = token_budget
        self.decode_tps = decode_tps
        self.reads_images = reads_images
        self.forces_tools = forces_tools
        self.loaded = set(models) if warm else set[str]()
        self.draining = False
        self.log: list[tuple[Any, ...]] = []
        self.bodies: list[dict[str, Any]] = []
        self.running: dict[str, trio.CancelScope] = {}
        self.deaf: set[str] = set()
        self.sent: dict[str, int] = {}
        """Content chunks that were sent, by request."""
        self.judged = trio.Event()
        self.wire: SimWire | None = None
        self._blob: msgspec.Raw | None = None
        self._seq = 0
        self._served = 0

    def heard(self, kind: str) -> list[tuple[Any, ...]]:
        """Give the log entries of one kind."""
        return [entry for entry in self.log if entry[0] == kind]

    @asynccontextmanager
    async def session(self, url: str) -> AsyncIterator[SimulatedProvider]:
        """Keep one connection open for the length of the block.

        When the block starts it is registered, and its challenge is judged if the script answers it.
        """
        async with trio.open_nursery() as nursery:
            await nursery.start(self.run, url)
            if self.script.register and self.script.challenge == "answer":
                await self.judged.wait()
            yield self
            nursery.cancel_scope.cancel()

    async def stay(self, url: str, *, pause_seconds: float = 0.05) -> None:
        """Connect again and again until cancelled, whatever becomes of each connection."""
        while True:
            try:
                await self.run(url)
            except* GONE:
                pass
            await trio.sleep(pause_seconds)

    async def run(self, url: str, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Connect, register and serve until the coordinator closes the connection or the script does."""
        self.judged = trio.Event()
        self._seq = 0
        wire = self.wire = await SimWire.connect(url)
        try:
            if self.script.register:
                await wire.send_text(codec.encode(self.register_message(wire)))
                self.log.append(("registered",))
                await wire.send_text(codec.encode(self.heartbeat_message()))
            task_status.started()
            if self.script.stop_reading_after_register:
                await self._read_until_judged(wire)
                await trio.sleep_forever()
            async with trio.open_nursery() as nursery:
                if self.script.register:
                    nursery.start_soon(self._heartbeats, wire)
                await self._read(wire, nursery)
                nursery.cancel_scope.cancel()
        except* Closed as group:
            closed = group.exceptions[0]
            self.log.append(("closed", getattr(closed, "code", None)))
        except* GONE:
            self.log.append(("closed", None))
        finally:
            self.judged.set()
            self.running.clear()
            await wire.close()

    def register_message(self, wire: SimWire | None = None) -> Register:
        """Build a fresh, signed `register`."""
        nonce = wire.handshake_headers.get("x-darkbloom-registration-nonce", "") if wire else ""
        if self._blob is None or not self.script.reuse_blob:
            facts = AttestationFacts(
                chip_name="Simulated",
                hardware_model="Testbed",
                os_version="1.0.0",
                rdma_disabled=True,
                dev_attestation=True,
                platform="linux-x86_64",
                registration_nonce=nonce,
            )
            self._blob = build_attestation(
                self.signer,
                facts=facts,
                encryption_public_key=self.keys.public_text,
                timestamp=f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
            )
        return Register(
            hardware=Hardware(
                machine_model="Testbed",
                chip_name="Simulated",
                memory_gb=64,
                memory_available_gb=60.0,
                cpu_cores=CpuCores(total=8, performance=8),
                memory_bandwidth_gbs=400.0,
            ),
            models=tuple(
                ModelEntry(id=model, size_bytes=2_000_000, model_type="llama", is_vision=self.reads_images)
                for model in self.models
            ),
            backend="mlx-python",
            version="0.1.0",
            public_key=self.keys.public_text,
            encrypted_response_chunks=True,
            attestation=self._blob,
            prefill_tps=4000.0,
            decode_tps=self.decode_tps,
            privacy_capabilities=ALL_CAPABILITIES,
            tool_constraint_protocol=int(self.forces_tools),
            platform="linux-x86_64",
        )

    def heartbeat_message(self) -> Heartbeat:
        """Build a heartbeat that tells the truth about the running requests."""
        self._seq += 1
        running = len(self.running)
        status = "draining" if self.draining else "serving" if running else "idle"
        slots = tuple(
            Slot(
                model=model,
                state="running" if running else "idle",
                num_running=running,
                max_concurrency=self.max_concurrency,
                active_token_budget_max=self.token_budget,
                kv_bytes_per_token=4096,
                observed_decode_tps=self.decode_tps,
            )
            for model in self.models
            if model in self.loaded
        )
        return Heartbeat(
            status=status,
            warm_models=tuple(model for model in self.models if model in self.loaded),
            system_metrics=SystemMetrics(memory_pressure=0.1, cpu_usage=0.1, thermal_state="nominal"),
            backend_capacity=BackendCapacity(
                slots=slots, total_memory_gb=64.0, free_for_load_gb=40.0, capacity_seq=self._seq
            ),
        )

    async def barrier(self) -> None:
        """Wait until the coordinator has handled everything that was sent so far."""
        assert self.wire is not None
        await (await self.wire.ping()).wait()

    async def _heartbeats(self, wire: SimWire) -> None:
        while True:
            await trio.sleep(self.script.heartbeat_seconds)
            await wire.send_text(codec.encode(self.heartbeat_message()))

    async def _read_until_judged(self, wire: SimWire) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._read, wire, nursery)
            await self.judged.wait()
            nursery.cancel_scope.cancel()

    async def _read(self, wire: SimWire, nursery: trio.Nursery) -> None:
        while True:
            await self._handle(codec.decode_to_provider(await wire.receive()), wire, nursery)

    async def _handle(self, message: object, wire: SimWire, nursery: trio.Nursery) -> None:
        if isinstance(message, InferenceRequest):
            self.log.append(("request", message.request_id))
            await nursery.start(self._serve, message, wire)
        elif isinstance(message, Cancel):
            self.log.append(("cancel", message.request_id))
            if message.request_id in self.running and message.request_id not in self.deaf:
                self.running[message.request_id].cancel()
        elif isinstance(message, AttestationChallenge):
            self.log.append(("challenge",))
            await self._answer_challenge(message, wire, nursery)
        elif isinstance(message, LoadModel):
            self.log.append(("load", message.model_id))
            await wire.send_text(codec.encode(LoadModelStatus(model_id=message.model_id, status="started")))
            self.loaded.add(message.model_id)
            await wire.send_text(codec.encode(LoadModelStatus(model_id=message.model_id, status="succeeded")))
            await wire.send_text(codec.encode(self.heartbeat_message()))
        elif isinstance(message, TrustStatus):
            self.log.append(("trust", message.trust_level, message.status, message.reason))

    async def _answer_challenge(self, challenge: AttestationChallenge, wire: SimWire, nursery: trio.Nursery) -> None:
        if self.script.challenge == "ignore":
            return
        signer = SoftwareSigner.generate() if self.script.challenge == "wrong_signature" else self.signer
        posture = Posture(sip_enabled=False, secure_boot_enabled=False, rdma_disabled=True)
        reply = build_challenge_reply(signer, challenge.nonce, challenge.timestamp, posture, self.keys.public_text)
        await wire.send_text(codec.encode(reply))
        nursery.start_soon(self._await_judgement, await wire.ping(), self.judged)

    async def _await_judgement(self, answered: trio.Event, judged: trio.Event) -> None:
        """The coordinator takes frames in order: once it answers a ping behind the reply, the reply was judged."""
        await answered.wait()
        judged.set()

    async def _serve(self, request: InferenceRequest, wire: SimWire, *, task_status: trio.TaskStatus[None]) -> None:
        request_id = request.request_id
        try:
            body, shared = open_request(request.encrypted_body, self.keys)
        except SealingError:
            task_status.started()
            failed = InferenceError(request_id=request_id, error="does not open", status_code=400)
            await wire.send_text(codec.encode(failed))
            return
        parsed: dict[str, Any] = json.loads(bytes(body))
        self.bodies.append(parsed)
        if parsed.get("model") in self.models and parsed["model"] not in self.loaded:
            await wire.send_text(codec.encode(InferenceAccepted(request_id=request_id)))
            self.loaded.add(parsed["model"])
        answer, script = self.answering(parsed)
        if not script.obey_cancel:
            self.deaf.add(request_id)
        with trio.CancelScope() as scope:
            self.running[request_id] = scope
            task_status.started()
            run = _Run(self, wire, request_id, parsed, shared, script)
            try:
                await run.play(answer.all_deltas(), answer.prompt_tokens, answer.finish_reason)
            finally:
                self.running.pop(request_id, None)
        if scope.cancelled_caught and script.answer_cancel:
            await run.end_cancelled(answer.prompt_tokens)
        self._served += 1


class _Run:
    """One request being answered."""

    def __init__(
        self,
        provider: SimulatedProvider,
        wire: SimWire,
        request_id: str,
        body: Mapping[str, Any],
        shared: WipeableKey,
        script: FaultScript,
    ) -> None:
        self.provider = provider
        self.wire = wire
        self.request_id = request_id
        self.shared = shared
        self.script = script
        self.shape = ChunkShape(request_id, str(body.get("model", "")), int(time.time()))
        self.hasher = ResponseHasher(request_id)
        self.sent = 0
        self.corked: list[bytes] = []

    async def write(self, data: bytes) -> None:
        """Send bytes at once, or keep them until the terminal goes out with them."""
        if self.script.corked:
            self.corked.append(data)
        else:
            await self.wire.send_bytes(data)

    async def play(self, deltas: Sequence[Mapping[str, Any]], prompt_tokens: int, finish: str) -> None:
        """Send the whole answer, faults included."""
        script = self.script
        if script.accept:
            await self.wire.send_text(codec.encode(InferenceAccepted(request_id=self.request_id)))
        if script.first_delay_seconds:
            await trio.sleep(script.first_delay_seconds)
        if script.preamble:
            await self.send(self.shape.delta({"role": "assistant", "content": ""}))
        waiting: list[bytes] = []
        for step, delta in enumerate(deltas):
            if not await self._before(step):
                return
            waiting.append(self._chunk(step, self.shape.delta(delta)))
            self._hash(delta)
            self.sent += 1
            self.provider.sent[self.request_id] = self.sent
            if len(waiting) >= script.chunks_per_write:
                await self.write(b"".join(waiting))
                waiting.clear()
            if script.gap_seconds:
                await trio.sleep(script.gap_seconds)
        if waiting:
            await self.write(b"".join(waiting))
        if not await self._before(len(deltas)) or not script.terminal:
            return
        await self.send(self.shape.delta({}, finish))
        await self.send(self.shape.usage(prompt_tokens, self.sent))
        await self.send(b"data: [DONE]")
        await self._complete(prompt_tokens)

    async def end_cancelled(self, prompt_tokens: int) -> None:
        """Send the terminal that a cancelled request owes."""
        if self.sent:
            await self._complete(prompt_tokens)
            return
        failed = InferenceError(
            request_id=self.request_id,
            error="cancelled",
            status_code=499,
            failure_code="cancelled",
            terminal_cause="cancelled",
        )
        await self.wire.send_text(codec.encode(failed))

    async def send(self, plaintext: bytes) -> None:
        """Seal and send one chunk."""
        await self.write(frame(self._sealed(plaintext)))

    def _hash(self, delta: Mapping[str, Any]) -> None:
        text = delta.get("content") or delta.get("reasoning_content")
        if isinstance(text, str):
            self.hasher.add_text(text)

    async def _before(self, step: int) -> bool:
        """Commit the faults that come before this step; False ends the request without a terminal of its own."""
        script = self.script
        if step == script.malformed_at:
            await self.wire.send_text(b'{"type":"heartbeat","status":')
        if step == script.unknown_at:
            await self.wire.send_text(b'{"type":"no_such_type","request_id":"x"}')
        if step == script.stall_at:
            await trio.sleep_forever()
        if step == script.die_at:
            self.wire.reset()
            raise Closed(None)
        if step == script.fail_at:
            failure = script.failure
            failed = InferenceError(
                request_id=self.request_id,
                error=failure.error,
                status_code=failure.status_code,
                failure_code=failure.failure_code,
                error_reason=failure.error_reason,
                terminal_cause=failure.terminal_cause,
            )
            await self.wire.send_text(codec.encode(failed))
            return False
        return True

    def _chunk(self, step: int, plaintext: bytes) -> bytes:
        script = self.script
        if step == script.tamper_at:
            return frame(self._sealed(plaintext, flip=True))
        if step == script.plain_at:
            return frame(msgspec.json.encode(self._frame(data=plaintext.decode())))
        if step == script.foreign_at:
            return frame(self._sealed(plaintext, sender=ProviderKeyPair.generate().public_text))
        if step == script.mixed_at:
            return frame(self._sealed(plaintext, data=plaintext.decode()))
        return frame(self._sealed(plaintext))

    def _frame(self, **more: Any) -> dict[str, Any]:
        return {"type": "inference_response_chunk", "request_id": self.request_id, **more}

    def _sealed(self, plaintext: bytes, *, flip: bool = False, sender: str = "", data: str = "") -> bytes:
        ciphertext = seal_chunk(plaintext, self.shared)
        if flip:
            middle = len(ciphertext) // 2
            other = b"A" if ciphertext[middle : middle + 1] != b"A" else b"B"
            ciphertext = ciphertext[:middle] + other + ciphertext[middle + 1 :]
        payload = {"ephemeral_public_key": sender or self.provider.keys.public_text, "ciphertext": ciphertext.decode()}
        more: dict[str, Any] = {"encrypted_data": payload}
        if data:
            more["data"] = data
        return msgspec.json.encode(self._frame(**more))

    async def _complete(self, prompt_tokens: int) -> None:
        digest = self.hasher.finish(self.sent)
        done = InferenceComplete(
            request_id=self.request_id,
            usage=Usage(prompt_tokens=prompt_tokens, completion_tokens=self.sent),
            response_hash=digest,
            se_signature=b64encode(self.provider.signer.sign(digest.encode())).decode(),
        )
        await self.wire.send_bytes(b"".join([*self.corked, frame(codec.encode(done))]))
        self.corked.clear()
