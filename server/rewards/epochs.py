"""The five-minute periods in which base rewards are settled. Pure; moments are microseconds since the epoch, UTC."""

from __future__ import annotations

import calendar
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

EPOCH_SECONDS: Final = 300
EPOCH_MS: Final = EPOCH_SECONDS * 1000
_MICROSECONDS: Final = 1_000_000
_LENGTH: Final = EPOCH_SECONDS * _MICROSECONDS
_FORM: Final = "%Y-%m-%dT%H:%MZ"
_ORIGIN: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True, order=True)
class Epoch:
    """One period, from `start` up to but not including `end`; months are whole numbers of epochs."""

    start: int

    @classmethod
    def containing(cls, moment: int) -> Epoch:
        """Give the epoch of a moment."""
        return cls(moment - moment % _LENGTH)

    @classmethod
    def parse(cls, text: str) -> Epoch:
        """Read an epoch id, `2026-07-15T10:05Z`; raises ValueError."""
        moment = datetime.strptime(text, _FORM).replace(tzinfo=UTC)
        found = cls.containing(int((moment - _ORIGIN) / timedelta(microseconds=1)))
        if found.id != text:
            raise ValueError("An epoch starts at a multiple of five minutes, such as 2026-07-15T10:05Z.")
        return found

    @property
    def end(self) -> int:
        """The first moment after it."""
        return self.start + _LENGTH

    @property
    def id(self) -> str:
        """Its name; ids sort as their epochs do."""
        return _date(self.start).strftime(_FORM)

    @property
    def month_id(self) -> str:
        """The id of the first epoch of its calendar month."""
        return _date(self.start).strftime("%Y-%m-01T00:00Z")

    @property
    def next_month_id(self) -> str:
        """The id of the first epoch of the next calendar month."""
        return Epoch(Epoch.parse(self.month_id).start + self.month_seconds * _MICROSECONDS).id

    @property
    def month_seconds(self) -> int:
        """How long its calendar month is."""
        date = _date(self.start)
        return calendar.monthrange(date.year, date.month)[1] * 86_400

    def shift(self, epochs: int) -> Epoch:
        """Give the epoch so many later (or, negative, earlier)."""
        return Epoch(self.start + epochs * _LENGTH)


def epoch_budget(pool: int, month_seconds: int) -> int:
    """Give the part of a monthly pool that one epoch may spend, in micro-USD, rounded half up."""
    return (2 * pool * EPOCH_SECONDS + month_seconds) // (2 * month_seconds)


def _date(moment: int) -> datetime:
    return _ORIGIN + timedelta(microseconds=moment)
