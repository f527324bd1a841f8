"""The second half of the protection: what is closed once models are loaded and all helpers run."""

import sys
from collections.abc import Callable, Collection
from dataclasses import dataclass

from provider.hardening.runtime_lock import lock_runtime
from provider.hardening.seccomp import install_filter


@dataclass(frozen=True, slots=True)
class Confinement:
    """What is in effect. `problems` holds a full sentence for each part that is not."""

    runtime_locked: bool = False
    calls_filtered: bool = False
    programs_refused: bool = False
    problems: tuple[str, ...] = ()


def confine(
    *,
    refuse_programs: bool,
    programs: Collection[str] = (),
    lock: Callable[[Collection[str]], bool] = lock_runtime,
    filter_calls: Callable[[bool], bool] | None = None,
    platform: str = sys.platform,
) -> Confinement:
    """Lock the interpreter and, on Linux, filter system calls; for good, so call it in a process of one's own.

    `refuse_programs` also makes the kernel refuse to start any program, which an engine that compiles its kernels
    cannot bear; `programs` are those that Python code may start. Never raises; the result says what is in effect.
    """
    problems = []
    filtered = False
    if platform == "linux":
        install = filter_calls or (lambda refuse: install_filter(refuse_programs=refuse))
        filtered = install(refuse_programs)
        if not filtered:
            problems.append("System calls could not be filtered (seccomp); check the container's settings.")
    locked = lock(programs)
    if not locked:
        problems.append("The interpreter could not be locked; another audit hook may have refused it.")
    return Confinement(
        runtime_locked=locked,
        calls_filtered=filtered,
        programs_refused=filtered and refuse_programs,
        problems=tuple(problems),
    )
