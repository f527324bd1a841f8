"""The pure model of the ledger: what every event of a trace must do, without a database."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

from server.billing import balance as maths
from server.billing.amounts import MAX_MONEY
from server.billing.balance import EMPTY, Balance
from server.billing.ledger import DUST, GRANTS, PLATFORM, STRIPE_IN, STRIPE_OUT, UNCLAIMED
from server.billing.prices import Tariff
from tests.testbed.books import LIFETIME, MINUTE, START
from tests.testbed.ledger_events import (
    CAP,
    FEES,
    INVITE_AMOUNT,
    INVITE_USES,
    REFERRERS,
    Deposit,
    Direct,
    Event,
    Grant,
    Hold,
    Paid,
    PayoutFails,
    Redeem,
    Release,
    Resize,
    Rotate,
    Settle,
    Sweep,
    TransferFails,
    Withdraw,
    key_name,
    withdrawal_parts,
)

DAY = 24 * 60 * MINUTE


class Refused(Exception):
    """The event must be refused; the text is the word for how."""


@dataclass(slots=True)
class Reservation:
    account: str
    key: str
    amount: int
    earned: int
    expires_at: int
    state: str = "held"
    cost: int | None = None


@dataclass(slots=True)
class Withdrawal:
    account: str
    gross: int
    status: str = "pending"
    refunded: bool = False
    fee_refunded: bool = False


@dataclass(slots=True)
class LedgerModel:
    """State after each event; an event that is refused leaves it as it was."""

    tariff: Tariff
    now: int = START
    balances: dict[str, Balance] = field(default_factory=dict)
    counters: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    reservations: dict[str, Reservation] = field(default_factory=dict)
    usage: list[tuple[str, int, int]] = field(default_factory=list)
    """Key, cost, moment."""
    events: set[tuple[str, object]] = field(default_factory=set)
    withdrawals: dict[int, Withdrawal] = field(default_factory=dict)
    uses: dict[int, int] = field(default_factory=lambda: defaultdict(int))
    keys: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    """The number of each account's live key."""

    def apply(self, event: Event) -> str:
        """Do it; says how it ended in one word."""
        balances, counters, events = dict(self.balances), dict(self.counters), set(self.events)
        try:
            return self._apply(event)
        except Refused as refusal:
            self.balances, self.counters, self.events = balances, defaultdict(int, counters), events
            return str(refusal)

    def _apply(self, event: Event) -> str:
        match event:
            case Deposit(account, amount, reference):
                return self._once("deposit", reference, (STRIPE_IN, -amount), (account, amount, 0))
            case Grant(account, amount, earned, reference):
                part = amount if earned else 0
                return self._once("admin", reference, (GRANTS, -amount), (account, amount, part))
            case Hold():
                return self._hold(event)
            case Resize():
                return self._resize(event)
            case Settle(request, per_mille, owner):
                row = self.reservations.get(f"r{request}")
                if row is None or row.state != "held":
                    return "nothing"
                return self._settle(row, row.amount * per_mille // 1000, owner)
            case Direct():
                return self._direct(event)
            case Release(request):
                row = self.reservations.get(f"r{request}")
                return self._release(row)
            case Sweep(minutes):
                self.now += minutes * MINUTE
                gone = [row for row in self.reservations.values() if row.state == "held" and row.expires_at < self.now]
                for row in gone:
                    self._release(row)
                return "done" if gone else "nothing"
            case Withdraw():
                return self._withdraw(event)
            case TransferFails() | PayoutFails() | Paid():
                return self._after_withdrawal(event)
            case Redeem(account, code):
                return self._redeem(account, code)
            case Rotate(account, to):
                return self._rotate(account, to)

    def balance(self, account: str) -> Balance:
        return self.balances.get(account, EMPTY)

    def _once(self, kind: str, reference: object, *entries: tuple[str, int] | tuple[str, int, int]) -> str:
        if (kind, reference) in self.events:
            return "nothing"
        for entry in entries:
            self._move(*entry)
        self.events.add((kind, reference))
        return "done"

    def _move(self, account: str, amount: int, earned: int | None = None) -> None:
        if earned is None:
            self.counters[account] += amount
            return
        if self.balance(account).balance + amount > MAX_MONEY:
            raise Refused("invalid")
        after = maths.apply(self.balance(account), amount, earned)
        if after is None:
            raise Refused("refused")
        self.balances[account] = after

    def _committed(self, key: str) -> int:
        start = self.now - self.now % DAY
        used = sum(cost for owner, cost, moment in self.usage if owner == key and moment >= start)
        return used + sum(row.amount for row in self.reservations.values() if row.key == key and row.state == "held")

    def _check_cap(self, key: str, more: int) -> None:
        if key and self._committed(key) + more > CAP.limit:
            raise Refused("cap")

    def _hold(self, event: Hold) -> str:
        request = f"r{event.request}"
        key = key_name(event.account, self.keys[event.account]) if event.keyed else ""
        known = self.reservations.get(request)
        if known is not None:
            same = (known.account, known.amount, known.state) == (event.account, event.amount, "held")
            if same:
                return "done"
            raise Refused("conflict")
        self._check_cap(key, event.amount)
        reserved = maths.hold(self.balance(event.account), event.amount)
        if reserved is None:
            raise Refused("refused")
        self.balances[event.account], earned = reserved
        self.reservations[request] = Reservation(event.account, key, event.amount, earned, self.now + LIFETIME)
        return "done"

    def _resize(self, event: Resize) -> str:
        row = self.reservations.get(f"r{event.request}")
        if row is None or row.state != "held":
            raise Refused("missing")
        more = event.total - row.amount
        if (more <= 0) == event.up or more == 0:
            return "done"
        base = self.balance(row.account)
        if event.up:
            self._check_cap(row.key, more)
            reserved = maths.hold(base, more)
            if reserved is None:
                raise Refused("refused")
            row.earned += reserved[1]
        else:
            reserved = maths.hold(maths.release(base, row.amount, row.earned), event.total)
            assert reserved is not None
            row.earned = reserved[1]
        row.amount = event.total
        self.balances[row.account] = reserved[0]
        return "done"

    def _release(self, row: Reservation | None) -> str:
        if row is None or row.state != "held":
            return "nothing"
        self.balances[row.account] = maths.release(self.balance(row.account), row.amount, row.earned)
        row.state = "released"
        return "done"

    def _settle(self, row: Reservation, cost: int, owner: str | None) -> str:
        charge = 0 if owner == row.account else min(cost, 2 * row.amount)
        done = maths.capture(self.balance(row.account), row.amount, row.earned, charge)
        if done is None:
            charge = row.amount
            done = maths.capture(self.balance(row.account), row.amount, row.earned, charge)
        assert done is not None
        self.balances[row.account] = done[0]
        self._share(row.account, charge, owner)
        row.state, row.cost = "settled", charge
        self.usage.append((row.key, charge, self.now))
        return "done"

    def _share(self, consumer: str, charge: int, owner: str | None) -> None:
        referrer = REFERRERS.get(consumer)
        referred = referrer is not None and referrer != owner
        parts = self.tariff.split(charge, fee_percent=FEES[owner] if owner else None, referred=referred)
        if owner is None:
            self.counters[UNCLAIMED] += parts.payout
        elif parts.payout:
            self._move(owner, parts.payout, parts.payout)
        if referrer is not None and parts.reward:
            self._move(referrer, parts.reward, parts.reward)
        self.counters[PLATFORM] += parts.platform

    def _direct(self, event: Direct) -> str:
        if ("settle", event.request) in self.events:
            return "nothing"
        charge = 0 if event.owner == event.account else event.cost
        done = maths.capture(self.balance(event.account), 0, 0, charge)
        if done is None:
            charge = 0
        elif charge:
            self.balances[event.account] = done[0]
        self._share(event.account, charge, event.owner)
        self.events.add(("settle", event.request))
        return "done"

    def _withdraw(self, event: Withdraw) -> str:
        fee, cents, dust = withdrawal_parts(event.gross)
        done = self._once(
            "withdraw",
            event.reference,
            (event.account, -event.gross, -event.gross),
            (STRIPE_OUT, cents * 10_000),
            (PLATFORM, fee),
            (DUST, dust),
        )
        if done == "done":
            self.withdrawals[event.reference] = Withdrawal(event.account, event.gross)
        return done

    def _after_withdrawal(self, event: TransferFails | PayoutFails | Paid) -> str:
        row = self.withdrawals.get(event.reference)
        if row is None or row.refunded:
            return "nothing"
        fee, cents, dust = withdrawal_parts(row.gross)
        match event:
            case Paid():
                before, row.status = row.status, "paid"
                return "nothing" if before == "paid" else "done"
            case PayoutFails():
                if row.status == "transferred" and row.fee_refunded:
                    return "nothing"
                self._fee_back(event.reference, row.account, fee)
                row.status, row.fee_refunded = "transferred", True
                return "done"
            case TransferFails() if row.status != "paid":
                back = row.gross - fee
                self._once(
                    "withdraw_refund",
                    event.reference,
                    (row.account, back, back),
                    (STRIPE_OUT, -cents * 10_000),
                    (DUST, -dust),
                )
                self._fee_back(event.reference, row.account, fee)
                row.status, row.refunded = "failed", True
                return "done"
        return "nothing"

    def _fee_back(self, reference: int, account: str, fee: int) -> str:
        return self._once("withdraw_fee_refund", reference, (account, fee, fee), (PLATFORM, -fee))

    def _rotate(self, account: str, to: int) -> str:
        """No money moves: holds and usage stay with the key that asked, and its successor's window begins empty."""
        if self.keys[account] not in (to - 1, to):
            raise Refused("missing")
        self.keys[account] = to
        return "done"

    def _redeem(self, account: str, code: int) -> str:
        if ("invite", (code, account)) in self.events:
            return "nothing"
        if self.uses[code] >= INVITE_USES:
            raise Refused("conflict")
        done = self._once("invite", (code, account), (GRANTS, -INVITE_AMOUNT), (account, INVITE_AMOUNT, 0))
        self.uses[code] += 1
        return done
