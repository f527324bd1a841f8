"""What the daemon tells about itself: log lines, and events for whoever shows its progress."""

from provider.observe.events import EventKind, ProviderEvent, ignore_event
from provider.observe.last_words import mute_exception_texts
from provider.observe.log_format import JsonFormatter, TextFormatter
from provider.observe.setup import configure_logging

__all__ = [
    "EventKind",
    "JsonFormatter",
    "ProviderEvent",
    "TextFormatter",
    "configure_logging",
    "ignore_event",
    "mute_exception_texts",
]
