"""What is remembered of machines beyond their connection: lifetime counters, reputation, learnt speed. Pure.

Keyed by the stable identity, so a machine that sleeps and returns under a new connection is the same one. Whoever
stores it takes the changed records from here and gives the stored ones back at the start.

Invariant: at most `MACHINES_MAX` records, the least recently used leaves first; only existing ones count as changed.
"""

from __future__ import annotations

from collections import OrderedDict
from itertools import islice
from typing import TYPE_CHECKING, Final

from msgspec import Struct, field

from server.registry.rates import solo_rate
from server.registry.reputation import Counts, is_doubtful, proven_share, score_of
from server.registry.solo_rates import DEFAULT_FACTOR

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from server.registry.state import Session

MACHINES_MAX: Final = 20_000
SPEEDS_MAX: Final = 16
"""Models whose speed is remembered of one machine."""


class LearntSpeed(Struct, frozen=True):
    """Rates that a machine last reported of a model, in tokens/s; 0 when not reported.

    `decode` is that of one stream alone.
    """

    decode: float = 0.0
    prefill: float = 0.0


class MachineRecord(Struct, kw_only=True):
    """One machine; `totals` are lifetime counters over all its connections, times are seconds of the lasting clock."""

    stable_id: str
    account_id: str = ""
    public_key: bytes = b""
    backend: str = ""
    version: str = ""
    chip: str = ""
    machine_model: str = ""
    memory_gb: float = 0.0
    models: tuple[str, ...] = ()
    trust_level: str = "none"
    counts: Counts = field(default_factory=Counts)
    jobs_ok: int = 0
    jobs_failed: int = 0
    checks_passed: int = 0
    checks_failed: int = 0
    totals: dict[str, int] = field(default_factory=dict)
    speeds: dict[str, LearntSpeed] = field(default_factory=dict)
    first_seen: float = 0.0
    last_seen: float = 0.0

    @property
    def proven_success(self) -> float:
        """The lower end of the share of jobs that succeed, 0..1."""
        return proven_share(self.counts.jobs_ok, self.counts.jobs_ok + self.counts.jobs_failed)

    @property
    def score(self) -> float:
        """The reputation, 0..1."""
        return score_of(self.counts)


class _Seen(Struct):
    """How much of a session's counters is in its machine's record already."""

    uptime: float = 0.0
    totals: dict[str, int] = field(default_factory=dict)


class Machines:
    """Records by stable identity; `clock` gives seconds that go on over restarts (Unix time).

    `load_factor` is how much one more request in a batch slows each of them.
    """

    def __init__(self, clock: Callable[[], float], *, load_factor: float = DEFAULT_FACTOR) -> None:
        self._clock = clock
        self._load_factor = load_factor
        self._records: OrderedDict[str, MachineRecord] = OrderedDict()
        self._changed: dict[str, None] = {}
        self._seen: dict[str, _Seen] = {}

    def __len__(self) -> int:
        return len(self._records)

    def get(self, stable_id: str) -> MachineRecord | None:
        """Return what is remembered of a machine."""
        return self._records.get(stable_id)

    def is_doubtful(self, stable_id: str) -> bool:
        """Whether a machine is known to fail often."""
        record = self._records.get(stable_id)
        return record is not None and is_doubtful(record.counts)

    def restore(self, records: Iterable[MachineRecord]) -> None:
        """Take stored records; what is known better already stays."""
        for record in records:
            if record.stable_id not in self._records and len(self._records) < MACHINES_MAX:
                self._records[record.stable_id] = record

    # What happened

    def succeeded(self, stable_id: str) -> None:
        """A job was completed."""
        record = self._record(stable_id)
        record.counts.jobs_ok += 1
        record.jobs_ok += 1

    def failed(self, stable_id: str) -> None:
        """A job failed by the machine's fault."""
        record = self._record(stable_id)
        record.counts.jobs_failed += 1
        record.jobs_failed += 1

    def first_content(self, stable_id: str, milliseconds: float) -> None:
        """A job brought its first content after this time, its own prompt not counted."""
        self._record(stable_id).counts.add_latency(max(1.0, milliseconds))

    def checked(self, stable_id: str, *, passed: bool) -> None:
        """A security check passed or failed."""
        record = self._record(stable_id)
        if passed:
            record.counts.checks_passed += 1
            record.checks_passed += 1
        else:
            record.counts.checks_failed += 1
            record.checks_failed += 1

    def observe(self, session: Session) -> None:
        """Bring the record of a proven machine up to date with its session: who it is, counters, uptime, speed."""
        if not session.trust.admitted or session.ident.stable_id == session.session_id:
            return
        record = self._record(session.ident.stable_id)
        caps, hardware = session.caps, session.caps.hardware
        record.account_id = session.ident.account_id or ""
        record.public_key, record.backend, record.version = caps.public_key, caps.backend, caps.version
        record.chip, record.machine_model = hardware.chip_name, hardware.machine_model
        record.memory_gb = session.live.total_memory_gb or hardware.memory_gb
        record.models = tuple(caps.models)[:SPEEDS_MAX]
        record.trust_level = session.trust.level
        self._add_growth(record, session)
        for model, slot in session.slots.items():
            if slot.tps_decode > 0:
                record.speeds.pop(model, None)
                while len(record.speeds) >= SPEEDS_MAX:
                    del record.speeds[next(iter(record.speeds))]
                decode = solo_rate(slot.tps_decode, slot.running, self._load_factor)
                record.speeds[model] = LearntSpeed(decode, slot.tps_prefill)

    def _add_growth(self, record: MachineRecord, session: Session) -> None:
        seen = self._seen.get(session.session_id)
        if seen is None:
            seen = self._seen[session.session_id] = _Seen()
        uptime = session.live.uptime_seconds
        record.counts.uptime_seconds += uptime - seen.uptime
        seen.uptime = uptime
        for name, total in session.totals.items():
            record.totals[name] = record.totals.get(name, 0) + total - seen.totals.get(name, 0)
            seen.totals[name] = total

    def left(self, session: Session) -> None:
        """The session is over."""
        self.observe(session)
        self._seen.pop(session.session_id, None)

    # Storing

    def take_changed(self, limit: int) -> list[MachineRecord]:
        """Hand out some changed records, oldest change first; give those back that could not be written.

        What changes while they are being written counts as changed again.
        """
        names = list(islice(self._changed, limit))
        for name in names:
            del self._changed[name]
        return [self._records[name] for name in names]

    def put_back(self, records: Iterable[MachineRecord]) -> None:
        """Count these records as changed again."""
        for record in records:
            if record.stable_id in self._records:
                self._changed.setdefault(record.stable_id)

    def _record(self, stable_id: str) -> MachineRecord:
        now = self._clock()
        record = self._records.get(stable_id)
        if record is None:
            if len(self._records) >= MACHINES_MAX:
                gone, _ = self._records.popitem(last=False)
                self._changed.pop(gone, None)
            record = self._records[stable_id] = MachineRecord(stable_id=stable_id, first_seen=now)
        self._records.move_to_end(stable_id)
        record.counts.fade(now)
        record.last_seen = now
        self._changed.setdefault(stable_id)
        return record
