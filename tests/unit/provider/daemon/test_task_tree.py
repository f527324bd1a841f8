"""The task tree names tasks and places, and no values."""

import trio
import trio.testing

from provider.daemon.task_tree import MAX_LINES, task_lines


async def secret_holder(secret):
    await trio.sleep_forever()


async def test_tasks_are_named_with_their_children(nursery):
    nursery.start_soon(secret_holder, "CANARY", name="request 7")
    await trio.testing.wait_all_tasks_blocked()
    lines = task_lines()
    assert any(line.strip().startswith("request 7") for line in lines)
    assert not any("CANARY" in line for line in lines)


async def test_a_large_tree_is_cut(nursery):
    for number in range(MAX_LINES + 10):
        nursery.start_soon(trio.sleep_forever, name=f"task {number}")
    await trio.testing.wait_all_tasks_blocked()
    lines = task_lines()
    assert len(lines) == MAX_LINES + 1
    assert lines[-1] == "… more tasks are left out"
