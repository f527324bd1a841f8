"""Whose machine this is: the token that links it to an account, and the ways to get it and to give it back."""

from provider.account.device_login import Linked, LoginFailed, UserCode, log_in
from provider.account.door import CoordinatorDoor, DoorFailed, door_address
from provider.account.registration import RegistrationToken
from provider.account.token_file import TOKEN_FILE_NAME, MachineToken, TokenFile, TokenFileExists, TokenFileRefused

__all__ = [
    "TOKEN_FILE_NAME",
    "CoordinatorDoor",
    "DoorFailed",
    "Linked",
    "LoginFailed",
    "MachineToken",
    "RegistrationToken",
    "TokenFile",
    "TokenFileExists",
    "TokenFileRefused",
    "UserCode",
    "door_address",
    "log_in",
]
