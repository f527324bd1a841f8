"""Applying the protections at start, and what came of each; a capability is claimed only after its call succeeded."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass

from protocol.messages.from_provider import PrivacyCapabilities
from provider.hardening.environment import forbidden_names
from provider.hardening.kernel import Kernel, this_kernel


@dataclass(frozen=True, slots=True)
class Hardening:
    """Measured protections. `problems` holds a full sentence for each that is not in effect.

    The fields with a default are closed later than the others, when models are loaded and the keys exist.
    """

    core_dumps_disabled: bool
    anti_debug_enabled: bool
    no_new_privileges: bool
    env_scrubbed: bool
    isolated_interpreter: bool
    problems: tuple[str, ...]
    runtime_locked: bool = False
    calls_filtered: bool = False
    programs_refused: bool = False
    secrets_locked: bool = False

    def capabilities(self, *, sip_enabled: bool) -> PrivacyCapabilities:
        """Give the wire form; `sip_enabled` is measured by the identity side.

        The engine runs in this process and no proxy stands before it: these two hold by construction. The interpreter
        counts as locked only where it was started in isolation and foreign code is refused.
        """
        return PrivacyCapabilities(
            text_backend_inprocess=True,
            text_proxy_disabled=True,
            python_runtime_locked=self.isolated_interpreter and self.runtime_locked,
            dangerous_modules_blocked=self.runtime_locked,
            sip_enabled=sip_enabled,
            anti_debug_enabled=self.anti_debug_enabled,
            core_dumps_disabled=self.core_dumps_disabled,
            env_scrubbed=self.env_scrubbed,
        )


def harden(kernel: Kernel | None = None, *, environment: Mapping[str, str] | None = None) -> Hardening:
    """Apply every protection to this process; never raises, the result says what is in effect."""
    kernel = kernel or this_kernel()
    core = kernel.forbid_core_dumps()
    debugger = kernel.forbid_debugger()
    privileges = kernel.forbid_new_privileges()
    foreign = forbidden_names(environment)
    problems = []
    if not core:
        problems.append("Core dumps could not be forbidden (RLIMIT_CORE); start the provider with `ulimit -c 0`.")
    if not debugger:
        problems.append("The process is not closed to debuggers; stop any debugger or tracer and start again.")
    if not privileges:
        problems.append("Gaining privileges could not be forbidden (no_new_privs); check the container's settings.")
    if foreign:
        problems.append(f"The environment sets {', '.join(foreign)}; unset them and start again.")
    return Hardening(
        core_dumps_disabled=core,
        anti_debug_enabled=debugger,
        no_new_privileges=privileges,
        env_scrubbed=not foreign,
        isolated_interpreter=bool(sys.flags.isolated) and bool(sys.flags.no_user_site),
        problems=tuple(problems),
    )
