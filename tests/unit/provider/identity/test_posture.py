"""Posture, measured on recorded trees and outputs."""

import pytest

from provider.identity.posture import LinuxPosture, MacPosture

SECURE_BOOT = "sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c"


@pytest.fixture
def tree(tmp_path):
    files = {
        "sys/kernel/security/lockdown": b"none [integrity] confidentiality\n",
        "proc/sys/kernel/yama/ptrace_scope": b"1\n",
        SECURE_BOOT: b"\x06\0\0\0\x01",
        "proc/self/mountinfo": b"1 0 8:1 / /boot rw - ext4 x rw\n2 0 254:0 / / ro - ext4 y ro\n",
        "sys/dev/block/254:0/dm/uuid": b"CRYPT-VERITY-00-root\n",
    }

    def write(path, content):
        target = tmp_path / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)

    for path, content in files.items():
        write(path, content)
    return tmp_path, write


def test_a_locked_machine(tree):
    assert LinuxPosture(tree[0], is_closed=lambda: True).read() == (True, True, True, True)


@pytest.mark.parametrize(
    ("path", "content", "place"),
    [
        ("sys/kernel/security/lockdown", b"[none] integrity confidentiality\n", 0),
        ("sys/kernel/security/lockdown", b"", 0),
        ("proc/sys/kernel/yama/ptrace_scope", b"0\n", 0),
        ("proc/sys/kernel/yama/ptrace_scope", b"", 0),
        (SECURE_BOOT, b"\x06\0\0\0\0", 1),
        (SECURE_BOOT, b"", 1),
        ("sys/dev/block/254:0/dm/uuid", b"LVM-abc\n", 2),
        ("proc/self/mountinfo", b"", 2),
        ("sys/class/infiniband/mlx5_0/x", b"", 3),
    ],
)
def test_each_weakness_turns_its_own_fact_off(tree, path, content, place):
    root, write = tree
    write(path, content)
    expected = [number != place for number in range(4)]
    assert list(LinuxPosture(root, is_closed=lambda: True).read()) == expected


def test_confidentiality_counts_as_lockdown(tree):
    root, write = tree
    write("sys/kernel/security/lockdown", b"none integrity [confidentiality]\n")
    assert LinuxPosture(root, is_closed=lambda: True).read().sip_enabled


def test_an_open_process_is_not_protected(tree):
    assert not LinuxPosture(tree[0], is_closed=lambda: False).read().sip_enabled


def test_a_bare_machine_claims_nothing(tmp_path):
    assert LinuxPosture(tmp_path).read() == (False, False, False, True)


@pytest.mark.parametrize(
    ("outputs", "expected"),
    [
        (("System Integrity Protection status: enabled.", "Authenticated Root status: enabled", ""), (1, 1, 1, 1)),
        (("System Integrity Protection status: disabled.", "Authenticated Root status: disabled", ""), (0, 0, 0, 1)),
        (("", "", "RDMA: enabled"), (0, 0, 0, 0)),
        (("status: enabled.", "", "RDMA: disabled"), (1, 1, 0, 1)),
    ],
)
def test_a_mac_is_asked(outputs, expected):
    integrity, root, rdma = outputs

    def run(command):
        if command[0].endswith("rdma_ctl"):
            return rdma
        return root if "authenticated-root" in command else integrity

    assert MacPosture(run).read() == tuple(map(bool, expected))
