"""The lines of `darkbloom status`; pure."""

from collections.abc import Iterator
from datetime import datetime
from typing import Final

from provider.status.liveness import Life
from provider.status.record import DaemonState, SlotState
from provider.status.words import duration, gigabytes, percent, plural

LOG_IN_AGAIN: Final = "darkbloom logout; darkbloom login"


def status_lines(state: DaemonState | None, life: Life, *, now: float, version: str, config_file: str) -> list[str]:
    """Write the whole picture; without a state there is little to say."""
    lines = [f"darkbloom {version}"]
    if state is None:
        return [
            *lines,
            f"Config: {config_file}",
            "Daemon: not running; nothing is known of an earlier run.",
            "  fix: darkbloom start",
        ]
    lines += _head(state)
    lines += [f"Daemon: {daemon_line(state, life, now)}"]
    if not life.is_alive:
        lines += list(_ended(state, now))
        return lines
    mark = "" if life.is_fresh else f"  [stale: {duration(now - state.written_at)} old]"
    lines += [f"Trust: {trust_line(state)}{mark}"]
    lines += [f"Connection: {connection_line(state, now)}{mark}"]
    if state.trust is not None and state.trust.token_refused:
        lines += ["Account: the coordinator refused the token, so this machine earns nothing", f"  fix: {LOG_IN_AGAIN}"]
    lines += [f"Memory: {memory_line(state)}{mark}"]
    lines += [f"Idle policy: {idle_line(state, now)}"]
    lines += [f"Schedule: {schedule_line(state)}"]
    if state.local is not None:
        lines += [f"Local server: {state.local.base_url}   {plural(state.local.requests, 'request')}"]
    lines += list(_slots(state, mark))
    lines += [
        f"Requests served: {state.stats.requests_served:,}  |  in flight: {state.stats.in_flight}  |  "
        f"tokens: {state.stats.tokens_generated:,}  |  {state.stats.tokens_per_second:.1f} tok/s{mark}"
    ]
    lines += [f"Last model-load error: {_load_error(state, now)}"]
    return lines


def daemon_line(state: DaemonState, life: Life, now: float) -> str:
    """Say whether and since when it runs."""
    if not life.is_alive:
        if state.stopped_at is not None:
            return f"not running (stopped {duration(now - state.stopped_at)} ago)"
        return f"not running (it ended without a stop {duration(now - state.written_at)} ago or later)"
    up = f"pid {state.pid}, up {duration(now - state.started_at)}"
    words = {
        Life.RUNNING: f"running ({up})",
        Life.OLD: f"running ({up}); the snapshot is {duration(now - state.written_at)} old",
        Life.STUCK: f"running but not updating for {duration(now - state.written_at)}, may be stuck ({up})",
    }[life]
    return words if state.phase == "serving" or life is not Life.RUNNING else f"{words}, {state.phase}"


def trust_line(state: DaemonState) -> str:
    """Level and status, and the reason where there is one."""
    if state.connectivity.coordinator is None:
        return "no coordinator, only programs on this machine are served"
    if state.trust is None:
        return "the coordinator has not said yet"
    reason = f" ({state.trust.reason})" if state.trust.reason else ""
    return f"{state.trust.level} / {state.trust.status}{reason}"


def connection_line(state: DaemonState, now: float) -> str:
    """Since when the link is as it is."""
    link = state.connectivity
    if link.coordinator is None:
        return "none (local mode)"
    since = f" {duration(now - link.since)}" if link.since else ""
    count = plural(link.reconnect_count, "reconnect")
    if link.connected:
        return f"{link.coordinator}   connected{since}, {count}"
    why = f", last reason: {link.last_error}" if link.last_error else ""
    return f"{link.coordinator}   not connected{' for' + since if since else ''}, {count}{why}"


def memory_line(state: DaemonState) -> str:
    """Cap, weights, caches, and what may be loaded still; in GB as people say, counted as GiB."""
    memory = state.capacity
    return (
        f"cap {gigabytes(memory.cap_gb)} GB, weights {gigabytes(memory.weights_gb)}, KV {gigabytes(memory.kv_gb)}, "
        f"free for load {gigabytes(memory.free_for_load_gb)}"
    )


def idle_line(state: DaemonState, now: float) -> str:
    """When unused models are unloaded."""
    if state.idle_unload_minutes <= 0:
        return "models stay loaded"
    text = f"unload after {state.idle_unload_minutes:g} min"
    due = [(slot.unloads_at, slot.model) for slot in state.slots if slot.unloads_at is not None]
    if not due:
        return text
    at, model = min(due)
    return f"{text} (next: {model} in {duration(at - now)})"


def schedule_line(state: DaemonState) -> str:
    """Whether this machine serves now, and until when."""
    schedule = state.schedule
    text = schedule.summary
    if schedule.mode != "always":
        text = f"{text}; {'open' if schedule.mode == 'scheduled-active' else 'closed'} now"
    if schedule.next_change_at is not None:
        moment = datetime.fromtimestamp(schedule.next_change_at).astimezone()
        text += f" until {moment:%a %H:%M}"
    return f"{text}; paused while somebody uses this machine" if schedule.paused_for == "user_active" else text


def slot_line(slot: SlotState) -> str:
    """One model."""
    speed = "-" if slot.decode_tps is None else f"{slot.decode_tps:.1f} tok/s"
    budget = percent(slot.token_budget_used, slot.token_budget_max)
    return f"{slot.state:<9} {slot.running} running {slot.waiting} waiting   {speed}   {budget} of token budget" + (
        "   no progress, may be stuck" if slot.wedge_suspected else ""
    )


def _head(state: DaemonState) -> Iterator[str]:
    yield f"Provider: {state.identity.provider_name or '-'}        Config: {state.config_file or '-'}"
    machine = state.machine
    yield (
        f"Hardware: {machine.chip or 'unknown'}, {machine.memory_gb:g} GB RAM, {machine.gpu_cores} GPU cores, "
        f"{machine.bandwidth_gbs:g} GB/s"
    )


def _ended(state: DaemonState, now: float) -> Iterator[str]:
    yield "  fix: darkbloom start"
    yield (
        f"Last run: version {state.version}, {plural(state.stats.requests_served, 'request')}, "
        f"{state.stats.tokens_generated:,} tokens"
    )
    yield f"Last model-load error: {_load_error(state, now)}"


def _slots(state: DaemonState, mark: str) -> Iterator[str]:
    yield f"Slots:{mark}" if state.slots else "Slots: none loaded"
    width = max((len(slot.model) for slot in state.slots), default=0)
    for slot in state.slots:
        yield f"  {slot.model:<{width}}   {slot_line(slot)}"
    resting = [model for model in state.advertised_models if model not in {slot.model for slot in state.slots}]
    if resting:
        yield f"Not loaded (reloads on demand): {', '.join(resting)}"


def _load_error(state: DaemonState, now: float) -> str:
    error = state.last_model_load_error
    return "none" if error is None else f"{error.model}: {error.message} ({duration(now - error.at)} ago)"
