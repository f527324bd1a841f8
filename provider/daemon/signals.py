"""What signals do to a daemon that owns its process."""

import logging
import signal
from collections.abc import Callable

import trio

from provider.daemon.control import DaemonControl
from provider.daemon.task_tree import task_lines

log = logging.getLogger(__name__)


async def obey_signals(
    control: DaemonControl,
    *,
    reload_level: Callable[[], None],
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Drain on the first SIGTERM or SIGINT, end early on the second; SIGHUP reads token and log level again, SIGQUIT
    writes the tasks into the log."""
    watched = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)
    with trio.open_signal_receiver(*watched) as signals:
        task_status.started()
        async for number in signals:
            if number == signal.SIGHUP:
                log.info("reloading the token and the log level")
                _reload(reload_level)
                control.renew()
            elif number == signal.SIGQUIT:
                for line in task_lines():
                    log.warning("task", extra={"task": line})
            else:
                control.drain()


def _reload(reload_level: Callable[[], None]) -> None:
    """A configuration that cannot be read any more must not end a daemon that runs well."""
    try:
        reload_level()
    except Exception as error:
        log.warning("the log level stays: the configuration cannot be read", extra={"fault": type(error).__name__})
