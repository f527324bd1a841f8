"""Limits by client network for endpoints that anybody may call, and for what anybody may guess at."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final, Literal, TypeAlias

from server.limits.address import bucket_key
from server.limits.bucket import Rate
from server.limits.rejection import RateLimited
from server.limits.table import BucketTable

NetworkUse: TypeAlias = Literal["device_code", "device_token", "admin_auth", "failed_bearer", "sign_in"]

RATES: Final[dict[NetworkUse, Rate]] = {
    "device_code": Rate(0.1, 5),
    "device_token": Rate(1, 10),
    "admin_auth": Rate(0.02, 3),
    "failed_bearer": Rate(1, 30),
    "sign_in": Rate(20 / 600, 20),
}
SIGN_IN_PER_ACCOUNT: Final = Rate(5 / 600, 5)
USER_CODE_PER_ACCOUNT: Final = Rate(10 / 600, 10)

OnNetworkRejected = Callable[[NetworkUse], None]


class NetworkLimits:
    """Buckets by use and client address (IPv6 by /64); `clock` is monotonic seconds."""

    def __init__(self, *, clock: Callable[[], float], on_rejected: OnNetworkRejected | None = None) -> None:
        self._clock = clock
        self._on_rejected = on_rejected
        self._networks = BucketTable()
        self._named = BucketTable()

    def take(self, use: NetworkUse, ip: str) -> None:
        """Count one call; raises RateLimited."""
        rate = RATES[use]
        now = self._clock()
        bucket = self._networks.get(f"{use} {bucket_key(ip)}", rate, now)
        if not bucket.take(1, now):
            if self._on_rejected is not None:
                self._on_rejected(use)
            raise RateLimited("network", "requests", retry_after_seconds=bucket.retry_after(1, now))

    def used_up(self, use: NetworkUse, ip: str) -> bool:
        """Whether the next call would be refused; counts nothing."""
        bucket = self._networks.find(f"{use} {bucket_key(ip)}")
        return bucket is not None and not bucket.has(1, self._clock())

    def take_sign_in(self, login: str, ip: str) -> None:
        """Count one try to sign in as `login` from a network; raises RateLimited with the minutes in its text.

        The network comes first: one that is turned away must not fill the table of names, where the count of the name
        that it is after would give way to new ones.
        """
        now = self._clock()
        network = self._networks.get(f"sign_in {bucket_key(ip)}", RATES["sign_in"], now)
        if not network.has(1, now):
            raise _too_many("sign_in", network.seconds_until(1, now))
        account = self._named.get(f"sign_in {login}", SIGN_IN_PER_ACCOUNT, now)
        if not account.take(1, now):
            raise _too_many("sign_in", account.seconds_until(1, now))
        network.take(1, now)

    def give_back_sign_in(self, login: str, ip: str) -> None:
        """Undo the count of a try that succeeded."""
        now = self._clock()
        self._named.get(f"sign_in {login}", SIGN_IN_PER_ACCOUNT, now).credit(1, now)
        self._networks.get(f"sign_in {bucket_key(ip)}", RATES["sign_in"], now).credit(1, now)

    def take_user_code(self, account_id: str) -> None:
        """Count one user code that an account names: they are short enough to be guessed. Raises RateLimited."""
        now = self._clock()
        bucket = self._named.get(f"code {account_id}", USER_CODE_PER_ACCOUNT, now)
        if not bucket.take(1, now):
            raise _too_many("device_code", bucket.seconds_until(1, now))


def _too_many(tier: Literal["sign_in", "device_code"], seconds: float) -> RateLimited:
    wait = max(1, math.ceil(seconds - 1e-9))
    minutes = math.ceil(wait / 60)
    text = f"Too many attempts. Try again in {minutes} minute{'s' if minutes != 1 else ''}."
    return RateLimited(tier, "requests", retry_after_seconds=wait, message=text)
