"""The relay's funds out of the ledger: a hold per request, priced anew for every machine it is sent to."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from protocol.api.errors import internal_error
from server.billing.hold_desk import Exemption, HoldRequest, Serving
from server.billing.key_spend import KeyCap
from server.billing.refusals import provider_price_too_high
from server.registry.request import SelfRoute

if TYPE_CHECKING:
    from protocol.api.errors import ApiError
    from server.billing.hold_desk import Hold, HoldDesk
    from server.relay import RelayJob, ServedBy


class LedgerFunds:
    """Implements `server.relay.funds.Funds`."""

    def __init__(self, desk: HoldDesk) -> None:
        self._desk = desk

    async def admit(self, job: RelayJob) -> None:
        """See Funds. A request of no account takes no hold, and is never charged."""
        if job.account_id is None:
            return
        payer = job.payer
        limit = payer.cap_micro_usd
        await self._desk.open_hold(
            HoldRequest(
                request_id=job.coord_request_id,
                account_id=job.account_id,
                model=job.build,
                prompt_tokens=max(job.prompt_tokens, job.prompt_bound),
                max_tokens=job.max_tokens,
                key_id=job.key_id or "",
                key_cap=None if limit is None else KeyCap(limit=limit, window=payer.cap_window),
                service=payer.service,
                exempt=_exemption(job),
            )
        )

    async def grow(self, job: RelayJob) -> None:
        """See Funds."""
        if job.account_id is not None:
            await self._desk.grow(self._hold(job), max(job.prompt_tokens, job.prompt_bound))

    async def dispatch(self, job: RelayJob, served_by: ServedBy) -> ApiError | None:
        """See Funds."""
        if job.account_id is None:
            return None
        carried = await self._desk.raise_for_provider(self._hold(job), _serving(served_by))
        return None if carried else provider_price_too_high()

    async def hedge(self, job: RelayJob, served_by: ServedBy) -> Callable[[], None] | None:
        """See Funds."""
        if job.account_id is None:
            return _nobody_is_paid
        return await self._desk.carry_as_well(self._hold(job), _serving(served_by))

    def _hold(self, job: RelayJob) -> Hold:
        hold = self._desk.find(job.coord_request_id)
        if hold is None:
            raise internal_error()
        return hold


def _serving(served_by: ServedBy) -> Serving:
    return Serving(account_id=served_by.account_id, provider_key=served_by.provider_key, model=served_by.build)


def _nobody_is_paid() -> None:
    """A request of no account costs nothing, whoever serves it."""


def _exemption(job: RelayJob) -> Exemption:
    if job.self_route is SelfRoute.EXCLUSIVE:
        return "self"
    return "covered" if job.payer.covered else "none"
