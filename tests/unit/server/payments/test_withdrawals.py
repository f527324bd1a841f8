"""Withdrawals: amounts, refusals, every failure of the transfer and the payout, and repeated requests."""

from __future__ import annotations

import pytest
import trio

from protocol.api.errors import ApiError
from protocol.settings import Secret
from server.payments.fees import Method
from server.payments.stripe_client import StripeClient
from server.payments.withdrawal_answers import WithdrawalAnswer
from tests.testbed.stripe_peer_faults import FaultKind
from tests.testbed.stripe_peer_world import HOUR, World


async def withdraw(
    world: World, gross: int = 10_000_000, method: Method = "standard", key: str = "", account: str = "ann"
) -> WithdrawalAnswer:
    return await world.payouts.withdrawals.withdraw(account, gross_micro_usd=gross, method=method, idempotency_key=key)


async def refused(world: World, gross: int = 10_000_000, method: Method = "standard", key: str = "") -> ApiError:
    with pytest.raises(ApiError) as caught:
        await withdraw(world, gross, method, key)
    return caught.value


async def ledger(world: World) -> list[tuple[str, str, int, int]]:
    rows = await world.rows(
        "SELECT t.kind, e.account_id, e.amount_micro_usd, e.withdrawable_delta_micro_usd FROM ledger_entries e"
        " JOIN ledger_txns t ON t.id = e.txn_id WHERE t.kind LIKE 'withdraw%' ORDER BY e.id"
    )
    return [tuple(row.values()) for row in rows]  # type: ignore[misc]


async def test_standard_withdrawal_transfers_and_leaves_the_rest_to_the_sweep(world: World) -> None:
    connected = await world.payee("ann", earned=12_345_678)
    answer = await withdraw(world)
    row = await world.only_withdrawal()
    assert (answer.status, row.status, row.payout_id, answer.eta) == (200, "transferred", "", "1-2 business days")
    assert answer.balance_micro_usd == 2_345_678
    (transfer,) = world.peer.transfers.values()
    assert (transfer["id"], transfer["amount"], transfer["destination"]) == (row.transfer_id, 1000, connected)
    assert transfer["metadata"]["withdrawal_id"] == row.id
    call = next(call for call in world.peer.calls if call.path == "/v1/transfers")
    assert call.key == f"wd-tr-{row.id}"
    assert await ledger(world) == [
        ("withdraw", "ann", -10_000_000, -10_000_000),
        ("withdraw", "sys:stripe_out", 10_000_000, 0),
    ]


async def test_instant_withdrawal_pays_out_at_once_and_keeps_fee_and_dust(world: World) -> None:
    connected = await world.payee("ann", earned=40_000_000, destination="card")
    answer = await withdraw(world, 33_340_000, "instant")
    row = await world.only_withdrawal()
    assert (answer.status, answer.eta, row.fee_micro_usd, row.net_cents) == (200, "~30 minutes", 500_100, 3283)
    payout = world.peer.payouts[row.payout_id]
    assert (payout["amount"], payout["account"], payout["automatic"]) == (3283, connected, False)
    assert row.arrival_at == payout["arrival_date"] * 1_000_000
    call = next(call for call in world.peer.calls if call.path == "/v1/payouts")
    assert (call.key, call.account) == (f"wd-po-{row.id}", connected)
    assert await ledger(world) == [
        ("withdraw", "ann", -33_340_000, -33_340_000),
        ("withdraw", "sys:stripe_out", 32_830_000, 0),
        ("withdraw", "platform", 500_100, 0),
        ("withdraw", "sys:dust", 9_900, 0),
    ]


async def test_below_the_minimum_is_refused_before_anything_else(world: World) -> None:
    await world.person("ann", earned=5_000_000)
    error = await refused(world, 990_000)
    assert (error.status, error.code, world.peer.calls) == (400, "invalid_request_error", [])


