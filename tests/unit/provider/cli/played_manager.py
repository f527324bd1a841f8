"""A service manager that plays the daemon too, and model folders that only look like models."""

import json
import os

import msgspec

from provider.status.pid_file import PidNote
from provider.status.process import process_start
from provider.status.record import Connectivity, DaemonState
from provider.status.state_file import write_state


def write_model(cache, model_id, weights=b"weights", **config):
    folder = cache / f"models--{model_id.replace('/', '--')}"
    snapshot = folder / "snapshots" / "one"
    snapshot.mkdir(parents=True)
    (snapshot / "config.json").write_text(
        json.dumps({"model_type": "llama", "max_position_embeddings": 8192, **config})
    )
    (snapshot / "model.safetensors").write_bytes(weights)
    return snapshot


class Manager:
    """Plays the daemon too: `start` writes what a daemon would."""

    kind, hint = "background", "A hint."

    def __init__(self, home):
        self.home = home
        self.specs = []
        self.comes_up = True
        self.registers = True

    def install(self, spec):
        self.specs.append(spec)

    def start(self, spec):
        if not self.comes_up:
            spec.output_file.write_text("error: the port is taken\n")
            return
        note = PidNote(pid=os.getpid(), process_start=process_start(os.getpid()))
        (self.home / "provider.pid").write_bytes(msgspec.json.encode(note))
        state = DaemonState(
            pid=os.getpid(),
            process_start=process_start(os.getpid()),
            version="0",
            written_at=0,
            started_at=0,
            refresh_seconds=1,
            phase="serving",
            advertised_models=("org/one",),
            connectivity=Connectivity(coordinator="wss://h", connected=True, registered=self.registers),
        )
        write_state(self.home / "daemon-state.json", state)
