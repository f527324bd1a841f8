"""Applying the protections at start, and what came of each; a capability is claimed only after its call succeeded."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass

from protocol.messages.from_provider import PrivacyCapabilities
from provider.hardening.environment import forbidden_names
from provider.hardening.kernel import Kernel, this_kernel


@dataclass(frozen=True, slots=True)
class Hardening:
    """Measured protections. `problems` holds a full sentence for each that is not in effect."""

    core_dumps_disabled: bool
    anti_debug_enabled: bool
    no_new_privileges: bool
    env_scrubbed: bool
    isolated_interpreter: bool
    problems: tuple[str, ...]

    def capabilities(self, *, sip_enabled: bool) -> PrivacyCapabilities:
        """Give the wire form; `sip_enabled` is measured by the identity side.

        The engine runs in this process and no proxy stands before it: these two hold by construction. Blocking of
        dangerous modules does not exist here and is never claimed.
        """
        return PrivacyCapabilities(
            text_backend_inprocess=True,
            text_proxy_disabled=True,
            python_runtime_locked=self.isolated_interpreter,
            dangerous_modules_blocked=False,
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