async def test_deposits_cannot_be_withdrawn(world: World) -> None:
    await world.payee("ann", bought=20_000_000, earned=1_500_000)
    error = await refused(world, 1_510_000)
    assert (error.status, error.code) == (400, "insufficient_withdrawable")
    assert (await world.balance("ann")).balance == 21_500_000
    assert world.peer.transfers == {}
    assert await world.rows("SELECT id FROM stripe_withdrawals") == []
    await withdraw(world, 1_500_000)
    assert await world.balance("ann") == (20_000_000, 0, 0, 0)


async def test_only_earnings_without_holds_are_free(world: World) -> None:
    await world.payee("ann", earned=5_000_000)
    await world.store.write(
        lambda tx: tx.execute(
            "UPDATE balances SET held_micro_usd = 2000000, held_withdrawable_micro_usd = 2000000 WHERE account_id = $1",
            "ann",
        )
    )
    assert (await refused(world, 3_010_000)).code == "insufficient_withdrawable"
    await withdraw(world, 3_000_000)
    assert await world.balance("ann") == (2_000_000, 2_000_000, 2_000_000, 2_000_000)


@pytest.mark.parametrize("status", ["", "pending", "restricted", "rejected"])
async def test_payee_must_be_ready(world: World, status: str) -> None:
    await world.payee("ann", earned=5_000_000)
    await world.store.write(lambda tx: tx.execute("UPDATE users SET stripe_account_status = $1", status))
    error = await refused(world, 2_000_000)
    assert (error.status, error.code) == (403, "not_onboarded")


async def test_accounts_that_are_no_person_cannot_withdraw(world: World) -> None:
    error = await refused(world, 2_000_000)
    assert (error.status, error.code) == (401, "auth_error")


async def test_gone_account_is_unlinked(world: World) -> None:
    connected = await world.payee("ann", earned=5_000_000)
    world.peer.drop_account(connected)
    error = await refused(world, 2_000_000)
    assert (error.status, error.code) == (409, "stripe_account_gone")
    (user,) = await world.rows("SELECT stripe_account_id, stripe_account_status FROM users")
    assert dict(user) == {"stripe_account_id": "", "stripe_account_status": ""}
    assert (await world.balance("ann")).balance == 5_000_000


async def test_wrong_agreement_restricts_the_account(world: World) -> None:
    connected = await world.payee("ann", earned=5_000_000, country="IN")
    world.peer.accounts[connected]["tos_acceptance"] = {}
    error = await refused(world, 2_000_000)
    assert (error.status, error.code) == (409, "stripe_account_recreate_required")
    (user,) = await world.rows("SELECT stripe_account_status FROM users")
    assert user["stripe_account_status"] == "restricted"


async def test_disabled_payouts_are_refused_and_mirrored(world: World) -> None:
    connected = await world.payee("ann", earned=5_000_000)
    world.peer.accounts[connected]["payouts_enabled"] = False
    assert (await refused(world, 2_000_000)).status == 403
    (user,) = await world.rows("SELECT stripe_account_status FROM users")
    assert user["stripe_account_status"] == "pending"


async def test_account_that_stripe_rejected_is_refused_even_while_payouts_are_on(world: World) -> None:
    connected = await world.payee("ann", earned=5_000_000)
    world.peer.accounts[connected]["requirements"]["disabled_reason"] = "rejected.fraud"
    assert (await refused(world, 2_000_000)).code == "not_onboarded"
    assert world.peer.transfers == {}


@pytest.mark.parametrize("kind", ["cut_before", "error_before", "rate_limited"])
async def test_unreachable_stripe_takes_no_money(world: World, kind: FaultKind) -> None:
    await world.payee("ann", earned=5_000_000)
    world.peer.plan(kind, "/v1/accounts", method="GET")
    error = await refused(world, 2_000_000)
    assert (error.status, error.code) == (502, "stripe_error")
    assert await world.rows("SELECT id FROM stripe_withdrawals") == []


