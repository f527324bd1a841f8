"""Settles base rewards: every minute the epoch that closed last, and those that were missed before it.

Invariant: an epoch's grants of one run are written in one transaction, while the row of the named lock is locked and
ours: two coordinators never divide the same budget at the same time. A machine gets one draw in an epoch; running again
writes only what is missing.
Owner: the one task in `run`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final

import trio

from server.rewards.allocation import Claim, allocate
from server.rewards.draws import Draw, latest_epoch_id, record_draws, settled_draws, work_facts
from server.rewards.epochs import Epoch
from server.rewards.fleet import Entitled, FleetSnapshot, entitled_machines
from server.rewards.floors import draw_of
from server.rewards.remainders import Remainders
from server.rewards.session_rows import sessions_within
from server.rewards.uptime import uptime_ms
from server.store.errors import StoreError
from server.store.named_locks import run_under_lock

if TYPE_CHECKING:
    from server.rewards.policy import BaseRewardPolicy
    from server.store import Store, Tx

_log = logging.getLogger("darkbloom.rewards")

EVERY_SECONDS: Final = 60.0
LOCK: Final = "base_rewards"
LOCK_SECONDS: Final = 180.0
MAX_MISSED: Final = 288
WORK_PROOF_US: Final = 45 * 86_400_000_000
_TRIES: Final = 3


class _FleetChanged(Exception):
    """A machine lost its right while its grant was being written."""


class _LockLost(Exception):
    """Another coordinator has the named lock now."""


class BaseRewardRunner:
    """One per coordinator. `wall_clock` gives microseconds since the epoch, `holder` is new for every start."""

    def __init__(
        self,
        store: Store,
        fleet: FleetSnapshot,
        policy: BaseRewardPolicy,
        *,
        wall_clock: Callable[[], int],
        holder: str,
    ) -> None:
        self._store = store
        self._fleet = fleet
        self._policy = policy
        self._wall_clock = wall_clock
        self._holder = holder
        self._remainders = Remainders(store)
        self._through: Epoch | None = None

    async def run(self) -> None:
        """Settle every minute until cancelled; a database that is away is asked again a minute later."""
        while True:
            try:
                await self.turn()
            except StoreError as error:
                _log.warning("base_rewards_failed", extra={"kind": type(error).__name__})
            await trio.sleep(EVERY_SECONDS)

    async def turn(self) -> dict[str, int]:
        """Settle all closed epochs that are due; returns how many draws were written, by epoch.

        Does nothing while another coordinator has the lock. Raises StoreError.
        """
        written: dict[str, int] = {}

        async def settle_due() -> None:
            try:
                for epoch in await self._due():
                    count = await self._settle(epoch)
                    if count:
                        written[epoch.id] = count
                    self._through = epoch
            except _LockLost:
                _log.warning("base_rewards_lock_lost", extra={"lock": LOCK})

        await run_under_lock(
            self._store,
            LOCK,
            settle_due,
            holder=self._holder,
            ttl_seconds=LOCK_SECONDS,
            wall_clock=self._wall_clock,
        )
        for epoch_id, count in written.items():
            _log.info("base_rewards_settled", extra={"epoch": epoch_id, "draws": count})
        return written

    async def _due(self) -> list[Epoch]:
        """The epochs from the last that was settled to the last that closed, at most a day of them."""
        last = Epoch.containing(self._wall_clock()).shift(-1)
        since = self._through
        if since is None:
            newest = await self._store.read(latest_epoch_id)
            since = last if newest is None else Epoch.parse(newest)
        first = max(min(since, last), last.shift(1 - MAX_MISSED))
        count = (last.start - first.start) // (first.end - first.start) + 1
        return [first.shift(number) for number in range(count)]

    async def _settle(self, epoch: Epoch) -> int:
        for _ in range(_TRIES):
            candidates = await self._candidates(epoch)
            if not candidates:
                return 0
            try:
                return await self._store.upkeep(lambda tx, found=candidates: self._write(tx, epoch, found))  # type: ignore[misc]
            except _FleetChanged:
                continue
        _log.warning("base_rewards_unsteady_fleet", extra={"epoch": epoch.id})
        return 0

    async def _candidates(self, epoch: Epoch) -> dict[str, Draw]:
        """Find the machines that may draw, with their claims; their amounts are decided under the lock."""
        machines = entitled_machines(self._fleet.machines())
        if not machines:
            return {}
        worked_since = epoch.end - WORK_PROOF_US

        async def read(tx: Tx) -> Mapping[str, Draw]:
            sessions = await sessions_within(tx, epoch.start, epoch.end)
            uptimes = {key: uptime_ms(sessions.get(key, ()), epoch.start, epoch.end) for key in machines}
            present = [key for key in machines if uptimes[key] >= self._policy.min_uptime_ms]
            facts = await work_facts(tx, present, epoch, worked_since=worked_since)
            return {
                key: self._draw(machines[key], epoch, uptimes[key], facts[key].organic, earlier.get(key, 0))
                for key in present
                if facts[key].has_worked or not self._policy.require_work
            }

        earlier = await self._remainders.units(epoch, self._policy.scale(epoch))
        return dict(await self._store.statistics(read))

    def _draw(self, machine: Entitled, epoch: Epoch, uptime: int, organic: int, earlier_units: int) -> Draw:
        scale = self._policy.scale(epoch)
        floor = scale.floor(earlier_units, scale.units(machine.tier, uptime))
        claim = Claim(
            provider_key=machine.provider_key,
            account_id=machine.account_id,
            memory_gb=machine.memory_gb,
            floor=floor,
            organic=organic,
            draw=draw_of(floor, organic, reduction_thousandths=self._policy.reduction_thousandths),
        )
        return Draw(claim=claim, provider_id=machine.provider_id, uptime_ms=uptime, amount=0)

    async def _write(self, tx: Tx, epoch: Epoch, candidates: Mapping[str, Draw]) -> int:
        now = self._wall_clock()
        await self._check_lock(tx, now)
        settled = await settled_draws(tx, epoch.id)
        fresh = {key: draw for key, draw in candidates.items() if key not in settled}
        if not fresh:
            return 0
        by_account: dict[str, int] = {}
        for account_id, amount in settled.values():
            by_account[account_id] = by_account.get(account_id, 0) + amount
        grants = allocate(
            [draw.claim for draw in fresh.values()],
            budget=self._policy.budget(epoch),
            settled=sum(by_account.values()),
            account_cap=self._policy.account_cap(epoch),
            settled_by_account=by_account,
        )
        draws = [
            Draw(claim=draw.claim, provider_id=draw.provider_id, uptime_ms=draw.uptime_ms, amount=grants[key])
            for key, draw in fresh.items()
        ]
        count = await record_draws(tx, epoch, draws, now)
        self._check_fleet(fresh)
        return count

    async def _check_lock(self, tx: Tx, now: int) -> None:
        """Lock the named lock's row, so that nobody can take it before this is committed; raises _LockLost."""
        row = await tx.row("SELECT holder, expires_at FROM locks WHERE name = $1@LOCK", LOCK)
        if row is None or row["holder"] != self._holder or not isinstance(row["expires_at"], int):
            raise _LockLost
        if row["expires_at"] < now:
            raise _LockLost

    def _check_fleet(self, fresh: Mapping[str, Draw]) -> None:
        """Look again whether everybody may still draw; raises _FleetChanged, which undoes the transaction."""
        now_entitled = entitled_machines(self._fleet.machines())
        for key, draw in fresh.items():
            machine = now_entitled.get(key)
            if machine is None or machine.account_id != draw.claim.account_id:
                raise _FleetChanged
