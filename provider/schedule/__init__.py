"""When this machine serves: weekly windows, and only while nobody uses it."""

from provider.schedule.windows import Schedule, Window, next_change, parse_schedule, show_schedule

__all__ = ["Schedule", "Window", "next_change", "parse_schedule", "show_schedule"]
