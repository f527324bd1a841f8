"""Who this machine is: the identity key, its measured posture, and what it signs."""

from provider.identity.binary import entry_file, file_hash
from provider.identity.facts import attestation_facts
from provider.identity.key_file import KEY_FILE_NAME, KeyFileRefused, load_or_create_signer
from provider.identity.posture import MachinePosture, PostureReader, detect_posture
from provider.identity.runtime_hash import code_roots, runtime_hash

__all__ = [
    "KEY_FILE_NAME",
    "KeyFileRefused",
    "MachinePosture",
    "PostureReader",
    "attestation_facts",
    "code_roots",
    "detect_posture",
    "entry_file",
    "file_hash",
    "load_or_create_signer",
    "runtime_hash",
]
