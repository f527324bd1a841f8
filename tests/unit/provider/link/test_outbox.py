"""The two lanes and the bound of one request."""

import pytest
import trio

from provider.link.outbox import BATCH_BYTES, CONTROL_FRAMES, REQUEST_FRAMES, ControlLaneFull, Outbox


async def test_control_goes_first_and_each_lane_keeps_its_order():
    outbox = Outbox()
    one, two = outbox.lane(None), outbox.lane(None)
    one.put(b"a1")
    two.put(b"b1")
    outbox.put_control(b"c1")
    one.put(b"a2")
    outbox.put_control(b"c2")
    assert await outbox.take() == [b"c1", b"c2", b"a1", b"b1", b"a2"]
    assert one.queued == two.queued == 0


async def test_a_batch_is_bounded_and_the_rest_stays_ready():
    outbox = Outbox()
    lane = outbox.lane(None)
    frames = [bytes(100_000) for _ in range(5)] + [bytes(2 * BATCH_BYTES)]
    for frame in frames:
        lane.put(frame)
    taken = []
    while len(taken) < len(frames):
        batch = await outbox.take()
        assert sum(map(len, batch[:-1])) < BATCH_BYTES
        taken += batch
    assert taken == frames


async def test_take_waits_for_frames(autojump_clock):
    outbox = Outbox()
    with trio.move_on_after(1) as limit:
        await outbox.take()
    assert limit.cancelled_caught
    outbox.put_control(b"x")
    assert await outbox.take() == [b"x"]
    with trio.move_on_after(1) as limit:
        await outbox.take()
    assert limit.cancelled_caught


async def test_a_full_lane_waits_until_half_is_gone(autojump_clock):
    outbox = Outbox()
    lane = outbox.lane(None)
    for _ in range(REQUEST_FRAMES):
        await lane.room()
        lane.put(bytes(BATCH_BYTES // 64))
    done = trio.Event()

    async def writer():
        await lane.room()
        done.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(writer)
        await trio.testing.wait_all_tasks_blocked()
        assert not done.is_set()
        await outbox.take()
        await trio.testing.wait_all_tasks_blocked()
        assert lane.queued > REQUEST_FRAMES // 2
        assert not done.is_set()
        while not done.is_set():
            await outbox.take()
            await trio.testing.wait_all_tasks_blocked()
        assert lane.queued <= REQUEST_FRAMES // 2


async def test_hurry_frees_who_waits_for_room_and_nobody_waits_again(autojump_clock):
    outbox = Outbox()
    lane, other = outbox.lane(None), outbox.lane(None)
    for each in (lane, other):
        for _ in range(REQUEST_FRAMES):
            each.put(b"x")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lane.room)
        await trio.testing.wait_all_tasks_blocked()
        lane.hurry()
        await trio.testing.wait_all_tasks_blocked()
        assert not nursery.child_tasks
        await lane.room()
    with trio.move_on_after(1) as limit:
        await other.room()
    assert limit.cancelled_caught


async def test_requests_with_unsent_frames_are_counted():
    outbox = Outbox()
    lanes = [outbox.lane(None) for _ in range(3)]
    for lane in lanes:
        lane.put(b"1")
        lane.put(b"2")
    assert outbox.unsent_requests == 3
    await outbox.take()
    assert outbox.unsent_requests == 0
    lanes[0].put(b"3")
    assert outbox.unsent_requests == 1
    outbox.close()
    lanes[1].put(b"4")
    assert outbox.unsent_requests == 0


async def test_closing_drops_everything_and_frees_waiters(autojump_clock):
    outbox = Outbox()
    lane = outbox.lane(None)
    for _ in range(REQUEST_FRAMES):
        lane.put(b"x")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lane.room)
        await trio.testing.wait_all_tasks_blocked()
        outbox.close()
    lane.put(b"late")
    outbox.put_control(b"late")
    assert lane.queued == 0
    with trio.move_on_after(1) as limit:
        while True:
            assert await outbox.take() == []
            await trio.sleep(0.1)
    assert limit.cancelled_caught


def test_a_stuck_control_lane_is_told():
    outbox = Outbox()
    for _ in range(CONTROL_FRAMES):
        outbox.put_control(b"x")
    with pytest.raises(ControlLaneFull):
        outbox.put_control(b"x")
