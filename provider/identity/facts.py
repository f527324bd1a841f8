"""The facts that a registration signs."""

from protocol.attestation import AttestationFacts
from protocol.messages.from_provider import Hardware
from provider.identity.posture import MachinePosture


def attestation_facts(
    *,
    hardware: Hardware,
    platform: str,
    os_version: str,
    posture: MachinePosture,
    binary_hash: str,
    is_software_key: bool,
    registration_nonce: str = "",
) -> AttestationFacts:
    """State what was measured. A software key says so: no secure enclave, and development attestation.

    `registration_nonce` is what the coordinator's upgrade answer carried, or "".
    """
    return AttestationFacts(
        authenticated_root_enabled=posture.authenticated_root,
        chip_name=hardware.chip_name,
        chip_family=hardware.chip_family,
        hardware_model=hardware.machine_model,
        os_version=os_version,
        rdma_disabled=posture.rdma_disabled,
        secure_boot_enabled=posture.secure_boot_enabled,
        secure_enclave_available=not is_software_key,
        sip_enabled=posture.sip_enabled,
        binary_hash=binary_hash,
        platform=platform,
        dev_attestation=is_software_key,
        registration_nonce=registration_nonce,
    )
