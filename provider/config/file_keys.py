"""The keys of `provider.toml`, and which setting each of them writes; pure."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, cast

from provider.schedule.windows import make_window, show_schedule

SUPPORTED_VERSION: Final = 1


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of TOML value: what to write, and its text as the setting reads it (raises `ValueError`).

    `typed` makes the TOML value of the words of a command line; what it cannot make is left for `text` to refuse.
    """

    accepted: str
    text: Callable[[object], str]
    typed: Callable[[Sequence[str]], object]
    takes_many: bool = False


@dataclass(frozen=True, slots=True)
class FileKey:
    """A key of the file; `range_text` is added to what is accepted when a number lies outside."""

    name: str
    setting: str
    kind: Kind
    range_text: str = ""

    @property
    def accepted(self) -> str:
        """What to write, in words."""
        return f"{self.kind.accepted}{self.range_text}"


def _text(value: object) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ValueError
    return value


def _whole(value: object) -> str:
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError
    return str(value)


def _number(value: object) -> str:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError
    return f"{value:.15g}"


def _switch(value: object) -> str:
    if not isinstance(value, bool):
        raise ValueError
    return "true" if value else "false"


def _names(value: object) -> str:
    if not isinstance(value, list) or not all(isinstance(entry, str) and "," not in entry for entry in value):
        raise ValueError
    return ",".join(cast(list[str], value))


def _counts(value: object) -> str:
    if not isinstance(value, Mapping) or any("," in name for name in value):
        raise ValueError
    return ",".join(f"{name}={_whole(count)}" for name, count in value.items())


def _refused(value: object) -> str:
    if value is not False:
        raise ValueError
    return _switch(value)


def _in_unit(unit: str) -> Callable[[object], str]:
    return lambda value: f"{_number(value)}{unit}"


def _first(words: Sequence[str]) -> object:
    return words[0]


def _typed_switch(words: Sequence[str]) -> object:
    typed = words[0].lower()
    return {"true": True, "on": True, "yes": True, "false": False, "off": False, "no": False}.get(typed, typed)


def _typed_number(words: Sequence[str]) -> object:
    try:
        return int(words[0])
    except ValueError:
        pass
    try:
        return float(words[0])
    except ValueError:
        return words[0]


def _typed_names(words: Sequence[str]) -> object:
    return [name for word in words for name in word.split(",") if name]


def _typed_counts(words: Sequence[str]) -> object:
    pairs = (word.rpartition("=") for word in words)
    return {name: _typed_number([count]) for name, _equals, count in pairs}


def url_kind(example: str) -> Kind:
    """An address; the setting says which schemes it takes."""
    return Kind(f"a URL such as {example}", _text, _first)


TEXT: Final = Kind("a text", _text, _first)
WHOLE: Final = Kind("a whole number", _whole, _typed_number)
NUMBER: Final = Kind("a number", _number, _typed_number)
SWITCH: Final = Kind("true or false", _switch, _typed_switch)
NAMES: Final = Kind('a list of texts such as ["one", "two"]', _names, _typed_names, takes_many=True)
COUNTS: Final = Kind('a table such as {"org/model" = 4}', _counts, _typed_counts, takes_many=True)
MINUTES: Final = Kind("a number of minutes", _in_unit("m"), _typed_number)
SECONDS: Final = Kind("a number of seconds", _in_unit("s"), _typed_number)
REFUSED: Final = Kind("false (program code that comes with a model is never run)", _refused, _typed_switch)

WINDOWS_KEY: Final = "schedule.windows"
WINDOWS_ACCEPTED: Final = 'a list of windows such as {days = ["mon"], start = "20:00", end = "07:00"}'