async def test_instant_needs_a_debit_card(world: World) -> None:
    await world.payee("ann", earned=5_000_000)
    error = await refused(world, 2_000_000, "instant")
    assert (error.status, error.code) == (400, "instant_unavailable")


@pytest.mark.parametrize(
    ("code", "status", "public_code"),
    [
        ("balance_insufficient", 502, "stripe_error"),
        ("resource_missing", 409, "stripe_account_gone"),
        ("transfers_not_allowed", 409, "stripe_account_recreate_required"),
    ],
)
async def test_transfer_rejected_at_first_returns_principal_and_fee(
    world: World, code: str, status: int, public_code: str
) -> None:
    await world.payee("ann", earned=40_000_000, destination="card")
    world.peer.plan("rejected", "/v1/transfers", code=code)
    error = await refused(world, 33_340_000, "instant", "key-1")
    assert (error.status, error.code) == (status, public_code)
    row = await world.only_withdrawal()
    assert (row.status, row.refunded, row.fee_refunded, row.failure_reason) == ("failed", True, True, code)
    assert await world.balance("ann") == (40_000_000, 40_000_000, 0, 0)
    assert (await ledger(world))[4:] == [
        ("withdraw_refund", "ann", 32_839_900, 32_839_900),
        ("withdraw_refund", "sys:stripe_out", -32_830_000, 0),
        ("withdraw_refund", "sys:dust", -9_900, 0),
        ("withdraw_fee_refund", "ann", 500_100, 500_100),
        ("withdraw_fee_refund", "platform", -500_100, 0),
    ]
    again = await refused(world, 33_340_000, "instant", "key-1")
    assert (again.status, again.code) == (status, public_code)
    (user,) = await world.rows("SELECT stripe_account_id, stripe_account_status FROM users")
    assert user["stripe_account_status"] == {"resource_missing": "", "transfers_not_allowed": "restricted"}.get(
        code, "ready"
    )


@pytest.mark.parametrize("kind", ["cut_before", "cut_after", "error_before", "error_after", "busy"])
async def test_one_unclear_attempt_is_repeated_under_the_same_key(world: World, kind: FaultKind) -> None:
    await world.payee("ann", earned=20_000_000)
    world.peer.plan(kind, "/v1/transfers")
    answer = await withdraw(world)
    assert (answer.status, len(world.peer.transfers), world.pauses) == (200, 1, [0.5])
    assert {call.key for call in world.peer.calls if call.path == "/v1/transfers"} == {f"wd-tr-{answer.row.id}"}


@pytest.mark.parametrize("kind", ["cut_before", "cut_after", "error_before", "error_after", "busy", "error_saved"])
async def test_three_unclear_attempts_hold_the_money(world: World, kind: FaultKind) -> None:
    await world.payee("ann", earned=20_000_000)
    world.peer.plan(kind, "/v1/transfers", times=3)
    error = await refused(world, key="key-1")
    assert (error.status, error.code) == (502, "outcome_unconfirmed")
    row = await world.only_withdrawal()
    assert (row.status, row.refunded) == ("pending", False)
    assert (await world.balance("ann")).balance == 10_000_000
    assert world.meter.alerts == ["transfer_outcome_unknown"]
    assert len([call for call in world.peer.calls if call.path == "/v1/transfers"]) == 3
    assert (await refused(world, key="key-1")).code == "outcome_unconfirmed"
    assert len(world.peer.transfers) == (1 if kind in ("cut_after", "error_after") else 0)


async def test_rejection_after_doubt_returns_nothing(world: World) -> None:
    await world.payee("ann", earned=20_000_000)
    world.peer.plan("cut_after", "/v1/transfers")
    world.peer.plan("rejected", "/v1/transfers", code="balance_insufficient")
    error = await refused(world)
    assert (error.status, error.code) == (502, "outcome_unconfirmed")
    row = await world.only_withdrawal()
    assert (row.status, row.refunded, world.meter.alerts) == ("pending", False, ["transfer_rejected_after_doubt"])
    assert (await world.balance("ann")).balance == 10_000_000
    await world.reconcile_after(0.5 * HOUR)
    row = await world.only_withdrawal()
    assert (row.status, row.attempts, len(world.peer.transfers)) == ("transferred", 2, 1)


