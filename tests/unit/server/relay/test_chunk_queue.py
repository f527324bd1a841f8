"""The queue between reader and consumer: order, bounds, one grace."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from server.relay.chunk_queue import ChunkQueue, Put, QueueBounds


def small() -> ChunkQueue:
    return ChunkQueue(QueueBounds(chunks=4, bytes=100, spill_chunks=2, spill_bytes=50))


def test_default_bounds_trigger_the_window_at_the_257th_chunk() -> None:
    queue = ChunkQueue(QueueBounds())
    results = [queue.put(b"x", 1) for _ in range(321)]
    assert results == [Put.QUEUED] * 256 + [Put.SPILLED] * 64 + [Put.OVERFLOW]


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


def test_the_second_overflow_gets_no_grace() -> None:
    queue = small()
    for letter in b"abcde":
        queue.put(bytes([letter]), 1)
    assert queue.take(100) + queue.take(100) == b"abcde"
    for letter in b"fghi":
        assert queue.put(bytes([letter]), 1) is Put.QUEUED
    assert queue.put(b"j", 1) is Put.OVERFLOW


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
    taken += queue.take(10_000)
    taken += queue.take(10_000)
    assert taken == put
    assert (queue.bytes, queue.chunks) == (0, 0) or not queue
