"""The machine itself: hardware, device, memory, disk, other servers, and what of its protection can be told."""

import importlib.util
import shutil
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from provider.doctor.finding import Finding, failed, passed, warned
from provider.host import Host
from provider.identity import PostureReader
from provider.memory import policy
from provider.memory.policy import GIB, PolicySettings
from provider.status.words import gigabytes

SECTION: Final = "machine"
MIN_MEMORY_GB: Final = 8
MIN_DISK_GB: Final = 20
NEIGHBOURS: Final = {11434: "Ollama", 1234: "LM Studio", 8080: "an mlx-lm or llama.cpp server"}


def hardware(host: Host) -> Iterator[Finding]:
    """`hardware`."""
    found = host.hardware()
    if not found.chip_name or not found.memory_gb:
        yield warned(SECTION, "hardware", "the chip or the memory could not be told; the machine reports what it knows")
        return
    detail = f"{found.chip_name}, {found.memory_gb:g} GB, {found.gpu_cores} GPU cores"
    yield passed(SECTION, "hardware", f"{detail}, {found.memory_bandwidth_gbs:g} GB/s")


def device() -> Iterator[Finding]:
    """`device`; the library is looked for, and asked only where it is there."""
    if importlib.util.find_spec("mlx") is None:
        yield failed(
            SECTION,
            "device",
            "the inference engine is not installed",
            "in the source folder: pip install -c constraints.txt '.[provider]'",
        )
        return
    import mlx.core as mx

    if sys.platform == "darwin":
        if mx.metal.is_available():
            yield passed(SECTION, "device", "Metal")
        else:
            yield failed(SECTION, "device", "Metal is not available to this process")
        return
    if mx.default_device() == mx.gpu:
        yield passed(SECTION, "device", "GPU")
    else:
        yield warned(SECTION, "device", "CPU only: for tests and small models", "install MLX's CUDA build")


def memory(physical: int, settings: PolicySettings, *, dev: bool) -> Iterator[Finding]:
    """`memory`: what the cap leaves."""
    reserves = policy.reserves_for(physical, 0, settings)
    cap = policy.effective_cap(physical, settings.cap_fraction, reserves)
    room = max(0, cap - reserves.activation) / GIB
    detail = (
        f"{gigabytes(physical / GIB)} GB, cap {gigabytes(cap / GIB)} GB, for weights and caches {gigabytes(room)} GB"
    )
    if physical < MIN_MEMORY_GB * GIB and not dev:
        yield failed(SECTION, "memory", f"{detail}; {MIN_MEMORY_GB} GB are needed")
    elif room < 1:
        yield failed(SECTION, "memory", f"{detail}; less than 1 GB of cache is left for any model")
    else:
        yield passed(SECTION, "memory", detail)


def disk(cache: Path) -> Iterator[Finding]:
    """`disk space` where models lie."""
    place = next((folder for folder in (cache, *cache.parents) if folder.exists()), Path("/"))
    free = shutil.disk_usage(place).free / GIB
    text = f"{free:.0f} GB free at {place}"
    if free < MIN_DISK_GB:
        yield warned(SECTION, "disk space", f"{text}; downloads want {MIN_DISK_GB} GB", "darkbloom models remove ID")
    else:
        yield passed(SECTION, "disk space", text)


def neighbours(own_port: int | None) -> Iterator[Finding]:
    """`competing inference`: other servers that would share the memory."""
    found = [f"{name} on port {port}" for port, name in NEIGHBOURS.items() if port != own_port and _listens(port)]
    if found:
        yield warned(SECTION, "competing inference", f"{', '.join(found)} may hold memory that models need")
    else:
        yield passed(SECTION, "competing inference", "no other server found")


def protection(reader: PostureReader) -> Iterator[Finding]:
    """Posture: one line on Linux, several on macOS."""
    if sys.platform == "darwin":
        yield from _posture(reader)
    else:
        yield passed(SECTION, "attestation", "software key, trust stays below hardware")


def _posture(reader: PostureReader) -> Iterator[Finding]:
    posture = reader.read()
    for name, good, fix in (
        ("sip", posture.sip_enabled, "csrutil enable (in recovery mode)"),
        ("secure enclave", posture.secure_boot_enabled, ""),
        ("rdma", posture.rdma_disabled, "rdma_ctl disable"),
    ):
        yield passed(SECTION, name, "ok") if good else failed(SECTION, name, "not as it should be", fix)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(0.2)
        return probe.connect_ex(("127.0.0.1", port)) == 0
