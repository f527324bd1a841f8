"""The rules of base rewards that an operator chooses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from server.rewards.epochs import EPOCH_MS, epoch_budget
from server.rewards.floors import DEFAULT_MIN_UPTIME_MS, FloorScale

if TYPE_CHECKING:
    from server.config.rewards import RewardSettings
    from server.rewards.epochs import Epoch


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseRewardPolicy:
    """`pool` is micro-USD a month; fractions are whole numbers of thousandths or millionths, so that money stays exact.

    `account_cap_millionths` of an epoch's budget is the most for one account, 0 for no limit. `require_work`: a machine
    must have served somebody else's paid request in the last 45 days.
    """

    pool: int = 9_000_000_000
    reduction_thousandths: int = 0
    min_uptime_ms: int = DEFAULT_MIN_UPTIME_MS
    account_cap_millionths: int = 0
    require_work: bool = True

    @classmethod
    def of(cls, settings: RewardSettings) -> BaseRewardPolicy:
        """Read the rules from the settings."""
        return cls(
            pool=settings.base_rewards_pool_micro,
            reduction_thousandths=round(settings.base_rewards_k * 1000),
            min_uptime_ms=round(settings.base_rewards_min_uptime * EPOCH_MS),
            account_cap_millionths=round(settings.base_rewards_account_cap * 1_000_000),
            require_work=settings.base_rewards_require_work,
        )

    def budget(self, epoch: Epoch) -> int:
        """Give what an epoch may spend."""
        return epoch_budget(self.pool, epoch.month_seconds)

    def account_cap(self, epoch: Epoch) -> int | None:
        """Give the most for one account in an epoch; None without a limit."""
        if self.account_cap_millionths == 0:
            return None
        return self.budget(epoch) * self.account_cap_millionths // 1_000_000

    def scale(self, epoch: Epoch) -> FloorScale:
        """Give how uptime becomes money in an epoch."""
        return FloorScale(epoch.month_seconds, self.min_uptime_ms)
