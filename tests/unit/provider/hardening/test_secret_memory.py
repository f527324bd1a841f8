"""Locking the pages of a secret."""

import subprocess
import sys
from pathlib import Path

import pytest

from protocol.sealing import ProviderKeyPair
from provider.hardening.secret_memory import lock_secret

ROOT = Path(__file__).parents[4]


def locked_kilobytes():
    return next(
        int(line.split()[1]) for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmLck")
    )


@pytest.mark.skipif(sys.platform != "linux", reason="Linux only")
def test_page_of_the_private_key_is_locked():
    keys = ProviderKeyPair.generate()
    before = locked_kilobytes()
    assert lock_secret(keys.private.view())
    assert locked_kilobytes() - before in (0, 4, 8)
    assert locked_kilobytes() >= 4


@pytest.mark.skipif(sys.platform != "linux", reason="Linux only")
def test_limit_of_locked_memory_is_told_as_failure():
    code = f"""
import sys, resource, os
sys.path.insert(0, {str(ROOT)!r})
from protocol.sealing import ProviderKeyPair
from provider.hardening.secret_memory import lock_secret
keys = ProviderKeyPair.generate()
resource.setrlimit(resource.RLIMIT_MEMLOCK, (0, 0))
if os.geteuid() == 0:
    os.setresuid(65534, 65534, 65534)
print(lock_secret(keys.private.view()))
"""
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout == "False\n", done.stderr


def test_nothing_is_not_locked():
    assert not lock_secret(memoryview(bytearray()))
