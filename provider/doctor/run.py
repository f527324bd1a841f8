"""Running the checks: each in a thread of its own with a deadline, in their order."""

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final

from provider.doctor.finding import Finding, warned

PROBE_SECONDS: Final = 5.0

Probe = Callable[[], Iterable[Finding]]


def run_checks(probes: Sequence[tuple[str, str, Probe]], *, seconds: float = PROBE_SECONDS) -> Iterator[Finding]:
    """Run (section, name, probe) one after the other; one that takes too long or crashes becomes a warning.

    A probe that hangs is left behind: its thread ends with the process.
    """
    for section, name, probe in probes:
        results: list[Finding] = []
        faults: list[str] = []

        def work(probe: Probe = probe, results: list[Finding] = results, faults: list[str] = faults) -> None:
            try:
                results.extend(probe())
            except Exception as error:  # a check that crashes must not hide the others
                faults.append(type(error).__name__)

        thread = threading.Thread(target=work, name=f"doctor {name}", daemon=True)
        thread.start()
        thread.join(seconds)
        if thread.is_alive():
            yield warned(section, name, f"unavailable: no answer within {seconds:g} s")
        elif faults:
            yield warned(section, name, f"unavailable: the check failed ({faults[0]})")
        else:
            yield from results
