"""Confinement of a real process: every test runs its body in a child, because nothing here can be taken back."""

import json
import platform
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from provider.hardening.confine import confine
from provider.hardening.runtime_lock import code_allowed, make_hook
from provider.hardening.seccomp import (
    ARCHITECTURES,
    PROGRAMS,
    REFUSED,
    build_filter,
    install_filter,
    is_filtered,
    numbers_for,
)

ROOT = Path(__file__).parents[4]
linux = pytest.mark.skipif(sys.platform != "linux", reason="Linux only")


def run_child(body):
    """Run code with `out`, a dictionary that comes back."""
    prologue = f"import sys, json; sys.path.insert(0, {str(ROOT)!r}); out = {{}}\n"
    code = prologue + body + "\nprint(json.dumps(out))\n"
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


CONFINED = """
import ctypes, errno, os, subprocess, threading
from provider.hardening import harden
from provider.hardening.confine import confine
stop = threading.Event()
thread = threading.Thread(target=stop.wait, daemon=True)
thread.start()
harden(environment={})
c = confine(refuse_programs=%s)
out["confinement"] = [c.runtime_locked, c.calls_filtered, c.programs_refused, list(c.problems)]
"""


@linux
def test_confined_process_refuses_what_a_daemon_never_needs():
    out = run_child(
        CONFINED % True
        + """
lib = ctypes.CDLL(None, use_errno=True)
def call(number, *arguments):
    result = lib.syscall(ctypes.c_long(number), *[ctypes.c_ulong(a) for a in arguments])
    return ctypes.get_errno() if result < 0 else 0
import platform
from provider.hardening.seccomp import ARCHITECTURES, REFUSED
column = ARCHITECTURES[platform.machine()].column
for name in (
    "ptrace", "process_vm_readv", "bpf", "perf_event_open", "keyctl", "unshare", "userfaultfd", "io_uring_setup"
):
    out[name] = call(REFUSED[name][column], 0, 0, 0, 0, 0)
pid = os.getpid()
status = open(f"/proc/{pid}/status").read()
out["modes"] = [line.split()[1] for task in os.listdir("/proc/self/task")
    for line in open(f"/proc/self/task/{task}/status") if line.startswith("Seccomp:")]
out["file"] = len(open("/etc/passwd").read()) > 0
out["socket"] = __import__("socket").socketpair() is not None
started = threading.Thread(target=lambda: out.__setitem__("thread", True)); started.start(); started.join()
try:
    os.execve("/bin/true", ["true"], {})
except OSError as error:
    out["exec"] = type(error).__name__
"""
    )
    assert out["confinement"] == [True, True, True, []]
    refused = {name: out[name] for name in REFUSED if name in out}
    assert set(refused.values()) == {1}, refused
    assert out["modes"] == ["2", "2"]
    assert [out["file"], out["socket"], out["thread"]] == [True, True, True]
    assert out["exec"] == "RuntimeLocked"


@linux
def test_kernel_refuses_programs_even_where_python_is_not_asked():
    out = run_child(
        """
import ctypes, os
from provider.hardening import harden
from provider.hardening.seccomp import install_filter, is_filtered
harden(environment={})
out["before"] = is_filtered()
out["installed"] = install_filter(refuse_programs=True)
out["after"] = is_filtered()
try:
    os.execve("/bin/true", ["true"], {})
except PermissionError as error:
    out["errno"] = error.errno
"""
    )
    assert out == {"before": False, "installed": True, "after": True, "errno": 1}


@linux
def test_engine_that_compiles_may_still_start_its_compiler():
    out = run_child(
        CONFINED % False
        + """
lib = ctypes.CDLL(None)
out["system"] = lib.system(b"exit 7") >> 8
try:
    subprocess.run(["/bin/true"])
except PermissionError as error:
    out["python"] = type(error).__name__
"""
    )
    assert out["confinement"] == [True, True, False, []]
    assert out["system"] == 7
    assert out["python"] == "RuntimeLocked"


@linux
def test_same_user_cannot_read_the_memory_of_a_hardened_process():
    code = (
        f"import sys, time; sys.path.insert(0, {str(ROOT)!r})\n"
        "from provider.hardening import harden\n"
        "harden(environment={}); print('ready', flush=True); time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-I", "-c", code], stdout=subprocess.PIPE, text=True) as child:
        try:
            assert child.stdout.readline() == "ready\n"
            out = run_child(
                f"""
import ctypes, os
if os.geteuid() == 0:
    os.setgroups([]); os.setresgid(65534, 65534, 65534); os.setresuid(65534, 65534, 65534)
try:
    open("/proc/{child.pid}/mem", "rb").read(1)
except OSError as error:
    out["mem"] = type(error).__name__
lib = ctypes.CDLL(None, use_errno=True)
out["attach"] = [lib.ptrace(16, {child.pid}, None, None), ctypes.get_errno()]
"""
            )
        finally:
            child.kill()
    assert out["mem"] == "PermissionError"
    assert out["attach"] == [-1, 1]


