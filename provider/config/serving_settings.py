"""Settings of how models are run: which first, how many requests together, and what is tried at the start."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from protocol.settings import Form, boolean, integer, pairs, setting, text

MIN_PREFILL_STEP: Final = 32


def never() -> Form[bool]:
    """A switch that stays off: what it would switch on is refused, whoever asks for it."""

    def parse(written: str) -> bool:
        if boolean().parse(written):
            raise ValueError
        return False

    return Form("false, which is the only value that is taken", parse, boolean().show)


@dataclass(frozen=True, kw_only=True)
class ServingSettings:
    """Models by their ids."""

    preferred_model: str | None = setting(
        "PREFERRED_MODEL",
        text(),
        default=None,
        group="Models",
        meaning="The model that is meant where none is named, by `run`, `benchmark` and a start without a choice; it "
        "is loaded first.",
    )
    max_concurrent_by_model: Mapping[str, int] | None = setting(
        "MAX_CONCURRENT_BY_MODEL",
        pairs("=", integer(1, 24)),
        default=None,
        group="Models",
        meaning="Requests that single models run together, instead of `MAX_CONCURRENT`.",
    )
    startup_selftest: bool = setting(
        "STARTUP_SELFTEST",
        boolean(),
        default=True,
        group="Models",
        meaning="Let every model that is loaded at the start compute one token before it is used; models that are "
        "loaded later always do.",
    )
    startup_selftest_fail_closed: bool = setting(
        "STARTUP_SELFTEST_FAIL_CLOSED",
        boolean(),
        default=False,
        group="Models",
        meaning="End the start when a model does not load or fails its self-test; otherwise that is a warning, and "
        "the next request for the model tries again.",
    )
    prefill_step: int = setting(
        "PREFILL_STEP",
        integer(0, 8192),
        default=0,
        group="Models",
        meaning="Prompt tokens that a request computes in one step, at least 32; 0: as many as running answers can "
        "wait for, by the measured speed.",
    )
    prefix_cache: bool = setting(
        "PREFIX_CACHE",
        boolean(),
        default=True,
        group="Models",
        meaning="Keep what was computed of a conversation for its next request.",
    )
    trust_remote_code: bool = setting(
        "TRUST_REMOTE_CODE",
        never(),
        default=False,
        group="Models",
        meaning="Program code that comes with a model is never run; a model that needs its own cannot be served.",
    )
