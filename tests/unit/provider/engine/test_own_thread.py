import threading

import pytest
import trio
import trio.testing

from provider.engine.own_thread import run_in_own_thread


async def test_result_comes_from_a_thread_that_has_ended():
    thread = await run_in_own_thread(threading.current_thread, name="mine")
    assert thread is not threading.current_thread()
    assert (thread.name, thread.daemon) == ("mine", False)
    assert not thread.is_alive()


async def test_exceptions_of_any_kind_reach_the_caller():
    def fail():
        raise KeyError("x")

    with pytest.raises(KeyError):
        await run_in_own_thread(fail, name="mine")


async def test_cancellation_waits_for_the_call():
    release = threading.Event()
    finished = []

    def work():
        release.wait()
        finished.append(True)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(lambda: run_in_own_thread(work, name="mine"))
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
        release.set()
    assert finished == [True]
