"""The queue between reader and consumer: order, bounds, the spill."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from server.relay.chunk_queue import ChunkQueue, Put, QueueBounds


def small() -> ChunkQueue:
    return ChunkQueue(QueueBounds(chunks=4, bytes=100, spill_chunks=2, spill_bytes=50))


def test_default_bounds_trigger_the_window_at_the_257th_chunk() -> None:
    queue = ChunkQueue(QueueBounds())
    results = [queue.put(b"x", 1) for _ in range(257)]
    assert results == [Put.QUEUED] * 256 + [Put.SPILLED]
    assert queue.spills == 1


def test_chunks_of_a_spill_count_from_the_consumers_turn_on_and_anew_when_it_takes() -> None:
    queue = ChunkQueue(QueueBounds())
    results = [queue.put(b"x", 1) for _ in range(1000)]
    assert results == [Put.QUEUED] * 256 + [Put.SPILLED] * 744
    queue.turn_over()
    assert [queue.put(b"x", 1) for _ in range(60)] == [Put.SPILLED] * 60
    assert queue.take(100) == b"x" * 100
    assert [queue.put(b"x", 1) for _ in range(65)] == [Put.SPILLED] * 64 + [Put.OVERFLOW]


def test_bytes_bound_a_spill_from_its_first_moment() -> None:
    queue = small()
    assert [queue.put(b"x" * 25, 1) for _ in range(7)] == [Put.QUEUED] * 4 + [Put.SPILLED] * 2 + [Put.OVERFLOW]


def test_only_bytes_count_while_nobody_can_read() -> None:
    queue = small()
    queue.attended = False
    assert [queue.put(b"x", 1) for _ in range(100)] == [Put.QUEUED] * 100
    assert queue.put(b"x", 1) is Put.SPILLED


def test_a_byte_bound_holds_too() -> None:
    queue = small()
    assert queue.put(b"x" * 90, 1) is Put.QUEUED
    assert queue.put(b"x" * 20, 1) is Put.SPILLED
    assert queue.put(b"x" * 31, 1) is Put.OVERFLOW


def test_spill_moves_up_when_the_consumer_takes() -> None:
    queue = small()
    for letter in b"abcdef":
        queue.put(bytes([letter]), 1)
    assert queue.spilling
    assert queue.take(2) == b"ab"
    assert not queue.spilling
    assert queue.take(100) == b"cdef"
    assert not queue


def test_a_spill_that_was_taken_gives_way_to_a_new_one() -> None:
    queue = small()
    for letter in b"abcde":
        queue.put(bytes([letter]), 1)
    queue.turn_over()
    assert queue.take(100) + queue.take(100) == b"abcde"
    for letter in b"fghi":
        assert queue.put(bytes([letter]), 1) is Put.QUEUED
    assert [queue.put(b"j", 1) for _ in range(9)] == [Put.SPILLED] * 9
    assert queue.spills == 2


def test_one_large_chunk_passes_an_empty_queue_in_slices() -> None:
    queue = small()
    assert queue.put(b"x" * 1000, 1) is Put.QUEUED
    assert [len(queue.take(400)) for _ in range(4)] == [400, 400, 200, 0]
    assert queue.bytes == queue.chunks == 0


def test_the_end_comes_behind_the_spill() -> None:
    queue = small()
    for letter in b"abcde":
        queue.put(bytes([letter]), 1)
    queue.force(b"END")
    assert queue.take(100) == b"abcdeEND"


@given(st.lists(st.tuples(st.binary(max_size=30), st.integers(1, 3), st.integers(0, 40)), max_size=40))
def test_what_is_taken_is_a_prefix_of_what_was_put(steps: list[tuple[bytes, int, int]]) -> None:
    queue, put, taken = small(), b"", b""
    for data, chunks, take in steps:
        if queue.put(data, chunks) is Put.OVERFLOW:
            break
        put += data
        taken += queue.take(take)
        assert put.startswith(taken)
    while part := queue.take(10_000):
        taken += part
    assert taken == put
    assert (queue.bytes, queue.chunks) == (0, 0) or not queue
