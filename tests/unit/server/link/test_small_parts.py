"""The pure parts of the link: handshake, admission, strays, liveness, housekeeper."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from server.link.admission import FloodGuard, RegistrationRate, UnregisteredSockets
from server.link.handshake import Accepted, Refused, answer_upgrade
from server.link.housekeeper import PACE_SECONDS, Housekeeper
from server.link.liveness import Liveness, LivenessAction
from server.link.settings import LinkSettings
from server.link.strays import StrayMemo
from server.listener.head import parse_head

GOOD = {
    "Upgrade": "websocket",
    "Connection": "keep-alive, Upgrade",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    "Sec-WebSocket-Version": "13",
}


def head(method: str = "GET", version: str = "1.1", **changes: str | None) -> Any:
    headers = GOOD | {name.replace("_", "-"): value for name, value in changes.items()}
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items() if value is not None)
    return parse_head(f"{method} /ws/provider HTTP/{version}\r\nHost: c\r\n{lines}\r\n".encode())


def test_upgrade_is_granted_with_the_rfc_accept_value_and_the_nonce() -> None:
    answer = answer_upgrade(head(), "Tk9OQ0U=")
    assert isinstance(answer, Accepted)
    assert answer.response == (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nX-Darkbloom-Registration-Nonce: Tk9OQ0U=\r\n\r\n"
    )


@pytest.mark.parametrize(
    ("request_head", "status"),
    [
        (head(Upgrade=None), 426),
        (head(Upgrade="h2c"), 426),
        (head(Connection="keep-alive"), 426),
        (head(Sec_WebSocket_Version="8"), 426),
        (head(Sec_WebSocket_Version=None), 426),
        (head(Sec_WebSocket_Key=None), 400),
        (head(Sec_WebSocket_Key="short"), 400),
        (head(Sec_WebSocket_Key="AAAA"), 400),
        (head(method="POST"), 400),
        (head(version="1.0"), 400),
    ],
)
def test_other_requests_are_refused_with_a_sentence(request_head: Any, status: int) -> None:
    answer = answer_upgrade(request_head, "n")
    assert isinstance(answer, Refused)
    assert answer.status == status
    first, _, body = answer.response.partition(b"\r\n\r\n")
    assert first.startswith(b"HTTP/1.1 %d " % status)
    assert b"Content-Length: %d" % len(body) in first
    assert body.endswith(b".\n")


def test_unregistered_sockets_count_down_again() -> None:
    sockets = UnregisteredSockets(LinkSettings(unregistered_per_ip=1, unregistered_total=2))
    assert sockets.enter("a")
    assert not sockets.enter("a")
    assert sockets.enter("b")
    assert not sockets.enter("c")
    sockets.leave("a")
    assert sockets.enter("c")
    assert not sockets.enter("a")


def test_registration_rate_is_a_sliding_minute() -> None:
    rate = RegistrationRate(LinkSettings(registrations_per_minute=2))
    assert [rate.allow("a", now) for now in (0, 30, 59, 60, 89, 90)] == [True, True, False, True, False, True]
    assert rate.allow("b", 59)


def test_asking_whether_the_minute_is_used_up_counts_nothing() -> None:
    rate = RegistrationRate(LinkSettings(registrations_per_minute=2))
    assert not rate.used_up("a", 0)
    rate.allow("a", 0)
    assert not any(rate.used_up("a", 1) for _ in range(3))
    rate.allow("a", 2)
    assert [rate.used_up("a", now) for now in (3, 59, 60)] == [True, True, False]


def test_registration_rate_is_bounded() -> None:
    rate = RegistrationRate(LinkSettings(registrations_per_minute=1))
    for number in range(20_000):
        rate.allow(f"{number}", 0)
    assert len(rate) == 16_384
    assert rate.allow("0", 1)
    assert not rate.allow("19999", 1)


def test_registration_rate_forgets_an_identity_with_its_minute() -> None:
    rate = RegistrationRate(LinkSettings(registrations_per_minute=1))
    for second in (0, 30, 59):
        assert rate.allow(f"seen at {second}", second)
    assert rate.allow("another", 90)
    assert len(rate) == 2
    assert not rate.allow("seen at 59", 90)


def test_flood_guard_needs_the_whole_number_within_the_window() -> None:
    guard = FloodGuard(LinkSettings(invalid_frames=3, invalid_window_seconds=10))
    assert [guard.flooded(now) for now in (0, 6, 11, 15, 21.1, 22, 25)] == [
        False,
        False,
        False,
        True,
        False,
        True,
        True,
    ]


def test_stray_memo_allows_one_cancel_per_id_and_window() -> None:
    memo = StrayMemo(LinkSettings())
    assert [memo.should_cancel("a", now) for now in (0, 9.9, 10, 19, 20.1)] == [True, False, True, False, True]
    assert memo.should_cancel("b", 20.1)
    assert not memo.should_cancel("x" * 129, 0)


def test_stray_memo_forgets_expired_ids_then_the_oldest() -> None:
    memo = StrayMemo(LinkSettings(stray_ids=3))
    for number in range(5):
        memo.note(f"{number}", number)
    assert len(memo) == 3
    assert memo.should_cancel("0", 5)
    assert not memo.should_cancel("4", 5)
    assert memo.should_cancel("new", 100)
    assert len(memo) == 1


def test_liveness_pings_and_gives_up_after_forty_seconds() -> None:
    liveness = Liveness(LinkSettings(stale_seconds=1e9), 0.0)
    assert liveness.due == 20
    assert liveness.tick(20) == [LivenessAction.PING]
    assert liveness.tick(29) == []
    assert liveness.tick(40) == [LivenessAction.PONG_TIMEOUT]


def test_liveness_counts_from_the_last_pong() -> None:
    liveness = Liveness(LinkSettings(stale_seconds=1e9), 0.0)
    for now in (20, 45, 70):
        assert liveness.tick(now) == [LivenessAction.PING]
        liveness.pong_at = now + 0.5
        assert liveness.tick(now + 20) == []
        assert liveness.due == now + 20.5
    assert liveness.tick(91) == [LivenessAction.PING]
    assert liveness.tick(110.4) == []
    assert liveness.tick(111) == [LivenessAction.PONG_TIMEOUT]


def test_liveness_takes_a_heartbeat_for_a_sign_of_life() -> None:
    liveness = Liveness(LinkSettings(), 0.0)
    for now in range(1, 600):
        if now % 19 == 0:
            liveness.heartbeat_at = now
        assert liveness.tick(now) == []
    assert liveness.heartbeat_at == 589
    assert liveness.tick(608.9) == []
    assert liveness.tick(609) == [LivenessAction.PING]
    assert liveness.tick(629) == [LivenessAction.PONG_TIMEOUT]


@pytest.mark.parametrize(
    ("heartbeats", "actions"),
    [
        ([], {120: LivenessAction.STRIKE, 150: LivenessAction.EVICT}),
        ([89], {180: LivenessAction.STRIKE, 210: LivenessAction.EVICT}),
        ([130], {120: LivenessAction.STRIKE, 240: LivenessAction.STRIKE, 270: LivenessAction.EVICT}),
    ],
)
def test_two_stale_sweeps_in_a_row_evict(heartbeats: list[int], actions: dict[int, LivenessAction]) -> None:
    liveness = Liveness(LinkSettings(ping_seconds=1e9), 0.0)
    got = {}
    for now in range(300):
        if now in heartbeats:
            liveness.heartbeat_at = now
        for action in liveness.tick(now):
            got[now] = action
        if LivenessAction.EVICT in got.values():
            break
    assert got == actions


class Client:
    """A housekeeper client that plans its next tick from a list."""

    def __init__(self, keeper: Housekeeper, times: list[float]) -> None:
        self.due_at = float("inf")
        self.ticks: list[float] = []
        self.failures: list[Exception] = []
        self._keeper = keeper
        self._times = times

    def plan(self) -> None:
        if self._times:
            self._keeper.plan(self, self._times.pop(0))

    def tick(self, now: float) -> None:
        self.ticks.append(now)
        self.plan()
        if not self._times:
            raise RuntimeError("a bug")

    def fail(self, error: Exception) -> None:
        self.failures.append(error)


async def test_housekeeper_ticks_each_client_at_its_times(autojump_clock: Any, caplog: Any) -> None:
    keeper = Housekeeper()
    async with trio.open_nursery() as nursery:
        await nursery.start(keeper.run)
        start = trio.current_time()
        slow = Client(keeper, [start + 100, start + 200])
        slow.plan()
        await wait_all_tasks_blocked()
        quick = Client(keeper, [start + 5, start + 6, start + 150])
        quick.plan()
        await trio.sleep(300)
        nursery.cancel_scope.cancel()
    assert slow.ticks == [start + 100, start + 200]
    assert quick.ticks == [start + 5, start + 6, start + 150]
    assert [str(error) for error in quick.failures] == ["a bug", "a bug"]


async def test_housekeeper_serves_close_times_together_but_what_is_asked_for_at_once(autojump_clock: Any) -> None:
    keeper = Housekeeper()
    async with trio.open_nursery() as nursery:
        await nursery.start(keeper.run)
        start = trio.current_time() + 10
        first, second, third = (Client(keeper, []) for _ in range(3))
        keeper.plan(first, start)
        keeper.plan(second, start + 0.01)
        keeper.plan(third, start + 0.09)
        await trio.sleep(10.02)
        assert (len(first.ticks), len(second.ticks), len(third.ticks)) == (1, 0, 0)
        asked = Client(keeper, [])
        keeper.plan(asked, trio.current_time())
        await wait_all_tasks_blocked()
        assert asked.ticks == [start + 0.02]
        await trio.sleep(1)
        nursery.cancel_scope.cancel()
    assert second.ticks == [start + 0.02]
    assert start + 0.09 <= third.ticks[0] <= start + 0.02 + PACE_SECONDS


async def test_housekeeper_forgets_and_replans(autojump_clock: Any) -> None:
    keeper = Housekeeper()
    async with trio.open_nursery() as nursery:
        await nursery.start(keeper.run)
        start = trio.current_time()
        moved, gone = Client(keeper, []), Client(keeper, [])
        keeper.plan(moved, start + 5)
        keeper.plan(moved, start + 10)
        keeper.plan(gone, start + 5)
        keeper.forget(gone)
        await trio.sleep(30)
        nursery.cancel_scope.cancel()
    assert moved.ticks == [start + 10]
    assert gone.ticks == []


async def test_housekeeper_lets_others_run_between_many_ticks(autojump_clock: Any) -> None:
    keeper = Housekeeper()
    start = trio.current_time()
    clients = [Client(keeper, []) for _ in range(1_000)]
    for client in clients:
        keeper.plan(client, start)
    seen = set()
    async with trio.open_nursery() as nursery:
        await nursery.start(keeper.run)
        while not all(client.ticks for client in clients):
            await trio.lowlevel.checkpoint()
            seen.add(sum(len(client.ticks) for client in clients))
        nursery.cancel_scope.cancel()
    assert len(seen) > 5
