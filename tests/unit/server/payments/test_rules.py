"""The pure rules: fees, agreements, our view of an account, and where a payee may be sent."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.payments.account_status import AccountView, currently_due, payout_interval, view_of
from server.payments.countries import OFFERED, agreement_of, required_agreement
from server.payments.fees import Method, quote_withdrawal
from server.payments.redirects import is_safe_redirect
from server.payments.stripe_objects import Account, ExternalAccount, ExternalAccounts, Requirements


@pytest.mark.parametrize(
    ("gross", "method", "fee", "net", "cents", "dust"),
    [
        (10_000_000, "standard", 0, 10_000_000, 1000, 0),
        (10_000_000, "instant", 500_000, 9_500_000, 950, 0),
        (33_330_000, "instant", 500_000, 32_830_000, 3283, 0),
        (33_340_000, "instant", 500_100, 32_839_900, 3283, 9_900),
        (50_000_000, "instant", 750_000, 49_250_000, 4925, 0),
        (1_000_000, "instant", 500_000, 500_000, 50, 0),
        (1_000_000, "standard", 0, 1_000_000, 100, 0),
    ],
)
def test_fee_table(gross: int, method: Method, fee: int, net: int, cents: int, dust: int) -> None:
    quote = quote_withdrawal(gross, method)
    assert quote is not None
    assert (quote.fee_micro_usd, quote.net_micro_usd, quote.cents, quote.dust_micro_usd) == (fee, net, cents, dust)


@pytest.mark.parametrize("method", ["standard", "instant"])
@pytest.mark.parametrize("gross", [990_000, 0, -1])
def test_below_the_minimum_there_is_no_quote(gross: int, method: Method) -> None:
    assert quote_withdrawal(gross, method) is None


@given(gross=st.integers(1_000_000, 2**53 - 1), method=st.sampled_from(["standard", "instant"]))
def test_nothing_of_a_withdrawal_is_lost(gross: int, method: Method) -> None:
    quote = quote_withdrawal(gross, method)
    assert quote is not None
    assert quote.fee_micro_usd + quote.cents * 10_000 + quote.dust_micro_usd == gross
    assert quote.fee_micro_usd >= 0
    assert 0 <= quote.dust_micro_usd < 10_000
    assert quote.cents >= 1


@pytest.mark.parametrize(
    ("platform", "account", "agreement"),
    [
        ("US", "US", "full"),
        ("US", "", "full"),
        ("IN", "IN", "full"),
        ("US", "DE", "full"),
        ("US", "GB", "full"),
        ("DE", "NO", "full"),
        ("US", "CH", "full"),
        ("US", "LI", "full"),
        ("US", "JP", "recipient"),
        ("US", "IN", "recipient"),
        ("JP", "US", "recipient"),
        ("US", "BR", "recipient"),
    ],
)
def test_required_agreement(platform: str, account: str, agreement: str) -> None:
    assert required_agreement(platform, account) == agreement


def test_agreement_that_stripe_leaves_out_is_full() -> None:
    assert [agreement_of(one) for one in (None, "", "full", "recipient")] == ["full", "full", "full", "recipient"]


def test_countries_offered() -> None:
    assert len(OFFERED) == 46
    assert {"US", "JP", "AE", "GR"} <= OFFERED
    assert not {"CN", "RU", "KP", "LI", "IS", "us"} & OFFERED


def account(**changes: object) -> Account:
    return Account(id="acct_1", country="us", **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({}, "pending"),
        ({"payouts_enabled": True}, "ready"),
        ({"payouts_enabled": True, "requirements": Requirements(disabled_reason="rejected.fraud")}, "rejected"),
        ({"payouts_enabled": True, "requirements": Requirements(currently_due=["tax_id"])}, "ready"),
        ({"details_submitted": True, "requirements": Requirements(currently_due=["tax_id"])}, "restricted"),
        ({"details_submitted": False, "requirements": Requirements(currently_due=["tax_id"])}, "pending"),
        ({"details_submitted": True, "requirements": Requirements(currently_due=[])}, "pending"),
        ({"details_submitted": True, "requirements": Requirements(disabled_reason="requirements.past_due")}, "pending"),
    ],
)
def test_local_status(changes: dict[str, object], status: str) -> None:
    assert view_of(account(**changes)).status == status


BANK = ExternalAccount(object="bank_account", last4="6789")
DEBIT = ExternalAccount(object="card", last4="4242", funding="debit")
CREDIT = ExternalAccount(object="card", last4="1111", funding="credit", default_for_currency=True)


@pytest.mark.parametrize(
    ("listed", "kind", "last4", "instant"),
    [
        ([], "", "", False),
        ([BANK, DEBIT], "bank", "6789", False),
        ([DEBIT, BANK], "card", "4242", True),
        ([BANK, CREDIT], "card", "1111", False),
        ([ExternalAccount(object="wallet")], "", "", False),
    ],
)
def test_destination(listed: list[ExternalAccount], kind: str, last4: str, instant: bool) -> None:
    assert view_of(account(external_accounts=ExternalAccounts(data=listed))) == AccountView(
        stripe_account_id="acct_1",
        status="pending",
        country="US",
        destination_type=kind,
        destination_last4=last4,
        instant_eligible=instant,
    )


def test_account_of_which_stripe_says_nothing() -> None:
    bare = account()
    assert (currently_due(bare), payout_interval(bare)) == ([], "")


OWN = "https://console.example.test/billing"


@pytest.mark.parametrize(
    "target",
    [
        "http://localhost:3000/x",
        "http://127.0.0.1/x",
        "http://[::1]:8080/x",
        "https://console.example.test/other?stripe_return=1",
        "https://console.example.test:8443/",
    ],
)
def test_own_pages_are_safe(target: str) -> None:
    assert is_safe_redirect(target, configured=OWN)


@pytest.mark.parametrize(
    "target",
    [
        "",
        "https://evil.test/",
        "https://console.example.test.evil.test/",
        "https://evil.test/console.example.test",
        "https://console.example.test@evil.test/",
        "https://user:pw@console.example.test/",
        "http://console.example.test/",
        "javascript:alert(1)",
        "//console.example.test/",
        "ftp://localhost/",
        "https://console.example.test\\@evil.test/",
        "https://console.example.test/\nx",
        "https://[bad/",
        "https://console.example.test:port/",
        "https://localhost.evil.test/",
        "https://console.example.test/" + "x" * 2048,
    ],
)
def test_other_places_are_not(target: str) -> None:
    assert not is_safe_redirect(target, configured=OWN)


def test_without_configuration_https_is_safe() -> None:
    assert is_safe_redirect("https://anywhere.test/", configured=None)
    assert not is_safe_redirect("http://anywhere.test/", configured=None)
