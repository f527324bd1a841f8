"""What a registration does and how often it may come: deadline, key, account, greeting, caps on sockets."""

from __future__ import annotations

from typing import Any

import trio
from trio.testing import wait_all_tasks_blocked

from protocol.codec import encode
from protocol.messages.from_provider import Heartbeat, InferenceResponseChunk
from protocol.messages.to_provider import AttestationChallenge, DesiredModels, TrustStatus
from server.link import LinkSettings
from tests.unit.server.link.conftest import open_world


async def test_register_deadline_closes_with_1008(world: Any, autojump_clock: Any) -> None:
    began = trio.current_time()
    provider = await world.connect()
    assert await provider.wait_closed() == 1008
    assert 15.0 <= trio.current_time() - began < 17.0
    assert world.meter.events["register_deadline"] == 1


async def test_register_enters_the_session_and_challenges_at_once(world: Any, autojump_clock: Any) -> None:
    provider = await world.connect()
    await provider.register(prove=False)
    status = await provider.expect(TrustStatus)
    assert (status.trust_level, status.status) == ("self_signed", "online")
    await provider.expect(AttestationChallenge)
    ((_, session_id, stable_id, account),) = world.registry.named("register")
    assert stable_id == "sekey:" + provider.signer.public65().hex()
    assert account is None
    assert world.context.sessions[session_id].public_key == provider.keys.public


async def test_chunk_before_register_is_dropped_and_the_socket_stays(world: Any, autojump_clock: Any) -> None:
    provider = await world.connect()
    await provider.send(InferenceResponseChunk(request_id="x"))
    await provider.register(prove=False)
    await provider.expect(AttestationChallenge)
    assert world.meter.events["frame_before_register"] == 1


async def test_second_register_closes_with_1002_and_starts_no_second_challenge(world: Any, autojump_clock: Any) -> None:
    provider, _ = await world.registered()
    await provider.send(provider.registration())
    assert await provider.wait_closed() == 1002
    assert sum(isinstance(message, AttestationChallenge) for message in provider.received) == 1
    assert len(world.registry.named("register")) == 1


async def test_unregistered_sockets_are_capped_per_address(autojump_clock: Any) -> None:
    async with open_world("memory", settings=LinkSettings(unregistered_per_ip=2)) as world:
        first = await world.connect()
        await world.connect()
        assert await (await world.connect()).wait_closed() == 1013
        elsewhere = await world.connect(ip="10.0.0.2")
        await first.register(prove=False)
        await first.expect(AttestationChallenge)
        again = await world.connect()
        assert again.closed is None
        assert elsewhere.closed is None


async def test_unregistered_sockets_are_capped_in_all(autojump_clock: Any) -> None:
    async with open_world("memory", settings=LinkSettings(unregistered_total=1)) as world:
        first = await world.connect()
        assert await (await world.connect(ip="10.0.0.2")).wait_closed() == 1013
        await first.close(1000)
        await first.wait_closed()
        await wait_all_tasks_blocked()
        assert (await world.connect(ip="10.0.0.2")).closed is None


async def test_thirteenth_registration_in_a_minute_is_told_to_come_back(world: Any, autojump_clock: Any) -> None:
    first, _ = await world.registered()
    for _ in range(11):
        again = await world.connect(signer=first.signer)
        await again.register(prove=False)
        await again.expect(AttestationChallenge)
        await again.close(1000)
    excess = await world.connect(signer=first.signer)
    await excess.register(prove=False)
    assert await excess.wait_closed() == 1013
    await trio.sleep(61)
    later = await world.connect(signer=first.signer)
    await later.register(prove=False)
    await later.expect(AttestationChallenge)


async def test_a_blob_replayed_by_strangers_uses_up_no_minute_of_its_device(world: Any, autojump_clock: Any) -> None:
    victim, _ = await world.registered()
    blob = encode(victim.registration())
    for _ in range(13):
        stranger = await world.connect(ip="66.6.6.6")
        await stranger.send_text(blob)
        await wait_all_tasks_blocked()
    assert await stranger.wait_closed() == 1013
    again = await world.connect(signer=victim.signer)
    await again.register()
    assert await victim.wait_closed() == 1000
    assert again.closed is None


