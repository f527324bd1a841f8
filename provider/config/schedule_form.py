"""How windows of service are written in a setting."""

from protocol.settings import Form
from provider.schedule.windows import FORM, Schedule, parse_schedule, show_schedule


def schedule_windows() -> Form[Schedule]:
    """Windows between semicolons; an empty text means always."""
    return Form(FORM, parse_schedule, show_schedule)
