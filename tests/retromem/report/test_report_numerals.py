"""Numbers as the report writes them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retromem.report.numerals import bytes_text, list_text, percent_text, seconds_text, significant_text


@pytest.mark.parametrize(
    ("share", "text"),
    [(0.99, "99 %"), (0.98999, "98.9 %"), (0.9999, "99.9 %"), (1.0, "100 %"), (0.29, "29 %"), (0.0, "0 %")],
)
def test_percent_is_cut(share: float, text: str) -> None:
    assert percent_text(share) == text


@given(st.floats(0, 1))
def test_percent_never_claims_more(share: float) -> None:
    printed = float(percent_text(share).removesuffix(" %")) / 100
    assert share - 0.001 - 1e-6 <= printed <= share + 1e-6


@pytest.mark.parametrize(
    ("num_bytes", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1 kB"), (36_400, "36.4 kB"), (999_700, "1 MB"), (6_150_000, "6.15 MB")],
)
def test_bytes(num_bytes: int, text: str) -> None:
    assert bytes_text(num_bytes) == text


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0"),
        (2.637, "2.64"),
        (0.9996, "1.00"),
        (26.37, "26.4"),
        (17_412.0, "17,400"),
        (0.00302, "0.00302"),
        (3e-5, "3.0e-05"),
    ],
)
def test_significant(number: float, text: str) -> None:
    assert significant_text(number) == text


def test_seconds_and_lists() -> None:
    assert [seconds_text(number) for number in (0.0000871, 0.0123, 81.2)] == ["87.1 µs", "12.3 ms", "81.2 s"]
    assert [list_text(list(names)) for names in ("a", "ab", "abc")] == ["a", "a and b", "a, b and c"]
