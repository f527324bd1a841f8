"""What operators change of an account, on both engines: role, share, mark; each change is in the record of acts."""

from __future__ import annotations

import pytest

from server.accounts.credentials import hash_of
from server.administration import audit
from server.administration.accounts import AccountActs
from server.administration.operator import Operator
from server.store import Invalid, NotFound, Store
from tests.unit.server.accounts.people import KeyWorld, add_user


class World(KeyWorld):
    """The parts around keys, with an operator."""

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self.acts = AccountActs(Operator(store, changes=self.changes, wall_clock=self.times.wall_clock))


@pytest.fixture
def world(store: Store) -> World:
    return World(store)


async def test_role_share_and_mark_change_and_the_record_says_so(world: World) -> None:
    user, other = await add_user(world.store), await add_user(world.store, "eve")
    changed = await world.acts.set_role("root", user.account_id, "service")
    assert (changed.role, changed.fee_percent, changed.is_admin) == ("service", None, False)
    assert (await world.acts.set_fee("root", user.account_id, 0)).fee_percent == 0
    assert (await world.acts.set_admin("root", user.account_id, True)).is_admin
    changed = await world.acts.set_fee("root", user.account_id, None)
    assert (changed.role, changed.fee_percent, changed.is_admin) == ("service", None, True)
    untouched = await world.acts.set_fee("root", other.account_id, 100)
    assert (untouched.role, untouched.fee_percent, untouched.is_admin) == ("", 100, False)
    acts = await world.store.read(lambda tx: audit.newest(tx, 10))
    assert [one.action for one in acts][::-1] == [
        "account.role",
        "account.fee",
        "account.admin",
        "account.fee",
        "account.fee",
    ]


@pytest.mark.parametrize("percent", [-1, 101])
async def test_a_share_that_is_none_changes_nothing(world: World, percent: int) -> None:
    user = await add_user(world.store)
    with pytest.raises(Invalid, match="from 0 to 100"):
        await world.acts.set_fee("root", user.account_id, percent)
    with pytest.raises(NotFound):
        await world.acts.set_fee("root", hash_of("nobody"), 5)