async def test_key_of_other_parameters_is_doubt_not_proof(world: World) -> None:
    """Stripe's 400 for a reused key says nothing about what the first use of the key did."""
    await world.payee("ann", earned=20_000_000)
    world.peer.plan("cut_after", "/v1/transfers", times=3)
    await refused(world)
    await world.store.write(lambda tx: tx.execute("UPDATE stripe_withdrawals SET net_cents = 999"))
    await world.reconcile_after(0.5 * HOUR)
    row = await world.only_withdrawal()
    assert (row.status, row.refunded, len(world.peer.transfers)) == ("pending", False, 1)
    assert world.meter.alerts == ["transfer_outcome_unknown", "transfer_outcome_unknown"]


async def test_rejected_instant_payout_returns_the_fee_alone(world: World) -> None:
    await world.payee("ann", earned=40_000_000, destination="card")
    world.peer.plan("rejected", "/v1/payouts", code="instant_payouts_limit_exceeded")
    answer = await withdraw(world, 10_000_000, "instant", "key-1")
    assert (answer.status, answer.row.status, answer.row.fee_refunded, answer.row.refunded) == (
        202,
        "transferred",
        True,
        False,
    )
    assert await world.balance("ann") == (30_500_000, 30_500_000, 0, 0)
    assert (await withdraw(world, 10_000_000, "instant", "key-1")).status == 202


async def test_unclear_instant_payout_returns_nothing(world: World) -> None:
    connected = await world.payee("ann", earned=40_000_000, destination="card")
    world.peer.plan("cut_after", "/v1/payouts", times=3)
    answer = await withdraw(world, 10_000_000, "instant")
    assert (answer.status, answer.row.status, answer.row.fee_refunded) == (202, "transferred", False)
    assert (await world.balance("ann")).balance == 30_000_000
    await world.reconcile_after(0.5 * HOUR)
    row = await world.only_withdrawal()
    assert (row.payout_id in world.peer.payouts, len(world.peer.payouts)) == (True, 1)
    assert world.peer.balances[connected] == 0


async def test_instant_payout_rejected_after_doubt_asks_a_person(world: World) -> None:
    await world.payee("ann", earned=40_000_000, destination="card")
    world.peer.plan("cut_before", "/v1/payouts", times=3)
    await withdraw(world, 10_000_000, "instant")
    world.peer.plan("rejected", "/v1/payouts")
    await world.reconcile_after(0.5 * HOUR)
    row = await world.only_withdrawal()
    assert (row.needs_review, row.fee_refunded, row.status) == (True, False, "transferred")
    assert world.meter.alerts == ["payout_rejected_after_doubt"]


async def test_repeated_key_gets_the_first_answer(world: World) -> None:
    await world.payee("ann", earned=20_000_000)
    first = await withdraw(world, key="key-1")
    again = await withdraw(world, key="key-1")
    assert (again.row, again.status, len(world.peer.transfers)) == (first.row, 200, 1)
    for gross, method in ((9_000_000, "standard"), (10_000_000, "instant")):
        conflict = await refused(world, gross, method, "key-1")  # type: ignore[arg-type]
        assert (conflict.status, conflict.code) == (409, "idempotency_conflict")
    await withdraw(world, key="key-2")
    assert (await world.balance("ann")).balance == 0


async def test_keys_of_two_accounts_do_not_meet(world: World) -> None:
    await world.payee("ann", earned=2_000_000)
    await world.payee("bob", earned=2_000_000)
    await withdraw(world, 2_000_000, key="k")
    await withdraw(world, 2_000_000, key="k", account="bob")
    assert len(world.peer.transfers) == 2