def test_locked_interpreter_refuses_foreign_code_and_watching(tmp_path):
    (tmp_path / "foreign.py").write_text("VALUE = 1\n")
    out = run_child(
        f"""
import gc
from provider.hardening.runtime_lock import RuntimeLocked, is_locked, lock_runtime
out["before"] = is_locked()
out["locked"] = lock_runtime()
def refused(act):
    try:
        act()
    except RuntimeLocked:
        return True
    return False
def foreign():
    sys.path.insert(0, {str(tmp_path)!r})
    import foreign
out["foreign"] = refused(foreign)
out["trace"] = refused(lambda: sys.settrace(lambda *_: None))
out["profile"] = refused(lambda: sys.setprofile(lambda *_: None))
out["frames"] = refused(sys._current_frames)
out["objects"] = refused(gc.get_objects)
import subprocess, ctypes, os
out["program"] = refused(lambda: subprocess.run(["/bin/true"]))
out["shell"] = refused(lambda: os.system("true"))
out["library"] = refused(lambda: ctypes.CDLL({str(tmp_path / "evil.so")!r}))
import statistics, wave, jinja2
out["own"] = jinja2.Template("{{{{ 1 + 1 }}}}").render()
out["data"] = repr(__import__("dataclasses").make_dataclass("D", ["x"])(1))
import provider.models.scan
"""
    )
    assert out.pop("before") is False
    assert out.pop("own") == "2"
    assert out.pop("data") == "D(x=1)"
    assert set(out.values()) == {True}, out


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
@pytest.mark.parametrize("refuse_programs", [True, False])
def test_filter_judges_every_number_as_the_table_says(machine, refuse_programs):
    architecture = ARCHITECTURES[machine]
    numbers = numbers_for(architecture, refuse_programs=refuse_programs)
    code = build_filter(architecture, numbers)
    for number in range(600):
        expected = 0x00050001 if number in numbers else 0x7FFF0000
        assert interpret(code, architecture.audit, number) == expected, number
    assert interpret(code, architecture.audit ^ 1, 0) == 0x00050001
    if architecture.has_x32:
        assert interpret(code, architecture.audit, 0x40000000 + 1) == 0x00050001


def interpret(code, audit, number):
    """Run classic BPF as the kernel does."""
    data = struct.pack("=II", number, audit)
    place, accumulator = 0, 0
    while True:
        operation, when, otherwise, value = struct.unpack_from("=HBBI", code, place * 8)
        place += 1
        match operation:
            case 0x20:
                (accumulator,) = struct.unpack_from("=I", data, value)
            case 0x15:
                place += when if accumulator == value else otherwise
            case 0x35:
                place += when if accumulator >= value else otherwise
            case 0x06:
                return value


def test_tables_have_each_number_once():
    for column in (0, 1):
        numbers = [row[column] for row in {**REFUSED, **PROGRAMS}.values() if row[column] is not None]
        assert len(numbers) == len(set(numbers))


def test_unknown_machine_is_not_filtered():
    assert install_filter(refuse_programs=True, machine="riscv64") is False


def test_threads_without_a_filter_are_seen(tmp_path):
    for number, mode in enumerate("20"):
        (tmp_path / "task" / str(number)).mkdir(parents=True)
        (tmp_path / "task" / str(number) / "status").write_text(f"Name:\tx\nSeccomp:\t{mode}\n")
    assert not is_filtered(tmp_path)
    (tmp_path / "task" / "1" / "status").write_text("Seccomp:\t2\n")
    assert is_filtered(tmp_path)
    assert not is_filtered(tmp_path / "none")


def test_what_could_not_be_done_is_told():
    failed = confine(
        refuse_programs=True, lock=lambda _programs: False, filter_calls=lambda _refuse: False, platform="linux"
    )
    assert (failed.runtime_locked, failed.calls_filtered, failed.programs_refused) == (False, False, False)
    assert len(failed.problems) == 2
    mac = confine(refuse_programs=True, lock=lambda _programs: True, platform="darwin")
    assert (mac.runtime_locked, mac.calls_filtered, mac.programs_refused, mac.problems) == (True, False, False, ())


def test_hook_lets_named_programs_and_system_libraries_pass():
    hook = make_hook({"/opt/app/"}, {"/usr/bin/pmset"})
    hook("subprocess.Popen", ("/usr/bin/pmset", [], None, None))
    hook("ctypes.dlopen", (None,))
    hook("ctypes.dlopen", ("libnvidia-ml.so.1",))
    hook("ctypes.dlopen", ("/usr/lib/libobjc.A.dylib",))
    hook("ctypes.dlopen", ("/opt/app/x.so",))
    hook("open", ("/tmp/x", "w", 0))
    with pytest.raises(PermissionError):
        hook("subprocess.Popen", ("pmset", [], None, None))
    with pytest.raises(PermissionError):
        hook("ctypes.dlopen", ("/tmp/x.so",))
    for way_out in ("/usr/lib/../../tmp/x.so", "/opt/app/../../tmp/x.so", "/usr/lib/./../../tmp/x.so"):
        with pytest.raises(PermissionError):
            hook("ctypes.dlopen", (way_out,))


def test_code_without_a_file_runs():
    assert code_allowed("<template>", ())
    assert code_allowed("/opt/app/x.py", {"/opt/app/"})
    assert not code_allowed("/opt/application/x.py", {"/opt/app/"})
    assert not code_allowed("/opt/app/../x.py", {"/opt/app/"})
    assert not code_allowed("/opt/app/sub/../../x.py", {"/opt/app/"})


def test_machine_of_this_test_is_known():
    assert sys.platform != "linux" or platform.machine() in ARCHITECTURES
