"""Protections: measured, never assumed."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from provider.hardening import clean_environment, forbidden_names, harden, restart_with_clean_environment
from provider.hardening.kernel import LinuxKernel

ROOT = Path(__file__).parents[4]


class FakeKernel:
    def __init__(self, *, core=True, debugger=True, privileges=True):
        self.results = core, debugger, privileges

    def forbid_core_dumps(self):
        return self.results[0]

    def forbid_debugger(self):
        return self.results[1]

    def forbid_new_privileges(self):
        return self.results[2]

    def debugger_attached(self):
        return False


def test_everything_in_effect():
    result = harden(FakeKernel(), environment={"PATH": "/bin"})
    assert result.problems == ()
    capabilities = result.capabilities(sip_enabled=False)
    assert capabilities.text_backend_inprocess
    assert capabilities.text_proxy_disabled
    assert capabilities.anti_debug_enabled
    assert capabilities.core_dumps_disabled
    assert capabilities.env_scrubbed
    assert not capabilities.sip_enabled
    assert not capabilities.dangerous_modules_blocked


@pytest.mark.parametrize(
    ("kernel", "environment", "name", "word"),
    [
        (FakeKernel(core=False), {}, "core_dumps_disabled", "RLIMIT_CORE"),
        (FakeKernel(debugger=False), {}, "anti_debug_enabled", "debugger"),
        (FakeKernel(privileges=False), {}, "no_new_privileges", "no_new_privs"),
        (FakeKernel(), {"LD_PRELOAD": "/x.so"}, "env_scrubbed", "LD_PRELOAD"),
    ],
)
def test_each_failure_is_told_and_claimed_by_nobody(kernel, environment, name, word):
    result = harden(kernel, environment=environment)
    assert getattr(result, name) is False
    assert len(result.problems) == 1
    assert word in result.problems[0]


@pytest.mark.skipif(sys.platform != "linux", reason="Linux system calls")
def test_the_calls_take_effect_in_a_real_process():
    code = (
        "import json, resource\n"
        "from provider.hardening import harden\n"
        "result = harden()\n"
        "status = dict(l.split(':\\t', 1) for l in open('/proc/self/status').read().splitlines() if ':\\t' in l)\n"
        "print(json.dumps([result.core_dumps_disabled, result.anti_debug_enabled, result.no_new_privileges,\n"
        "  result.isolated_interpreter, resource.getrlimit(resource.RLIMIT_CORE), status['NoNewPrivs']]))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == [True, True, True, False, [0, 0], "1"]


@pytest.mark.skipif(sys.platform != "linux", reason="Linux system calls")
@pytest.mark.parametrize(("status", "attached"), [("TracerPid:\t0\n", False), ("TracerPid:\t7\n", True), ("", True)])
def test_a_tracer_is_seen(tmp_path, status, attached):
    (tmp_path / "status").write_text(status)
    assert LinuxKernel(tmp_path).debugger_attached() is attached
    assert LinuxKernel(tmp_path / "nowhere").debugger_attached()


def test_forbidden_variables():
    environment = {"PYTHONPATH": "/x", "LD_PRELOAD": "", "PATH": "/bin", "DYLD_INSERT_LIBRARIES": "/y"}
    assert forbidden_names(environment) == ("DYLD_INSERT_LIBRARIES", "PYTHONPATH")
    assert clean_environment(environment) == {"PATH": "/bin"}


def test_the_restart_happens_once_and_clean():
    calls = []
    environment = {"PYTHONPATH": "/x", "PATH": "/bin"}
    restart_with_clean_environment(["-m", "x"], environment, replace=lambda *call: calls.append(call))
    path, arguments, passed = calls[0]
    assert path == sys.executable
    assert arguments == [sys.executable, "-m", "x"]
    assert passed == {"PATH": "/bin", "DARKBLOOM_RESTARTED": "1"}
    again = {**passed, "PYTHONPATH": "/x"}
    restart_with_clean_environment(["-m", "x"], again, replace=lambda *call: calls.append(call))
    restart_with_clean_environment(["-m", "x"], {"PATH": "/bin"}, replace=lambda *call: calls.append(call))
    assert len(calls) == 1
