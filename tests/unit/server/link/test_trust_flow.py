"""Trust over the wire: registration outcome, challenges, untrust and recovery, supersede by the same device."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from protocol.messages.from_provider import Heartbeat
from protocol.messages.to_provider import AttestationChallenge, RuntimeStatus, TrustStatus
from protocol.messages.wire import NO_RAW
from server.link import LinkSettings
from server.trust import RuntimeManifest, TrustPolicy, is_fresh, standing
from tests.unit.server.link.conftest import RecordingSink, attach, open_world

CALM = LinkSettings(stale_seconds=1e9)


def refusal(world: Any, session: Any) -> str | None:
    policy = world.context.desk.policy
    trust = world.registry.trust[session.session_id]
    fresh = is_fresh(trust, trio.current_time(), max_age=policy.challenge_max_age)
    return standing(trust, policy.min_trust) or (None if fresh else "challenge_stale")


async def test_first_passed_challenge_makes_the_session_routable(world: Any, autojump_clock: Any) -> None:
    provider = await world.connect()
    await provider.register(prove=False)
    challenge = await provider.expect(AttestationChallenge)
    (session,) = world.context.sessions.values()
    assert refusal(world, session) == "private_text"
    await provider.send(provider.answer_to(challenge))
    await wait_all_tasks_blocked()
    assert refusal(world, session) is None


async def test_challenges_follow_every_five_minutes(autojump_clock: Any) -> None:
    async with open_world("memory", settings=CALM) as world:
        provider, _ = await world.registered()
        began = trio.current_time()
        await provider.expect(AttestationChallenge)
        assert trio.current_time() - began == pytest.approx(300, abs=1)


async def test_three_misses_then_a_pass_recover(autojump_clock: Any) -> None:
    async with open_world("memory", settings=CALM) as world:
        provider, session = await world.registered()
        statuses: list[TrustStatus] = []
        missed = 0
        while len(statuses) < 2:
            message = await provider.next()
            if isinstance(message, TrustStatus):
                if message.reason.startswith("se_verified"):
                    continue
                statuses.append(message)
                assert (refusal(world, session) == "untrusted") == (len(statuses) == 1)
            elif isinstance(message, AttestationChallenge):
                if missed < 3:
                    missed += 1
                else:
                    await provider.send(provider.answer_to(message))
        assert [status.status for status in statuses] == ["untrusted", "online"]
        assert [status.reason.split(":")[0] for status in statuses] == ["challenge_timeout", "recovered"]
        await wait_all_tasks_blocked()
        assert refusal(world, session) is None
        assert not session.attempts.refused


async def test_six_misses_close_1008(autojump_clock: Any) -> None:
    async with open_world("memory", settings=CALM) as world:
        provider, _ = await world.registered()
        assert await provider.wait_closed() == 1008
        assert world.meter.events["challenge_timeout"] == 6


async def test_one_missed_challenge_leaves_the_session_routable_until_it_is_stale(autojump_clock: Any) -> None:
    async with open_world("memory", settings=CALM) as world:
        provider, session = await world.registered()
        world.nursery.start_soon(provider.wait_closed)
        await trio.sleep(300 + 31)
        assert world.meter.events["challenge_timeout"] == 1
        assert refusal(world, session) is None


async def test_sip_off_untrusts_at_once_and_ends_the_challenges(world: Any, autojump_clock: Any) -> None:
    provider = await world.connect()
    provider.dev = False
    await provider.register(prove=False)
    challenge = await provider.expect(AttestationChallenge)
    await provider.send(provider.answer_to(challenge, sip_enabled=False))
    status = await provider.expect(TrustStatus)
    assert (status.trust_level, status.status) == ("none", "untrusted")
    assert status.reason.startswith("sip_disabled: ")
    for _ in range(12):
        await provider.send(Heartbeat())
        await provider.drain()
        await trio.sleep(30)
    assert world.meter.events["challenge_sent"] == 1


async def test_three_bad_signatures_are_final(autojump_clock: Any) -> None:
    async with open_world("memory", settings=CALM) as world:
        provider, session = await world.registered()
        for count in range(3):
            challenge = await provider.expect(AttestationChallenge)
            await provider.send(msgspec.structs.replace(provider.answer_to(challenge), signature="AAAA"))
            await wait_all_tasks_blocked()
            assert refusal(world, session) == ("untrusted" if count == 2 else "private_text")
        assert world.registry.trust[session.session_id].untrusted == "hard"
        await trio.sleep(400)
        assert world.meter.events["challenge_sent"] == 4


async def test_a_repeated_or_foreign_answer_changes_nothing(world: Any, autojump_clock: Any) -> None:
    provider = await world.connect()
    await provider.register(prove=False)
    answer = provider.answer_to(await provider.expect(AttestationChallenge))
    await provider.send(answer, answer, msgspec.structs.replace(answer, nonce="x"))
    await provider.send(Heartbeat())
    await wait_all_tasks_blocked()
    assert world.meter.events["challenge_passed"] == 1
    assert world.meter.events["challenge_unknown_nonce"] == 2
    assert world.meter.events["challenge_failed"] == 0


async def test_the_answers_clock_starts_when_the_challenge_is_on_the_wire(autojump_clock: Any) -> None:
    async with open_world("socket") as world:
        _, session = await world.registered()
        nonce = "n" * 43 + "="
        session.trust._machine.challenge(AttestationChallenge(nonce=nonce, timestamp="t"), trio.current_time() + 300)
        assert session.trust.due == float("inf")
        session.trust.written(nonce, trio.current_time())
        assert session.trust.due == trio.current_time() + 30


async def test_a_challenge_that_could_not_be_written_is_no_failure(world: Any, autojump_clock: Any) -> None:
    provider = await world.connect()
    await provider.register(prove=False)
    await provider.expect(AttestationChallenge)
    (session,) = world.context.sessions.values()
    nonce = provider.received[-1].nonce  # type: ignore[attr-defined]
    session.trust.unwritten(nonce, trio.current_time())
    assert session.trust.due == trio.current_time() + 30
    await trio.sleep(0)
    assert world.meter.events["challenge_timeout"] == 0


async def test_provider_without_attestation_stays_at_none(world: Any, autojump_clock: Any) -> None:
    provider = await world.connect()
    await provider.register(attestation=NO_RAW)
    (session,) = world.context.sessions.values()
    status = next(message for message in provider.received if isinstance(message, TrustStatus))
    assert (status.trust_level, status.status) == ("none", "online")
    assert refusal(world, session) == "trust_floor"
    assert world.registry.trust[session.session_id].verified_at is not None


async def test_dev_attestation_without_the_setting_is_none(autojump_clock: Any) -> None:
    async with open_world("memory", policy=TrustPolicy(min_trust="self_signed")) as world:
        provider = await world.connect()
        await provider.register(prove=False)
        status = await provider.expect(TrustStatus)
        assert status.trust_level == "none"
        assert status.reason.startswith("no_enclave: ")


async def test_stale_blob_is_none(world: Any, autojump_clock: Any) -> None:
    provider = await world.connect()
    message = provider.registration()
    await trio.sleep(10)
    provider.wall = lambda: world.wall() - 121
    await provider.send(provider.registration())
    status = await provider.expect(TrustStatus)
    assert status.trust_level == "none"
    assert status.reason.startswith("replayed_blob: ")
    assert message.backend == "mlx-python"


async def test_runtime_mismatch_is_reported_and_unroutable_but_no_failure(autojump_clock: Any) -> None:
    policy = TrustPolicy(
        min_trust="self_signed", allow_dev=True, manifest=RuntimeManifest(runtime_hashes=frozenset({"aa" * 32}))
    )
    async with open_world("memory", policy=policy, settings=CALM) as world:
        provider = await world.connect()
        await provider.register(prove=False, runtime_hash="bb" * 32)
        status = await provider.expect(RuntimeStatus)
        assert not status.verified
        assert [(one.component, one.got) for one in status.mismatches] == [("runtime", "bb" * 32)]
        challenge = await provider.expect(AttestationChallenge)
        await provider.send(provider.answer_to(challenge, runtime_hash="bb" * 32))
        await provider.expect(RuntimeStatus)
        (session,) = world.context.sessions.values()
        assert refusal(world, session) == "runtime_unverified"
        challenge = await provider.expect(AttestationChallenge)
        await provider.send(provider.answer_to(challenge, runtime_hash="AA" * 32))
        await wait_all_tasks_blocked()
        assert refusal(world, session) is None


async def test_newcomer_of_the_same_device_supersedes_after_its_challenge(world: Any, autojump_clock: Any) -> None:
    old, old_session = await world.registered()
    sink = RecordingSink()
    attach(old_session, sink)
    new = await world.connect(signer=old.signer)
    await new.register(prove=False)
    challenge = await new.expect(AttestationChallenge)
    (new_session,) = (one for one in world.context.sessions.values() if one is not old_session)
    assert refusal(world, old_session) is None
    assert refusal(world, new_session) == "private_text"
    assert sink.heard == []
    await new.send(new.answer_to(challenge))
    assert await old.wait_closed() == 1000
    assert sink.heard == [("gone", "provider_restart")]
    assert refusal(world, new_session) is None
    assert list(world.context.sessions.values()) == [new_session]


async def test_a_replayed_blob_disturbs_nobody(world: Any, autojump_clock: Any) -> None:
    victim, victim_session = await world.registered()
    thief = await world.connect()
    # The thief has the victim's signed blob and its public key, but not the keys themselves.
    await thief.send(victim.registration())
    challenge = await thief.expect(AttestationChallenge)
    (thief_session,) = (one for one in world.context.sessions.values() if one is not victim_session)
    await thief.send(msgspec.structs.replace(thief.answer_to(challenge), public_key=victim.keys.public_text))
    await wait_all_tasks_blocked()
    assert victim.closed is None
    assert refusal(world, victim_session) is None
    assert refusal(world, thief_session) == "private_text"


async def test_an_old_session_that_passes_again_does_not_close_the_newcomer(autojump_clock: Any) -> None:
    async with open_world("memory", settings=CALM) as world:
        old, _ = await world.registered()
        new = await world.connect(signer=old.signer)
        await new.register(prove=False)
        await new.expect(AttestationChallenge)
        world.nursery.start_soon(new.wait_closed)
        await old.prove()
        assert new.closed is None
        assert len(world.link) == 2


async def test_a_device_with_another_key_is_another_device(world: Any, autojump_clock: Any) -> None:
    await world.registered()
    await world.registered()
    assert len(world.link) == 2


async def test_hardware_grant_after_an_untrust_is_dropped(world: Any, autojump_clock: Any) -> None:
    provider = await world.connect()
    provider.dev = False
    await provider.register()
    (session,) = world.context.sessions.values()
    epoch = session.trust.state.epoch
    session.trust.grant("hardware", epoch, "mdm_verified")
    assert world.registry.trust[session.session_id].level == "hardware"
    session.trust.untrust("posture_mismatch")
    session.trust.grant("hardware", epoch, "mdm_verified")
    session.trust.grant("hardware", session.trust.state.epoch, "mdm_verified")
    assert world.registry.trust[session.session_id].level == "none"


async def test_dev_attestation_never_rises_above_self_signed(world: Any, autojump_clock: Any) -> None:
    _, session = await world.registered()
    session.trust.grant("hardware", session.trust.state.epoch, "mdm_verified")
    assert session.trust.state.level == "self_signed"


async def test_a_challenge_that_was_asked_for_goes_out_at_once(world: Any, autojump_clock: Any) -> None:
    provider, session = await world.registered()
    await provider.drain()
    began = trio.current_time()
    session.challenge_soon()
    challenge = await provider.expect(AttestationChallenge)
    session.challenge_soon()
    await wait_all_tasks_blocked()
    assert trio.current_time() - began < 0.1
    await provider.send(provider.answer_to(challenge))
    await provider.prove()
    assert trio.current_time() - began < 0.1
    assert world.meter.events["challenge_passed"] == 3
    session.close(1000, "test")
    session.challenge_soon()
    assert session.due_at == float("inf")
