"""Closed sets of words that may cross the wire in failures; anything else is dropped and counted."""

from typing import Final, Literal

FailureCode = Literal[
    "invalid_request",
    "invalid_media",
    "media_too_large",
    "unsupported_media",
    "template_render",
    "model_unavailable",
    "capacity",
    "cancelled",
    "encryption_failure",
    "generation_failure",
    "internal_failure",
]

FAILURE_CODES: Final[dict[str, FailureCode]] = {
    "invalid_request": "invalid_request",
    "invalid_media": "invalid_media",
    "media_too_large": "media_too_large",
    "unsupported_media": "unsupported_media",
    "template_render": "template_render",
    "model_unavailable": "model_unavailable",
    "capacity": "capacity",
    "cancelled": "cancelled",
    "encryption_failure": "encryption_failure",
    "generation_failure": "generation_failure",
    "internal_failure": "internal_failure",
}

TEMPLATE_REASONS: Final = frozenset({"jinja_channel_tags", "jinja_null_bridge", "jinja_template"})

CAPACITY_REASONS: Final = frozenset(
    {
        "capacity_timeout",
        "queue_full",
        "token_budget_exhausted",
        "request_exceeds_context",
        "request_exceeds_node",
        "request_exceeds_node_budget",
        "request_exceeds_batch_token_budget",
        "capacity_busy",
        "deadline_unreachable",
        "draining",
        "model_load",
    }
)
"""Reasons that keep their name under the code `capacity`."""

ERROR_REASONS: Final = TEMPLATE_REASONS | CAPACITY_REASONS | {"cancelled", "client_error", "tool_noncompliance"}
"""Reasons that a provider may name; `provider_error`, `provider_restart` and `provider_disconnected` are ours alone."""

FAULT_CAUSES: Final = frozenset({"prefill_stall", "decode_stall", "watchdog"})
NEUTRAL_CAUSES: Final = frozenset({"safety_deadline", "backpressure_timeout", "cancelled"})
TERMINAL_CAUSES: Final = FAULT_CAUSES | NEUTRAL_CAUSES | {"admission_timeout", "engine_error"}

REJECTION_REASONS: Final = frozenset(
    {"token_budget", "kv_headroom", "memory_cap", "slot_state", "template", "capability", "deadline"}
)

DRAINING_TEXT: Final = "provider draining for update"
"""The exact `error` of a load or prefetch status that a draining provider refuses; the one text that is compared."""
