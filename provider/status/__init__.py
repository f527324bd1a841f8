"""What a running daemon says about itself in a file, and what can be told from that file alone."""

from provider.status.liveness import Life, judge
from provider.status.process import is_running, process_start
from provider.status.record import DaemonState
from provider.status.state_file import read_state, write_state

__all__ = ["DaemonState", "Life", "is_running", "judge", "process_start", "read_state", "write_state"]
