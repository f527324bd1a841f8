"""Version comparison."""

import pytest

from protocol.semver import Version, is_below, parse_rule, parse_version

ORDER = [
    "1.0.0-alpha",
    "1.0.0-alpha.1",
    "1.0.0-alpha.beta",
    "1.0.0-beta",
    "1.0.0-beta.2",
    "1.0.0-beta.11",
    "1.0.0-rc.1",
    "1.0.0",
    "1.0.1-0",
    "1.0.1",
    "1.2.0",
    "1.10.0",
    "2.0.0",
]


def version(text: str) -> Version:
    parsed = parse_version(text)
    assert parsed is not None
    return parsed


def test_precedence_follows_the_standard() -> None:
    parsed = [version(text) for text in ORDER]
    assert sorted(parsed, reverse=True) == parsed[::-1]
    assert len(set(parsed)) == len(parsed)


def test_build_metadata_is_ignored() -> None:
    assert version("0.6.31+b7") == version("0.6.31")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "junk",
        "1",
        "1.2",
        "v1.2.3",
        "01.2.3",
        "1.2.3-",
        "1.2.3-01",
        "1.2.3+",
        " 1.2.3",
        "1.2.3\n",
        "1.2.3.4",
        "١.2.3",
        "1.2." + "9" * 200,
    ],
)
def test_text_that_is_no_version(text: str) -> None:
    assert parse_version(text) is None


@pytest.mark.parametrize("text", ["", "0.6.30", "junk", "0.6.31-rc.1", "0.6.31-dev.1"])
def test_below_the_floor(text: str) -> None:
    assert is_below(text, "0.6.31")


@pytest.mark.parametrize("text", ["0.6.31", "0.6.31+b7", "0.10.0"])
def test_not_below_the_floor(text: str) -> None:
    assert not is_below(text, "0.6.31")


def test_no_floor_is_never_missed() -> None:
    assert not is_below("", "")


def test_unreadable_floor_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"'latest' is not SemVer"):
        is_below("1.0.0", "latest")


@pytest.mark.parametrize(
    ("rule", "hits", "misses"),
    [
        ("0.6.30", ["0.6.30", "0.6.30+x"], ["0.6.31", "0.6.30-rc.1"]),
        (">=0.6.0 <0.6.31", ["0.6.0", "0.6.30", "0.6.31-rc.1"], ["0.5.9", "0.6.31", "0.6.0-rc.1"]),
        ("<0.6.31 >=0.6.0", ["0.6.0"], ["0.6.31"]),
        ("<0.6.0", ["0.0.1"], ["0.6.0"]),
        (">=1.0.0", ["1.0.0", "9.0.0"], ["1.0.0-rc.1"]),
    ],
)
def test_rule(rule: str, hits: list[str], misses: list[str]) -> None:
    parsed = parse_rule(rule)
    assert all(parsed.matches(version(text)) for text in hits)
    assert not any(parsed.matches(version(text)) for text in misses)


@pytest.mark.parametrize(
    "rule", ["", "x", ">=x", ">=1.0.0 >=1.0.1", "1.0.0 1.0.1", "1.0.0 <2.0.0", ">1.0.0", "<=1.0.0"]
)
def test_unreadable_rule_is_an_error(rule: str) -> None:
    with pytest.raises(ValueError, match="rule"):
        parse_rule(rule)
