"""Rewards of one coordinator: referrals, invites, grants, base income, the reports over them, and their tasks."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import trio

from server.api.balances import BalanceServices, balances_blueprint
from server.api.base_rewards import BaseRewardServices, base_rewards_blueprint
from server.api.earnings import EarningServices, earnings_blueprint
from server.api.grants import GrantServices, grants_blueprint
from server.api.invites import InviteServices, invites_blueprint
from server.api.leaderboard import LeaderboardServices, leaderboard_blueprint
from server.api.referrals import ReferralServices, referrals_blueprint
from server.api.usage_reports import UsageServices, usage_blueprint
from server.rewards.exports import ExportDesk
from server.rewards.policy import BaseRewardPolicy
from server.rewards.referrals import Referrals
from server.rewards.runner import BaseRewardRunner
from server.rewards.sessions import SessionRecorder

if TYPE_CHECKING:
    from collections.abc import Callable

    from quart import Blueprint

    from server.accounts.open import Accounts
    from server.api.gate import AccountGate
    from server.config import CoordinatorSettings
    from server.observe import Supervisor
    from server.serve.fleet_facts import FleetFacts
    from server.store import Store

SEEN_SECONDS: Final = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Rewards:
    """`sessions` hears from the provider link when machines come and go."""

    store: Store
    referrals: Referrals
    sessions: SessionRecorder
    fleet: FleetFacts
    policy: BaseRewardPolicy | None
    instance_id: str
    wall_clock: Callable[[], int]

    async def recover(self) -> None:
        """Close the sessions that a crash left open; before machines connect."""
        await self.sessions.clean_up()

    def start(self, nursery: trio.Nursery, supervisor: Supervisor) -> None:
        """Start the background tasks."""
        supervisor.start(nursery, "machine_sessions", self.sessions.run, restart="backoff")
        supervisor.start(nursery, "machines_seen", self._note_seen, restart="backoff")
        if self.policy is not None:
            runner = BaseRewardRunner(
                self.store, self.fleet, self.policy, wall_clock=self.wall_clock, holder=self.instance_id
            )
            supervisor.start(nursery, "base_rewards", runner.run, restart="backoff")

    async def _note_seen(self) -> None:
        # Not per heartbeat: the link counts its microseconds, an epoch is five minutes.
        while True:
            await trio.sleep(SEEN_SECONDS)
            for session_id in self.fleet.connected():
                self.sessions.seen(session_id)

    def blueprints(self, gate: AccountGate, accounts: Accounts, settings: CoordinatorSettings) -> list[Blueprint]:
        """Give the endpoints of rewards and reports."""
        exports = ExportDesk()
        chosen = settings.pseudonym_secret
        secret = secrets.token_bytes(32) if chosen is None else chosen.reveal().encode()
        store, clock = self.store, self.wall_clock
        return [
            referrals_blueprint(ReferralServices(gate=gate, referrals=self.referrals)),
            invites_blueprint(InviteServices(gate=gate, store=store, wall_clock=clock)),
            grants_blueprint(GrantServices(gate=gate, store=store, changes=accounts.changes, wall_clock=clock)),
            base_rewards_blueprint(BaseRewardServices(gate=gate, store=store, policy=self.policy, wall_clock=clock)),
            balances_blueprint(BalanceServices(gate=gate, store=store, machines=self.fleet, wall_clock=clock)),
            usage_blueprint(UsageServices(gate=gate, store=store, exports=exports, wall_clock=clock)),
            earnings_blueprint(
                EarningServices(
                    gate=gate, store=store, tokens=accounts.provider_tokens, exports=exports, wall_clock=clock
                )
            ),
            leaderboard_blueprint(
                LeaderboardServices(store=store, secret=secret, clock=trio.current_time, wall_clock=clock)
            ),
        ]


def make_rewards(
    settings: CoordinatorSettings,
    store: Store,
    fleet: FleetFacts,
    *,
    wall_clock: Callable[[], int],
    instance_id: str,
) -> Rewards:
    """Build the parts; nothing runs yet."""
    return Rewards(
        store=store,
        referrals=Referrals(store, share_percent=settings.referral_share_percent, wall_clock=wall_clock),
        sessions=SessionRecorder(store, wall_clock=wall_clock),
        fleet=fleet,
        policy=BaseRewardPolicy.of(settings) if settings.base_rewards else None,
        instance_id=instance_id,
        wall_clock=wall_clock,
    )
