"""Settings of accounts: privileged keys, the identity provider, local sign-in, and rate limits."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from protocol.settings import Secret, boolean, choice, integer, number, secret, secrets, setting, text, url, words

MIN_KEY_CHARACTERS: Final = 24
_MAX_RATE: Final = 1_000_000
_MAX_TOKENS: Final = 10**12


@dataclass(frozen=True, kw_only=True)
class AccountSettings:
    """Rates in units a second, `…TPM` in tokens a minute; 0 turns a limit off."""

    # --- privileged keys ---
    admin_keys: tuple[Secret, ...] = setting(
        "ADMIN_KEYS",
        secrets(),
        default=(),
        group="Accounts",
        meaning="Keys of administrators, several during a rotation; at least 24 characters each.",
    )
    admin_emails: tuple[str, ...] = setting(
        "ADMIN_EMAILS",
        words(),
        default=(),
        group="Accounts",
        meaning="Addresses whose owners are administrators when the identity provider has verified them.",
    )
    release_key: Secret | None = setting(
        "RELEASE_KEY",
        secret(),
        default=None,
        group="Accounts",
        meaning="Key that may register releases and nothing else; at least 24 characters.",
    )
    publishing_key: Secret | None = setting(
        "PUBLISHING_KEY",
        secret(),
        default=None,
        group="Accounts",
        meaning="First key that may publish models; at least 24 characters.",
    )

    # --- sign-in ---
    console_url: str | None = setting(
        "CONSOLE_URL",
        url("http", "https"),
        default=None,
        group="Accounts",
        meaning="Origin of the web console, which `darkbloom login` shows; without it the request's own host.",
    )
    local_auth: bool | None = setting(
        "LOCAL_AUTH",
        boolean(),
        default=None,
        group="Accounts",
        meaning="Sign-in with a name and password; without it, only when Privy is not configured.",
    )
    signup: str = setting(
        "SIGNUP",
        choice("closed", "invite", "open"),
        default="closed",
        group="Accounts",
        meaning="Who may make a local account.",
    )
    privy_app_id: str | None = setting(
        "PRIVY_APP_ID", text(), default=None, group="Accounts", meaning="App id at Privy; turns its sign-in on."
    )
    privy_app_secret: Secret | None = setting(
        "PRIVY_APP_SECRET",
        secret(),
        default=None,
        group="Accounts",
        meaning="App secret at Privy: for users' addresses and one-time codes.",
    )
    privy_verification_key: Secret | None = setting(
        "PRIVY_VERIFICATION_KEY",
        secret(),
        default=None,
        group="Accounts",
        meaning="Public key (P-256, PEM, line ends may be `\\n`) of Privy's tokens; wins over `PRIVY_JWKS_URL`.",
    )
    privy_jwks_url: str | None = setting(
        "PRIVY_JWKS_URL",
        url("http", "https"),
        default=None,
        group="Accounts",
        meaning="Where Privy's rotating public keys are.",
    )
    privy_api_url: str = setting(
        "PRIVY_API_URL",
        url("http", "https"),
        default="https://auth.privy.io",
        group="Accounts",
        meaning="Origin of Privy's API.",
    )

    # --- rate limits ---
    rate_limit_rps: float = setting(
        "RATE_LIMIT_RPS",
        number(0, _MAX_RATE),
        default=20.0,
        group="Rate limits",
        meaning="Inference requests a second of an account; 0: no limit.",
    )
    rate_limit_burst: int = setting(
        "RATE_LIMIT_BURST",
        integer(1, _MAX_RATE),
        default=120,
        group="Rate limits",
        meaning="Inference requests of an account that may come at once.",
    )
    rate_limit_itpm: int = setting(
        "RATE_LIMIT_ITPM",
        integer(0, _MAX_TOKENS),
        default=5_000_000,
        group="Rate limits",
        meaning="Prompt tokens a minute of an account; 0: no limit.",
    )
    rate_limit_itpm_burst: int = setting(
        "RATE_LIMIT_ITPM_BURST",
        integer(1, _MAX_TOKENS),
        default=1_000_000,
        group="Rate limits",
        meaning="Prompt tokens of an account that may come at once.",
    )
    rate_limit_otpm: int = setting(
        "RATE_LIMIT_OTPM",
        integer(0, _MAX_TOKENS),
        default=500_000,
        group="Rate limits",
        meaning="Output tokens a minute of an account; 0: no limit.",
    )
    rate_limit_otpm_burst: int = setting(
        "RATE_LIMIT_OTPM_BURST",
        integer(1, _MAX_TOKENS),
        default=64_000,
        group="Rate limits",
        meaning="Output tokens of an account that may be asked for at once.",
    )
    financial_rate_limit_rps: float = setting(
        "FINANCIAL_RATE_LIMIT_RPS",
        number(0, _MAX_RATE),
        default=0.2,
        group="Rate limits",
        meaning="Calls a second of an account that move money or make credentials; 0: no limit.",
    )
    financial_rate_limit_burst: int = setting(
        "FINANCIAL_RATE_LIMIT_BURST",
        integer(1, _MAX_RATE),
        default=3,
        group="Rate limits",
        meaning="Such calls that may come at once.",
    )
    service_rate_limit_rps: float = setting(
        "SERVICE_RATE_LIMIT_RPS",
        number(0, _MAX_RATE),
        default=200.0,
        group="Rate limits",
        meaning="Inference requests a second of a service account; 0: no limit.",
    )
    service_rate_limit_burst: int = setting(
        "SERVICE_RATE_LIMIT_BURST",
        integer(1, _MAX_RATE),
        default=600,
        group="Rate limits",
        meaning="Inference requests of a service account that may come at once.",
    )
    service_rate_limit_itpm: int = setting(
        "SERVICE_RATE_LIMIT_ITPM",
        integer(0, _MAX_TOKENS),
        default=50_000_000,
        group="Rate limits",
        meaning="Prompt tokens a minute of a service account; 0: no limit.",
    )
    service_rate_limit_itpm_burst: int = setting(
        "SERVICE_RATE_LIMIT_ITPM_BURST",
        integer(1, _MAX_TOKENS),
        default=5_000_000,
        group="Rate limits",
        meaning="Prompt tokens of a service account that may come at once.",
    )
    service_rate_limit_otpm: int = setting(
        "SERVICE_RATE_LIMIT_OTPM",
        integer(0, _MAX_TOKENS),
        default=5_000_000,
        group="Rate limits",
        meaning="Output tokens a minute of a service account; 0: no limit.",
    )
    service_rate_limit_otpm_burst: int = setting(
        "SERVICE_RATE_LIMIT_OTPM_BURST",
        integer(1, _MAX_TOKENS),
        default=512_000,
        group="Rate limits",
        meaning="Output tokens of a service account that may be asked for at once.",
    )
    service_rate_limit_estimate: bool = setting(
        "SERVICE_RATE_LIMIT_ESTIMATE",
        boolean(),
        default=False,
        group="Rate limits",
        meaning="Count a quarter of the output that a service account may get (512 to 8,192 tokens) until it is known.",
    )

    @property
    def local_auth_on(self) -> bool:
        """Whether a name and password can sign in."""
        return self.privy_app_id is None if self.local_auth is None else self.local_auth


def account_problems(settings: AccountSettings, *, production: bool) -> Iterable[str]:
    """Name every rule that the settings of accounts break; never a secret."""
    named: list[tuple[str, Secret | None]] = [("ADMIN_KEYS", one) for one in settings.admin_keys]
    named += [("RELEASE_KEY", settings.release_key), ("PUBLISHING_KEY", settings.publishing_key)]
    for name, key in named:
        if key is not None and len(key.reveal()) < MIN_KEY_CHARACTERS:
            yield (
                f"DARKBLOOM_{name} holds a key with fewer than {MIN_KEY_CHARACTERS} characters; "
                "make one with `openssl rand -hex 32`."
            )
    if settings.privy_app_id is not None:
        yield from _privy_problems(settings, production=production)
    elif settings.privy_app_secret or settings.privy_verification_key or settings.privy_jwks_url:
        yield "DARKBLOOM_PRIVY_APP_ID is not set, but other settings of Privy are; set it, or unset them."


def _privy_problems(settings: AccountSettings, *, production: bool) -> Iterable[str]:
    key = settings.privy_verification_key
    if key is None and settings.privy_jwks_url is None:
        yield (
            "DARKBLOOM_PRIVY_APP_ID is set without a key to verify tokens with; "
            "set DARKBLOOM_PRIVY_VERIFICATION_KEY or DARKBLOOM_PRIVY_JWKS_URL."
        )
    if key is not None:
        # Not imported above: it loads the cryptography library, which most starts do not need.
        from server.accounts.privy_tokens import load_public_key

        try:
            load_public_key(key.reveal())
        except ValueError as error:
            yield f"DARKBLOOM_PRIVY_VERIFICATION_KEY cannot be used: {error}"
    for name, address in (("JWKS_URL", settings.privy_jwks_url), ("API_URL", settings.privy_api_url)):
        if production and address is not None and not address.startswith("https://"):
            yield f"DARKBLOOM_PRIVY_{name} must be an https address with DARKBLOOM_ENV=production."
