"""Names with our prefix that other programs of the project read: no warning when both run in one environment."""

from __future__ import annotations

from typing import Final

NATIVE_NAMES: Final = frozenset({"DARKBLOOM_NATIVE"})
TEST_NAMES: Final = frozenset({"DARKBLOOM_TEST_FULL", "DARKBLOOM_TEST_DATABASE_URL"})
PROVIDER_NAMES: Final = frozenset(
    {
        "DARKBLOOM_ACTIVATION_RESERVE_GB",
        "DARKBLOOM_ALLOW_INSECURE_LINK",
        "DARKBLOOM_BACKEND_NAME",
        "DARKBLOOM_COORDINATOR_URL",
        "DARKBLOOM_DEV",
        "DARKBLOOM_DRAIN_TIMEOUT",
        "DARKBLOOM_HEARTBEAT_INTERVAL",
        "DARKBLOOM_HOME",
        "DARKBLOOM_IDLE_TIMEOUT",
        "DARKBLOOM_LINK_PING",
        "DARKBLOOM_LINK_PONG_TIMEOUT",
        "DARKBLOOM_MAX_CONCURRENT",
        "DARKBLOOM_MAX_MODEL_SLOTS",
        "DARKBLOOM_MEMORY_CHECK",
        "DARKBLOOM_MEMORY_RESERVE_GB",
        "DARKBLOOM_MEM_CAP_FRACTION",
        "DARKBLOOM_PRELOAD_TIMEOUT",
        "DARKBLOOM_RESTARTED",
    }
)

KNOWN_ELSEWHERE: Final = NATIVE_NAMES | TEST_NAMES | PROVIDER_NAMES
