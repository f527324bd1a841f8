"""Random interleavings: whatever is cancelled and lost, every request has one terminal and nothing stays behind."""

import random

import pytest
import trio

from provider.engine import Cause
from tests.testbed.fake_engine import Script, finished_with
from tests.testbed.sealed_asker import chat

REQUESTS = 200


@pytest.mark.parametrize("seed", range(4))
async def test_requests_cancels_and_losses_leave_nothing(open_bench, autojump_clock, seed):
    dice = random.Random(seed)

    def script(request):
        if request.warm_up:
            return Script()
        if dice.random() < 0.1:
            return finished_with(dice.choice(list(Cause)))
        return Script(pieces=[f"{n}." for n in range(dice.randrange(20))], delay=dice.choice((0, 0.01, 0.3)))

    async with open_bench(script) as bench:
        owner, sent, lost = object(), {}, []

        def lose():
            nonlocal owner
            bench.desk.drop_lane(owner)
            # The connection takes its queue with it: nothing of it is heard any more.
            lost.append(owner)
            owner = object()

        for number in range(REQUESTS):
            name = f"r{number}"
            sent[name] = owner
            bench.send(name, chat(max_tokens=dice.randrange(1, 30)), owner=owner)
            if dice.random() < 0.3:
                bench.desk.cancel(f"r{dice.randrange(number + 1)}")
            if dice.random() < 0.3:
                await trio.sleep(dice.choice((0, 0.01, 0.2)))
            if number in (70, 140):
                lose()
        await bench.desk.wait_idle()
        heard = bench.asker.hear(bench.frames)
        for name, its_owner in sent.items():
            if its_owner in lost:
                assert name not in heard or len(heard[name].terminals) <= 1
                continue
            assert len(heard[name].terminals) == 1
            assert heard[name].kinds[-1] in ("complete", "error")
            text = heard[name].text
            assert text == "".join(f"{n}." for n in range(text.count(".")))
        await trio.testing.wait_all_tasks_blocked()
        assert bench.desk.in_flight == bench.desk.live == bench.engine.live == 0
        assert len(bench.slots._pins) == 0
        assert bench.counters.stream_closed_without_terminal > 0
        assert bench.counters.cancellations_received > 0
