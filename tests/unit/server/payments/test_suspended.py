"""A suspended account is paid nothing, whoever asks; what has begun before goes on."""

from __future__ import annotations

import pytest

from protocol.api.errors import ApiError
from server.accounts.changes import Changes
from server.administration.accounts import AccountActs
from server.administration.operator import Operator
from tests.testbed.stripe_peer_world import World


async def withdraw(world: World) -> None:
    await world.payouts.withdrawals.withdraw("ann", gross_micro_usd=2_000_000, method="standard")


async def test_nothing_is_paid_out_until_the_account_is_resumed(world: World) -> None:
    await world.payee("ann", earned=10_000_000)
    acts = AccountActs(Operator(world.store, changes=Changes(world.store), wall_clock=world.clock))
    await withdraw(world)
    before = (await world.balance("ann")).balance
    await acts.suspend("root", "ann", "under investigation")
    with pytest.raises(ApiError) as refused:
        await withdraw(world)
    assert (refused.value.status, refused.value.code) == (403, "account_suspended")
    assert (await world.balance("ann")).balance == before
    assert len(await world.rows("SELECT 1 FROM stripe_withdrawals")) == 1
    await acts.resume("root", "ann")
    await withdraw(world)
    assert (await world.balance("ann")).balance == before - 2_000_000
