"""The course of a log-in: how often it asks, what it survives, and what ends it."""

import httpx
import pytest

from provider.account import LoginFailed, log_in
from tests.unit.provider.account.door_peer import AUTHORIZED, CODE, PENDING, TOKEN, refusal


async def start(door, shown=None):
    found = [] if shown is None else shown
    return await log_in(door, client_label="mini", chip="M4", show=found.append)


async def test_it_shows_the_code_asks_at_the_interval_and_gets_the_token(door, peer, autojump_clock):
    peer.answers = [CODE, PENDING, PENDING, AUTHORIZED]
    shown = []
    linked = await start(door, shown)
    assert (linked.token, linked.account_id) == (TOKEN, "acct-1")
    assert TOKEN not in repr(linked)
    (code,) = shown
    assert (code.user_code, code.verification_uri, code.expires_in_seconds) == (
        "ABCD-2345",
        "https://coordinator.example/link",
        900,
    )
    assert peer.polls() == [5, 10, 15]
    assert [body for *_, body, _headers in peer.asked][:2] == [
        {"client_label": "mini", "chip": "M4"},
        {"device_code": "d" * 64},
    ]


async def test_trouble_makes_the_questions_rarer_and_a_good_answer_restores_the_pace(door, peer, autojump_clock):
    broken = httpx.ConnectError("no")
    peer.answers = [CODE, broken, refusal(500, "server_error"), refusal(503, "x"), PENDING, PENDING, AUTHORIZED]
    await start(door)
    assert peer.polls() == [5, 15, 35, 75, 80, 85]


async def test_retry_after_is_obeyed_up_to_a_minute(door, peer, autojump_clock):
    peer.answers = [
        CODE,
        refusal(429, "rate_limited", **{"Retry-After": "30"}),
        refusal(429, "rate_limited", **{"Retry-After": "100000"}),
        AUTHORIZED,
    ]
    await start(door)
    assert peer.polls() == [5, 35, 95]


async def test_slow_down_lengthens_the_interval_for_good(door, peer, autojump_clock):
    peer.answers = [CODE, refusal(429, "slow_down", **{"Retry-After": "5"}), PENDING, PENDING, AUTHORIZED]
    await start(door)
    assert peer.polls() == [5, 15, 25, 35]


async def test_it_ends_with_the_code_and_names_the_last_trouble(door, peer, autojump_clock):
    peer.answers = [CODE, httpx.ReadTimeout("no")]
    with pytest.raises(
        LoginFailed, match=r"Nobody approved the code ABCD-2345 in time\. The coordinator .*ReadTimeout"
    ):
        await start(door)
    assert peer.polls()[-1] == 900
    assert all(later - earlier <= 60 for earlier, later in zip(peer.polls(), peer.polls()[1:], strict=False))


@pytest.mark.parametrize(("status", "code"), [(403, "access_denied"), (404, "invalid_grant"), (410, "expired_token")])
async def test_a_final_answer_ends_it_with_the_coordinator_s_sentence(door, peer, autojump_clock, status, code):
    peer.answers = [CODE, PENDING, refusal(status, code, "The request \x1b[2Jwas denied.")]
    with pytest.raises(LoginFailed, match=r"The request \[2Jwas denied\."):
        await start(door)
    assert peer.polls() == [5, 10]


@pytest.mark.parametrize(
    "answer",
    [{"status": "else"}, {"status": "authorized"}, {"status": "authorized", "token": "a b"}],
    ids=["status", "no-token", "no-token-form"],
)
async def test_an_answer_of_another_form_ends_it(door, peer, autojump_clock, answer):
    peer.answers = [CODE, answer]
    with pytest.raises(LoginFailed, match="not understood"):
        await start(door)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (httpx.ConnectError("no"), "https://coordinator.example cannot be reached .ConnectError."),
        (refusal(429, "rate_limited", "Too many codes."), "Too many codes"),
        (httpx.Response(200, text="<html>"), "cannot be read; is it a coordinator"),
        (httpx.Response(302, headers={"Location": "https://evil.example"}), "answered 302"),
        (httpx.Response(200, content=b" " * 70_000), "too long"),
    ],
    ids=["network", "limit", "no-json", "redirect", "flood"],
)
async def test_without_a_code_it_ends_at_once(door, peer, autojump_clock, answer, words):
    peer.answers = [answer]
    with pytest.raises(LoginFailed, match=words):
        await start(door)
    assert len(peer.asked) == 1


async def test_numbers_of_a_strange_coordinator_are_bounded(door, peer, autojump_clock):
    peer.answers = [{**CODE, "interval": 0, "expires_in": 10**9}, PENDING]
    with pytest.raises(LoginFailed, match="in time"):
        await start(door)
    assert peer.polls() == list(range(1, 3601))
