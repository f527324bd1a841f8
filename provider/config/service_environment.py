"""The environment of an installed service: a fixed list, so that nothing of a shell gets in by accident."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

KEPT: Final = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "XDG_CONFIG_HOME", "XDG_RUNTIME_DIR", "SSL_CERT_FILE")
PASSED_ON: Final = (
    "DARKBLOOM_ACTIVATION_RESERVE_GB",
    "DARKBLOOM_ALLOW_INSECURE_LINK",
    "DARKBLOOM_BACKEND_NAME",
    "DARKBLOOM_CONFIG",
    "DARKBLOOM_COORDINATOR_URL",
    "DARKBLOOM_DEV",
    "DARKBLOOM_DRAIN_TIMEOUT",
    "DARKBLOOM_HEARTBEAT_INTERVAL",
    "DARKBLOOM_HOME",
    "DARKBLOOM_LOADED_MODELS_FILE",
    "DARKBLOOM_LOG_FORMAT",
    "DARKBLOOM_LOG_LEVEL",
    "DARKBLOOM_MEM_CAP_FRACTION",
    "DARKBLOOM_MODELS_CACHE_DIR",
    "DARKBLOOM_MODEL_CDN_URL",
    "DARKBLOOM_NATIVE",
    "DARKBLOOM_STATE_FILE",
)
"""What an installed service is run with is what its owner sees in one list; everything else belongs in the file."""


def service_environment(environment: Mapping[str, str] | None = None) -> dict[str, str]:
    """Pick the variables that an installed service keeps."""
    values = os.environ if environment is None else environment
    return {name: values[name] for name in (*KEPT, *PASSED_ON) if values.get(name)}


def user_config_home(environment: Mapping[str, str] | None = None) -> Path:
    """Give the directory of this user's configuration, where units live too."""
    base = (os.environ if environment is None else environment).get("XDG_CONFIG_HOME", "").strip()
    return Path(base) if base else Path("~/.config").expanduser()
