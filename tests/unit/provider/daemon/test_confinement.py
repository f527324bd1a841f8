"""What a daemon says about its confinement, and what it may still do."""

import pytest

from provider.config import load_settings
from provider.daemon import confinement
from provider.daemon.confinement import confine_daemon, with_confinement
from provider.hardening.confine import Confinement
from tests.testbed.fake_machine import hardened

ALL = Confinement(runtime_locked=True, calls_filtered=True, programs_refused=True)


@pytest.fixture
def asked(monkeypatch):
    calls = []

    def confine(**options):
        calls.append(options)
        return ALL

    monkeypatch.setattr(confinement, "confine", confine)
    return calls


def settings(**values):
    return load_settings({f"DARKBLOOM_{name}": value for name, value in values.items()}).settings


def test_before_the_confinement_nothing_of_it_is_claimed():
    before = hardened().capabilities(sip_enabled=False)
    assert not before.dangerous_modules_blocked
    assert not before.python_runtime_locked


def test_confined_daemon_claims_what_holds(asked):
    after = confine_daemon(hardened(), settings())
    assert (after.runtime_locked, after.calls_filtered, after.programs_refused) == (True, True, True)
    assert after.capabilities(sip_enabled=False).dangerous_modules_blocked
    # The interpreter of this test was not started in isolation, so it is not called locked.
    assert not after.capabilities(sip_enabled=False).python_runtime_locked
    assert asked == [{"refuse_programs": True, "programs": []}]


def test_machine_that_watches_its_user_keeps_the_programs_for_it(asked):
    confine_daemon(hardened(), settings(ONLY_WHEN_IDLE="5m"))
    assert asked == [{"refuse_programs": False, "programs": ["loginctl", "xprintidle"]}]


def test_helper_of_the_security_chip_may_be_started_again(asked):
    confine_daemon(hardened(), settings(ENCLAVE_HELPER="/opt/darkbloom-enclave"))
    assert asked == [{"refuse_programs": True, "programs": ["/opt/darkbloom-enclave"]}]


def test_what_failed_is_logged_and_not_claimed(caplog):
    after = with_confinement(hardened(), Confinement(problems=("System calls could not be filtered.",)))
    assert after.problems == ("System calls could not be filtered.",)
    assert not after.calls_filtered
    assert not after.capabilities(sip_enabled=True).dangerous_modules_blocked
    assert "could not be filtered" in caplog.text
