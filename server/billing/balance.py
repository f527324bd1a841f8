"""One account's money: the pure functions of which every change of a balance is made.

Invariant: 0 ≤ withdrawable ≤ balance; 0 ≤ held_withdrawable ≤ withdrawable;
0 ≤ held − held_withdrawable ≤ balance − withdrawable. Credits (balance − withdrawable) are spent before earnings.
"""

from __future__ import annotations

from typing import NamedTuple

from server.billing.amounts import MAX_MONEY
from server.store.errors import Invalid


class Balance(NamedTuple):
    """Micro-USD: money owned, its earned part, what open holds reserve, and the earned part of that."""

    balance: int
    withdrawable: int
    held: int
    held_withdrawable: int

    @property
    def free(self) -> int:
        """What may be spent now; the balance that the API shows."""
        return self.balance - self.held

    @property
    def free_withdrawable(self) -> int:
        """What may be paid out now."""
        return self.withdrawable - self.held_withdrawable

    @property
    def free_credits(self) -> int:
        """What may be spent now and can never be paid out."""
        return self.free - self.free_withdrawable

    def is_sound(self) -> bool:
        """Whether the invariant holds."""
        return (
            0 <= self.withdrawable <= self.balance <= MAX_MONEY
            and 0 <= self.held_withdrawable <= self.withdrawable
            and 0 <= self.held - self.held_withdrawable <= self.balance - self.withdrawable
        )


EMPTY = Balance(0, 0, 0, 0)


def hold(b: Balance, amount: int) -> tuple[Balance, int] | None:
    """Reserve an amount: the new balance and how much of the hold is earned money. None = not enough free money."""
    if amount < 0 or b.free < amount:
        return None
    earned = amount - min(amount, b.free_credits)
    return b._replace(held=b.held + amount, held_withdrawable=b.held_withdrawable + earned), earned


def capture(b: Balance, amount: int, earned: int, cost: int) -> tuple[Balance, int] | None:
    """Close a hold (its amount, its earned part) and charge `cost`, which may exceed the amount.

    Returns the new balance and how much earned money was spent; None when the money above the hold is not there. Which
    kind of money is spent is decided now, so that the result is as if only the final cost had ever been charged.
    """
    if cost < 0:
        return None
    opened = b._replace(held=b.held - amount, held_withdrawable=b.held_withdrawable - earned)
    if opened.free < cost:
        return None
    spent = cost - min(cost, opened.free_credits)
    return opened._replace(balance=opened.balance - cost, withdrawable=opened.withdrawable - spent), spent


def release(b: Balance, amount: int, earned: int) -> Balance:
    """Close a hold without a charge."""
    return b._replace(held=b.held - amount, held_withdrawable=b.held_withdrawable - earned)


def credit(b: Balance, amount: int, *, earned: bool) -> Balance:
    """Add money; earned money may be paid out later. Raises Invalid unless 0 < amount and the sum can be stored."""
    if amount <= 0:
        raise Invalid(f"A credit must be a positive number of micro-USD, not {amount}.")
    if b.balance + amount > MAX_MONEY:
        raise Invalid(f"A credit of {amount} micro-USD would pass the largest balance of {MAX_MONEY}.")
    return b._replace(balance=b.balance + amount, withdrawable=b.withdrawable + (amount if earned else 0))


def withdraw(b: Balance, gross: int) -> Balance | None:
    """Take earned money out; None = not so much free earned money."""
    if gross < 0 or b.free_withdrawable < gross:
        return None
    return b._replace(balance=b.balance - gross, withdrawable=b.withdrawable - gross)


def apply(b: Balance, amount: int, withdrawable_delta: int) -> Balance | None:
    """Apply a ledger entry as it stands; None when a debit is not covered by free money of its kind.

    Raises Invalid when the result could not be stored.
    """
    changed = b._replace(balance=b.balance + amount, withdrawable=b.withdrawable + withdrawable_delta)
    if changed.balance > MAX_MONEY:
        raise Invalid(f"A credit of {amount} micro-USD would pass the largest balance of {MAX_MONEY}.")
    return changed if changed.is_sound() else None