async def test_fifty_duplicates_at_once_make_one_withdrawal(world: World) -> None:
    await world.payee("ann", earned=1_000_000_000)
    answers: list[WithdrawalAnswer] = []

    async def one() -> None:
        answers.append(await withdraw(world, key="double-click"))

    async with trio.open_nursery() as nursery:
        for _ in range(50):
            nursery.start_soon(one)
    assert len({answer.row.id for answer in answers}) == 1
    assert len(answers) == 50
    assert (await world.balance("ann")).balance == 990_000_000
    assert len(world.peer.transfers) == 1


async def test_the_same_key_in_another_process_finds_the_row(world: World) -> None:
    """A second process does not share what runs here: only the row stands between two withdrawals."""
    await world.payee("ann", earned=1_000_000_000)
    withdrawals = world.payouts.withdrawals
    answers: list[WithdrawalAnswer | str] = []

    async def one() -> None:
        try:
            begin = withdrawals._begin("ann", 10_000_000, "standard", "same-key")
            answers.append(await begin)
        except ApiError as error:
            answers.append(error.code)

    async with trio.open_nursery() as nursery:
        for _ in range(8):
            nursery.start_soon(one)
    assert len(await world.rows("SELECT id FROM stripe_withdrawals")) == 1
    assert len(world.peer.transfers) == 1
    assert {answer for answer in answers if isinstance(answer, str)} <= {"outcome_unconfirmed"}


async def test_two_withdrawals_of_everything_at_once(world: World) -> None:
    await world.payee("ann", earned=5_000_000)
    outcomes: list[int] = []

    async def one() -> None:
        try:
            outcomes.append((await withdraw(world, 5_000_000)).status)
        except ApiError as error:
            outcomes.append(error.status)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(one)
        nursery.start_soon(one)
    assert sorted(outcomes) == [200, 400]
    assert (await world.balance("ann")).balance == 0
    assert len(world.peer.transfers) == 1


async def test_caller_who_leaves_does_not_stop_a_begun_withdrawal(world: World) -> None:
    await world.payee("ann", earned=20_000_000, destination="card")
    with trio.CancelScope() as scope:
        world.peer.on_call = lambda call: scope.cancel() if call.path == "/v1/transfers" else None
        await withdraw(world, 10_000_000, "instant")
    assert scope.cancelled_caught
    row = await world.only_withdrawal()
    assert (row.status, row.payout_id in world.peer.payouts) == ("transferred", True)


async def test_crash_between_debit_and_transfer_is_made_good(world: World) -> None:
    """The process dies after the transaction that took the money: the reconciler finishes under the same key."""
    await world.payee("ann", earned=20_000_000, destination="card")
    world.peer.plan("cut_before", "/v1/transfers", times=3)
    await refused(world, 10_000_000, "instant")
    await world.reconcile_after(0.5 * HOUR)
    row = await world.only_withdrawal()
    assert (row.status, row.payout_id in world.peer.payouts, len(world.peer.transfers)) == ("transferred", True, 1)


async def test_nothing_is_repeated_after_twenty_three_hours(world: World) -> None:
    """Stripe forgets keys after a day: a late repeat would move the money twice."""
    await world.payee("ann", earned=20_000_000)
    world.peer.plan("cut_after", "/v1/transfers", times=3)
    await refused(world)
    await world.reconcile_after(25 * HOUR)
    row = await world.only_withdrawal()
    assert (row.status, row.needs_review, row.refunded, len(world.peer.transfers)) == ("pending", True, False, 1)
    assert world.meter.alerts == ["transfer_outcome_unknown", "withdrawal_needs_review"]
    await world.reconcile_after(HOUR)
    assert len(world.meter.alerts) == 2


def test_client_does_not_show_its_key() -> None:
    client = StripeClient(Secret("sk_test_hush"))
    assert "hush" not in repr(client)
