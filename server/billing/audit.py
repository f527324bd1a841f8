"""The hourly look at the books, so that a difference is noticed before a person asks.

Owner: the one task in `run`.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

import trio

from server.billing.verify import verify
from server.store.errors import StoreError

if TYPE_CHECKING:
    from server.billing.verify import LedgerReport
    from server.store.engine import Store

log = logging.getLogger("darkbloom.billing")

AUDIT_SECONDS: Final = 3600.0
LOGGED_PROBLEMS: Final = 10


class LedgerAudit:
    """Runs the audit and remembers its last report; `report` is None until the first one."""

    def __init__(self, store: Store, *, every_seconds: float = AUDIT_SECONDS) -> None:
        self._store = store
        self._every_seconds = every_seconds
        self.report: LedgerReport | None = None

    @property
    def problems(self) -> int:
        """How many differences the last audit found."""
        return len(self.report.problems) if self.report is not None else 0

    async def run(self) -> None:
        """Audit once an hour until cancelled; differences are logged as errors, without amounts of people."""
        while True:
            await trio.sleep(self._every_seconds)
            try:
                await self.look()
            except StoreError as error:
                log.warning("ledger_audit_failed", extra={"kind": type(error).__name__})

    async def look(self) -> LedgerReport:
        """Audit now; raises StoreError when the database does not answer in time."""
        report = await self._store.statistics(verify)
        self.report = report
        if not report.is_sound:
            rules = sorted({problem.rule for problem in report.problems})
            log.error("ledger_unsound", extra={"problems": len(report.problems), "rules": rules[:LOGGED_PROBLEMS]})
        return report
