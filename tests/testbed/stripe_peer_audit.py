"""What must hold of money at every moment: the books alone, and the books against what Stripe did."""

from __future__ import annotations

from collections import Counter

from server.billing.verify import verify
from tests.testbed.stripe_peer_world import World

EARNED_BY = {"payout", "referral_reward", "admin_reward", "provider_floor_draw"}
REFUNDS = {"withdraw_refund", "withdraw_fee_refund"}


async def audit(world: World) -> None:
    """Check everything; raises AssertionError."""
    report = await world.store.statistics(verify)
    assert report.is_sound, "\n".join(map(str, report.problems))
    await audit_books(world)
    await audit_against_stripe(world)


async def audit_books(world: World) -> None:
    """Refunds return what was taken, no more; orders are credited wholly or not at all; only earnings are earned."""
    entries = await world.rows(
        "SELECT t.kind, t.reference, e.account_id, e.entry_type, e.amount_micro_usd AS amount,"
        " e.withdrawable_delta_micro_usd AS earned FROM ledger_entries e JOIN ledger_txns t ON t.id = e.txn_id"
    )
    back: Counter[str] = Counter()
    credited: Counter[str] = Counter()
    for entry in entries:
        if int(entry["earned"] or 0) > 0:
            assert entry["entry_type"] in EARNED_BY or entry["kind"] in REFUNDS, dict(entry)
        personal = not str(entry["account_id"]).startswith(("sys:", "platform"))
        if personal and entry["kind"] in REFUNDS:
            back[str(entry["reference"]).split(":", 1)[1]] += int(entry["amount"] or 0)
        if personal and entry["kind"] == "deposit":
            credited[str(entry["reference"]).removeprefix("stripe:")] += int(entry["amount"] or 0)
    for row in await world.rows("SELECT id, amount_micro_usd, status, refunded FROM stripe_withdrawals"):
        assert 0 <= back[str(row["id"])] <= int(row["amount_micro_usd"] or 0)
        assert not (row["status"] == "paid" and row["refunded"])
        assert bool(row["refunded"]) == (row["status"] == "failed")
        assert not row["refunded"] or back[str(row["id"])] == row["amount_micro_usd"]
    for row in await world.rows("SELECT external_id, amount_micro_usd, status FROM billing_sessions"):
        wanted = row["amount_micro_usd"] if row["status"] == "completed" else 0
        assert credited[str(row["external_id"])] == wanted


async def audit_against_stripe(world: World) -> None:
    """Money that is back here is not over there, and nothing went there twice or without leaving here."""
    peer = world.peer
    moved = Counter(str(one["metadata"]["withdrawal_id"]) for one in peer.transfers.values())
    assert not moved or max(moved.values()) == 1
    kept = {str(one["metadata"]["withdrawal_id"]) for one in peer.transfers.values() if not one["reversed"]}
    out = Counter(
        str(one["metadata"]["withdrawal_id"])
        for one in peer.payouts.values()
        if not one["automatic"] and one["status"] in ("pending", "paid")
    )
    assert not out or max(out.values()) == 1
    rows = await world.rows("SELECT id, refunded, fee_refunded, status FROM stripe_withdrawals")
    assert set(moved) <= {row["id"] for row in rows}
    for row in rows:
        assert not (row["refunded"] and row["id"] in kept), "refunded, but the money is at Stripe"
        if row["fee_refunded"] and not row["refunded"]:
            assert row["id"] not in out, "the fee came back, but the card was paid"
        if row["status"] in ("transferred", "paid"):
            assert row["id"] in moved