async def test_thirteenth_proof_of_a_device_in_a_minute_is_told_to_come_back(world: Any, autojump_clock: Any) -> None:
    first, _ = await world.registered()
    for number in range(10):
        await (await world.connect(ip=f"10.0.1.{number}", signer=first.signer)).register()
    again, waiting = [await world.connect(ip=f"10.0.2.{number}", signer=first.signer) for number in (1, 2)]
    for one in (again, waiting):
        await one.register(prove=False)
    for one in (again, waiting):
        await one.prove()
    assert await waiting.wait_closed() == 1013
    await again.drain()
    assert again.closed is None, "the newcomer that may not stay supersedes nobody"
    excess = await world.connect(ip="10.0.0.100", signer=first.signer)
    await excess.register(prove=False)
    assert await excess.wait_closed() == 1013
    await trio.sleep(61)
    later = await world.connect(ip="10.0.0.101", signer=first.signer)
    await later.register()
    assert later.closed is None


async def test_account_of_the_token_and_its_failures(autojump_clock: Any) -> None:
    async def resolve(_session: str, token: str) -> str | None:
        await trio.sleep(1)
        if token == "broken":
            raise OSError("the store is away")
        return {"good": "acct-1"}.get(token)

    async with open_world("memory", link_account=resolve) as world:
        for token, told in (("good", "linked"), ("bad", "token_refused"), ("", "")):
            provider = await world.connect()
            await provider.register(prove=False, auth_token=token)
            status = await provider.expect(TrustStatus)
            assert (status.trust_level, status.status, status.account) == ("self_signed", "online", told)
            assert ("token was refused" in status.reason) == (token == "bad")
            await provider.expect(AttestationChallenge)
        assert [call[3] for call in world.registry.named("register")] == ["acct-1", None, None]
        broken = await world.connect()
        await broken.register(prove=False, auth_token="broken")
        assert await broken.wait_closed() == 1013


async def test_a_provider_hears_that_its_token_was_revoked(autojump_clock: Any) -> None:
    async def resolve(_session: str, _token: str) -> str:
        return "acct-1"

    async with open_world("memory", link_account=resolve) as world:
        provider = await world.connect()
        (early,) = world.context.sessions
        world.link.token_revoked(early)
        await provider.register(prove=False, auth_token="good")
        assert (await provider.expect(TrustStatus)).account == "linked"
        world.link.token_revoked("nobody")
        world.link.token_revoked(early)
        told = await provider.expect(TrustStatus)
        assert (told.trust_level, told.status, told.account) == ("self_signed", "online", "token_refused")
        assert told.reason.startswith("se_verified: the attestation is valid; the account token was refused")


async def test_frames_behind_the_register_wait_for_it(autojump_clock: Any) -> None:
    async def resolve(_session: str, _token: str) -> str | None:
        await trio.sleep(3)
        return "acct-1"

    async with open_world("memory", link_account=resolve) as world:
        provider = await world.connect()
        await provider.send(provider.registration(auth_token="t"), Heartbeat(status="idle"))
        await provider.expect(AttestationChallenge)
        await wait_all_tasks_blocked()
        assert [call[0] for call in world.registry.calls] == ["register", "heartbeat"]


async def test_greeting_follows_the_registration(autojump_clock: Any) -> None:
    async with open_world("memory", greeting=lambda _register: [DesiredModels()]) as world:
        provider = await world.connect()
        await provider.register(prove=False)
        await provider.expect(AttestationChallenge)
        assert [type(message).__name__ for message in provider.received] == [
            "TrustStatus",
            "DesiredModels",
            "AttestationChallenge",
        ]


async def test_unusable_public_key_is_cleared(world: Any, autojump_clock: Any) -> None:
    provider = await world.connect()
    await provider.register(prove=False, public_key="AAAA")
    await provider.expect(AttestationChallenge)
    (session,) = world.context.sessions.values()
    assert session.public_key == b""