FILE_KEYS: Final = {
    key.name: key
    for key in (
        FileKey("provider.name", "PROVIDER_NAME", TEXT),
        FileKey("provider.memory_reserve_gb", "MEMORY_RESERVE_GB", NUMBER, " from 0 to 1024"),
        FileKey("provider.auto_update", "AUTO_UPDATE", SWITCH),
        FileKey("provider.auto_restart", "AUTO_RESTART", SWITCH),
        FileKey("provider.update_jitter_seconds", "UPDATE_JITTER", SECONDS, " from 0 to 3600"),
        FileKey("provider.update_keys", "UPDATE_KEYS", NAMES, ", each an Ed25519 public key in base64"),
        FileKey("backend.port", "LOCAL_PORT", WHOLE, " from 0 to 65535"),
        FileKey("backend.bind", "LOCAL_BIND", TEXT),
        FileKey("backend.local_endpoint", "LOCAL_ENDPOINT", SWITCH),
        FileKey("backend.local_hosts", "LOCAL_HOSTS", NAMES),
        FileKey("backend.model", "PREFERRED_MODEL", TEXT),
        FileKey("backend.enabled_models", "ENABLED_MODELS", NAMES),
        FileKey("backend.idle_timeout_mins", "IDLE_TIMEOUT", MINUTES, " from 0 (never) to 43200"),
        FileKey("backend.max_model_slots", "MAX_MODEL_SLOTS", WHOLE, " from 1 to 8"),
        FileKey("backend.max_concurrent", "MAX_CONCURRENT", WHOLE, " from 1 to 24"),
        FileKey("backend.max_concurrent_by_model", "MAX_CONCURRENT_BY_MODEL", COUNTS, ", each number from 1 to 24"),
        FileKey("backend.startup_preload", "STARTUP_PRELOAD", SWITCH),
        FileKey("backend.preload_models", "PRELOAD_MODELS", NAMES),
        FileKey("backend.startup_preload_timeout_secs", "PRELOAD_TIMEOUT", SECONDS, " from 0 to 86400"),
        FileKey("backend.startup_selftest", "STARTUP_SELFTEST", SWITCH),
        FileKey("backend.startup_selftest_fail_closed", "STARTUP_SELFTEST_FAIL_CLOSED", SWITCH),
        FileKey("backend.prefill_step", "PREFILL_STEP", WHOLE, " from 32 to 8192, or 0 for what was measured"),
        FileKey("backend.prefix_cache", "PREFIX_CACHE", SWITCH),
        FileKey("backend.trust_remote_code", "TRUST_REMOTE_CODE", REFUSED),
        FileKey("coordinator.url", "COORDINATOR_URL", url_kind("wss://host")),
        FileKey("coordinator.heartbeat_interval_secs", "HEARTBEAT_INTERVAL", SECONDS, " from 1 to 60"),
        FileKey("coordinator.private_only", "PRIVATE_ONLY", SWITCH),
        FileKey("schedule.enabled", "SCHEDULE_ENABLED", SWITCH),
        FileKey("schedule.only_when_idle_secs", "ONLY_WHEN_IDLE", SECONDS, " from 0 to 86400"),
        FileKey("models.cache_dir", "MODELS_CACHE_DIR", TEXT),
        FileKey("models.cdn_url", "MODEL_CDN_URL", url_kind("https://host")),
        FileKey("telemetry.enabled", "TELEMETRY", SWITCH),
    )
}
"""By dotted name. `config_version` and `schedule.windows` have forms of their own."""

ALL_NAMES: Final = (*FILE_KEYS, WINDOWS_KEY, "config_version")


def windows_text(value: object) -> tuple[str, tuple[str, ...]]:
    """Give the windows as the setting reads them, and a sentence for each malformed one.

    Raises `ValueError` for what is no list of tables.
    """
    if not isinstance(value, list) or not all(isinstance(entry, Mapping) for entry in value):
        raise ValueError
    windows, skipped = [], []
    for number, entry in enumerate(cast(list[Mapping[str, object]], value), 1):
        days, start, end = entry.get("days"), entry.get("start"), entry.get("end")
        if isinstance(days, str):
            days = [days]
        if not (isinstance(days, list) and isinstance(start, str) and isinstance(end, str)):
            skipped.append(f"window {number} is skipped. It needs days, start and end.")
            continue
        try:
            windows.append(make_window([str(day) for day in days], start, end))
        except ValueError as error:
            skipped.append(f"window {number} is skipped. {error}")
    return show_schedule(tuple(windows)), tuple(skipped)
