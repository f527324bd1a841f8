"""Every refusal of deposits and payouts, with its public status, stable code and remedy."""

from __future__ import annotations

from protocol.api.errors import ApiError, invalid_request


def not_configured() -> ApiError:
    """503: this coordinator sells nothing and pays nobody."""
    return ApiError(503, "billing_error", "Payments are not configured on this coordinator; ask its operator.")


def stripe_failed(text: str = "Stripe cannot be reached; try again in a minute.") -> ApiError:
    """502 for every failure of Stripe."""
    return ApiError(502, "stripe_error", text)


def unknown_referral_code() -> ApiError:
    """400 for a code that nobody registered."""
    return invalid_request("This referral code is not known; check it or leave it out.", param="referral_code")


def country_needed() -> ApiError:
    """400 for a first account without its country."""
    return invalid_request(
        "A country is needed for the first payout account; send two letters, such as US.", param="country"
    )


def country_not_offered(country: str) -> ApiError:
    """400 for a country to which we cannot pay."""
    return invalid_request(f"Payouts to {country[:20]!r} are not offered; choose another country.", param="country")


def unsafe_redirect(param: str) -> ApiError:
    """400 for a return address outside the console."""
    return invalid_request(f"{param} is not allowed; use an address of the console.", param=param)


def no_payee() -> ApiError:
    """401 for callers that are no person."""
    return ApiError(401, "auth_error", "Payouts need an account of a person; sign in with one.")


def not_onboarded(text: str = "No payout account is ready; finish the set-up with Stripe first.") -> ApiError:
    """403 until Stripe pays this person out."""
    return ApiError(403, "not_onboarded", text)


def account_gone() -> ApiError:
    """409 when Stripe no longer has the account; it was unlinked."""
    return ApiError(409, "stripe_account_gone", "Stripe no longer has this payout account; set up a new one.")


def recreate_required() -> ApiError:
    """409 when the account can never receive our transfers."""
    return ApiError(
        409,
        "stripe_account_recreate_required",
        "This payout account has an agreement that allows no transfers from here; set up a new one.",
    )


def instant_unavailable() -> ApiError:
    """400 without a debit card."""
    return invalid_request(
        "Instant payouts need a debit card as destination; add one at Stripe or choose the standard method.",
        param="method",
        code="instant_unavailable",
    )


def below_minimum() -> ApiError:
    """400 below one dollar."""
    return invalid_request("The smallest withdrawal is 1.00 USD; ask for more.", param="amount_usd")


def insufficient_withdrawable() -> ApiError:
    """400 when the free earnings are less; credits that were bought cannot be withdrawn."""
    return invalid_request(
        "This is more than your withdrawable balance; ask for less.",
        param="amount_usd",
        code="insufficient_withdrawable",
    )


def under_review() -> ApiError:
    """403 while the operator looks at an account's first withdrawal; nothing left the account."""
    return ApiError(
        403,
        "payout_under_review",
        "The operator reviews this account before its first withdrawal; ask again in a few days. Nothing was taken.",
    )


def key_conflict() -> ApiError:
    """409 for one Idempotency-Key with two meanings."""
    return ApiError(
        409, "idempotency_conflict", "This Idempotency-Key was used for another withdrawal; send a new key."
    )


def outcome_unconfirmed() -> ApiError:
    """502 while Stripe's answer is not known."""
    return ApiError(
        502,
        "stripe_error",
        "The outcome of the withdrawal is unconfirmed; the amount is on hold until Stripe answers. "
        "Do not withdraw it again.",
        code="outcome_unconfirmed",
        retryable=False,
    )


def transfer_rejected() -> ApiError:
    """502 after a refused transfer; nothing left the account."""
    return stripe_failed("Stripe refused the transfer; the amount is back in your balance. Try again later.")
