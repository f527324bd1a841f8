"""Who is paid out where: the Stripe columns of `users`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from server.payments.account_status import AccountView, PayeeStatus
    from server.store.engine import Row, Tx

_COLUMNS = (
    "account_id, email, stripe_account_id, stripe_account_status, stripe_account_country, stripe_destination_type,"
    " stripe_destination_last4, stripe_instant_eligible"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Payee:
    """A person with what we know of the linked Stripe account; all empty without one."""

    account_id: str
    email: str
    stripe_account_id: str
    status: PayeeStatus
    country: str
    destination_type: str
    destination_last4: str
    instant_eligible: bool


async def read_payee(tx: Tx, account_id: str) -> Payee | None:
    """Return a person; None for accounts that are no person's."""
    row = await tx.row(f"SELECT {_COLUMNS} FROM users WHERE account_id = $1", account_id)
    return None if row is None else _payee(row)


async def payee_of_stripe_account(tx: Tx, stripe_account_id: str) -> Payee | None:
    """Return whom a connected account belongs to; None once it was unlinked."""
    if not stripe_account_id:
        return None
    row = await tx.row(f"SELECT {_COLUMNS} FROM users WHERE stripe_account_id = $1", stripe_account_id)
    return None if row is None else _payee(row)


async def link_account(tx: Tx, account_id: str, *, before: str, view: AccountView, now: int) -> bool:
    """Link a new connected account in place of `before`; False when another one was linked meanwhile."""
    changed = await tx.execute(
        "UPDATE users SET stripe_account_id = $3, stripe_account_status = $4, stripe_account_country = $5,"
        " stripe_destination_type = $6, stripe_destination_last4 = $7, stripe_instant_eligible = $8, updated_at = $9"
        " WHERE account_id = $1 AND stripe_account_id = $2",
        account_id,
        before,
        view.stripe_account_id,
        view.status,
        view.country,
        view.destination_type,
        view.destination_last4,
        int(view.instant_eligible),
        now,
    )
    return changed == 1


async def mirror_account(tx: Tx, view: AccountView, now: int) -> bool:
    """Write what Stripe says of a linked account; False when nobody is linked to it."""
    changed = await tx.execute(
        "UPDATE users SET stripe_account_status = $2, stripe_account_country = $3, stripe_destination_type = $4,"
        " stripe_destination_last4 = $5, stripe_instant_eligible = $6, updated_at = $7 WHERE stripe_account_id = $1",
        view.stripe_account_id,
        view.status,
        view.country,
        view.destination_type,
        view.destination_last4,
        int(view.instant_eligible),
        now,
    )
    return changed == 1


async def set_status(tx: Tx, stripe_account_id: str, status: PayeeStatus, now: int) -> None:
    """Write the status of a linked account alone."""
    await tx.execute(
        "UPDATE users SET stripe_account_status = $2, updated_at = $3 WHERE stripe_account_id = $1",
        stripe_account_id,
        status,
        now,
    )


async def unlink_account(tx: Tx, account_id: str, *, stripe_account_id: str, now: int) -> bool:
    """Forget a linked account; False when it is not the one that is linked."""
    if not stripe_account_id:
        return False
    changed = await tx.execute(
        "UPDATE users SET stripe_account_id = '', stripe_account_status = '', stripe_account_country = '',"
        " stripe_destination_type = '', stripe_destination_last4 = '', stripe_instant_eligible = 0, updated_at = $3"
        " WHERE account_id = $1 AND stripe_account_id = $2",
        account_id,
        stripe_account_id,
        now,
    )
    return changed == 1


def _payee(row: Row) -> Payee:
    return Payee(
        account_id=cast(str, row["account_id"]),
        email=cast(str, row["email"]),
        stripe_account_id=cast(str, row["stripe_account_id"]),
        status=cast("PayeeStatus", row["stripe_account_status"]),
        country=cast(str, row["stripe_account_country"]),
        destination_type=cast(str, row["stripe_destination_type"]),
        destination_last4=cast(str, row["stripe_destination_last4"]),
        instant_eligible=row["stripe_instant_eligible"] == 1,
    )
