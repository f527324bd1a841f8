"""The running daemon, as its state file and its process tell."""

from collections.abc import Iterator
from typing import Final

from provider.doctor.finding import Finding, failed, passed, warned
from provider.local.discovery import LocalInfo
from provider.status.liveness import Life
from provider.status.record import DaemonState
from provider.status.text import LOG_IN_AGAIN, trust_line
from provider.status.words import duration

SECTION: Final = "daemon"
STUCK_STEP_SECONDS: Final = 30.0
RECENT_SECONDS: Final = 24 * 3600.0


def daemon(state: DaemonState | None, life: Life, *, now: float) -> Iterator[Finding]:
    """`daemon` and `daemon state freshness`."""
    if not life.is_alive or state is None:
        yield warned(SECTION, "daemon", "not running", "darkbloom start")
    else:
        yield passed(SECTION, "daemon", f"pid {state.pid}, {state.phase}, up {duration(now - state.started_at)}")
        if life is Life.STUCK:
            age = duration(now - state.written_at)
            yield failed(SECTION, "daemon state freshness", f"nothing written for {age}", "darkbloom restart --force")
        elif life is Life.OLD:
            yield warned(SECTION, "daemon state freshness", f"{duration(now - state.written_at)} old")
        else:
            yield passed(SECTION, "daemon state freshness", f"{duration(now - state.written_at)} old")


def connected(state: DaemonState, *, now: float) -> Iterator[Finding]:
    """`daemon connected` and `coordinator trust`."""
    link = state.connectivity
    if link.coordinator is None:
        yield passed(SECTION, "daemon connected", "local mode, no coordinator")
        return
    since = f" for {duration(now - link.since)}" if link.since else ""
    if link.connected:
        yield passed(SECTION, "daemon connected", f"{link.coordinator}{since}")
    elif state.schedule.mode == "scheduled-off":
        yield passed(SECTION, "daemon connected", "outside the schedule, not connected on purpose")
        return
    else:
        why = f" ({link.last_error})" if link.last_error else ""
        yield failed(
            SECTION, "daemon connected", f"not connected to {link.coordinator}{since}{why}", "check the network"
        )
        return
    trust = state.trust
    if trust is None:
        yield warned(SECTION, "coordinator trust", "the coordinator has not said yet")
    elif trust.level == "none" or trust.status != "online":
        yield failed(SECTION, "coordinator trust", trust_line(state), "darkbloom logs --lines 100")
    else:
        yield passed(SECTION, "coordinator trust", trust_line(state))
    if trust is not None and trust.token_refused:
        yield failed(SECTION, "daemon account", "the coordinator refused the daemon's token", LOG_IN_AGAIN)


def stepping(state: DaemonState) -> Iterator[Finding]:
    """`engine stepping`."""
    stuck = [
        slot.model for slot in state.slots if slot.running and (slot.seconds_since_last_step or 0) >= STUCK_STEP_SECONDS
    ]
    if stuck or state.engine_health != "good":
        what = ", ".join(stuck) or state.engine_health
        yield failed(SECTION, "engine stepping", f"no progress: {what}", "darkbloom restart --force")
    else:
        yield passed(SECTION, "engine stepping", f"{sum(slot.running for slot in state.slots)} rows running")


def recent_trouble(state: DaemonState, *, now: float) -> Iterator[Finding]:
    """`recent model load`, `recent crash` and `usage reporting`."""
    error = state.last_model_load_error
    if error is not None and now - error.at < RECENT_SECONDS:
        yield warned(
            SECTION,
            "recent model load",
            f"{error.model}: {error.message} ({duration(now - error.at)} ago)",
            "darkbloom models info ID",
        )
    else:
        yield passed(SECTION, "recent model load", "no error")
    crash = state.previous_crash_at
    if crash is not None and now - crash < RECENT_SECONDS:
        yield warned(
            SECTION,
            "recent crash",
            f"an earlier run ended without a stop about {duration(now - crash)} ago",
            "darkbloom logs --last 24h",
        )
    else:
        yield passed(SECTION, "recent crash", "none in a day")
    if state.stats.usage_gaps:
        yield warned(SECTION, "usage reporting", f"{state.stats.usage_gaps} answers without usage")
    else:
        yield passed(SECTION, "usage reporting", "complete")


def local_endpoint(state: DaemonState | None, life: Life, info: LocalInfo | None) -> Iterator[Finding]:
    """`local endpoint`: what the daemon says must be there."""
    wants = state is not None and life.is_alive and state.local is not None
    if wants and info is None:
        yield failed(SECTION, "local endpoint", "recorded but not there", "darkbloom restart")
    elif info is not None:
        yield passed(SECTION, "local endpoint", info.base_url)


def availability() -> Iterator[Finding]:
    """What keeps a Mac from serving while nobody looks."""
    from provider.schedule.user_idle import run_tool

    settings = run_tool(["/usr/bin/pmset", "-g"])
    sleeps = [line.split() for line in settings.splitlines() if line.strip().startswith("sleep ")]
    if sleeps and len(sleeps[0]) > 1 and sleeps[0][1] != "0":
        yield warned(
            SECTION, "sleep prevention", f"this Mac sleeps after {sleeps[0][1]} minutes", "sudo pmset -c sleep 0"
        )
    else:
        yield passed(SECTION, "sleep prevention", "this Mac does not sleep by itself")
    console = run_tool(["/usr/bin/stat", "-f", "%Su", "/dev/console"]).strip()
    if console in ("", "root"):
        yield warned(SECTION, "console session", "nobody is logged in; agents of a user run in a session only")
    else:
        yield passed(SECTION, "console session", console)
    automatic = run_tool(
        ["/usr/bin/defaults", "read", "/Library/Preferences/com.apple.loginwindow", "autoLoginUser"]
    ).strip()
    if automatic:
        yield passed(SECTION, "automatic login", automatic)
    else:
        yield warned(SECTION, "automatic login", "off; after a restart the provider waits for a login")


def unclean_end(state: DaemonState, *, now: float) -> Iterator[Finding]:
    """`recent crash` of a daemon that does not run any more and never said goodbye."""
    yield warned(
        SECTION,
        "recent crash",
        f"the last run ended without a stop about {duration(now - state.written_at)} ago",
        "darkbloom logs --last 24h",
    )
