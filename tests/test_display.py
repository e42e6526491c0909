"""Prints that are equal on every machine."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gpt_from_scratch import rounded

FINITE = st.floats(allow_nan=False, allow_infinity=False)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0.123456, "0.1235"),
        (-0.123456, "-0.1235"),
        (2.0, "2.0"),
        (1234567.89012, "1234567.8901"),
        (0.00001, "0.0"),
        (-0.00001, "0.0"),
        (-0.0, "0.0"),
        (0.0, "0.0"),
        (7, "7"),
        (-7, "-7"),
        (True, "True"),
        (math.inf, "inf"),
        (-math.inf, "-inf"),
        (math.nan, "nan"),
        (torch.tensor(-0.00001), "0.0"),
        (torch.tensor([[0.12345678, -0.0], [1, 2]]), "[[0.1235, 0.0], [1.0, 2.0]]"),
        (torch.tensor([1, 2]), "[1, 2]"),
        (torch.tensor([True, False]), "[True, False]"),
        (torch.tensor([0.5], dtype=torch.bfloat16), "[0.5]"),
        (torch.tensor([1.00004], requires_grad=True), "[1.0]"),
        (torch.ones(0), "[]"),
        ([1.00004, (2, -0.0), {"a": [0.33333]}], "[1.0, (2, 0.0), {'a': [0.3333]}]"),
        (
            {"x": torch.tensor([0.66666]), 1.23456: -0.0},
            "{'x': [0.6667], 1.23456: 0.0}",
        ),
        ([], "[]"),
        ((), "()"),
        ({}, "{}"),
    ],
)
def test_printed_form(value, expected):
    assert repr(rounded(value)) == expected


@pytest.mark.parametrize(
    ("value", "decimals", "expected"),
    [
        (0.123456, 0, "0.0"),
        (0.7, 0, "1.0"),
        (-0.4, 0, "0.0"),
        (0.123456, 1, "0.1"),
        (0.123456, 6, "0.123456"),
        ([0.126, 9.994], 2, "[0.13, 9.99]"),
        ({"a": (0.126,)}, 1, "{'a': (0.1,)}"),
    ],
)
def test_decimals(value, decimals, expected):
    assert repr(rounded(value, decimals)) == expected
    assert repr(rounded(value, decimals=decimals)) == expected


@pytest.mark.parametrize(
    ("value", "significant", "expected"),
    [
        (0.000201735, 4, "0.0002017"),
        (0.000201735, 1, "0.0002"),
        (123456.789, 4, "123500.0"),
        (-0.0, 4, "0.0"),
        (-1.23456e-9, 2, "-1.2e-09"),
        (123456, 2, "123456"),
        (True, 1, "True"),
        (math.inf, 3, "inf"),
        ([1.23456, {"a": (0.0123456,)}], 3, "[1.23, {'a': (0.0123,)}]"),
        (torch.tensor([1234.5678, 0.00012345678]), 4, "[1235.0, 0.0001235]"),
    ],
)
def test_significant_digits(value, significant, expected):
    assert repr(rounded(value, significant=significant)) == expected


def test_structures_are_new():
    values = [0.123456, {"a": [1.0]}]
    out = rounded(values)
    out[1]["a"].append(2)
    assert values == [0.123456, {"a": [1.0]}]


@given(FINITE, st.integers(0, 10))
def test_decimals_are_near_and_zero_has_no_sign(value, decimals):
    out = rounded(value, decimals)
    tolerance = 0.5 * 10**-decimals * (1 + 1e-9)
    assert abs(out - value) <= max(tolerance, 1e-15 * abs(value))
    assert out != 0 or math.copysign(1, out) == 1
    assert rounded(out, decimals) == out


@given(FINITE.filter(lambda value: abs(value) < 1e300), st.integers(1, 15))
def test_significant_digits_are_near_and_zero_has_no_sign(value, significant):
    out = rounded(value, significant=significant)
    digits = f"{out:e}".split("e")[0].replace(".", "").strip("-0")
    assert len(digits) <= significant
    assert out == pytest.approx(value, rel=0.51 * 10 ** (1 - significant), abs=5e-324)
    assert out != 0 or math.copysign(1, out) == 1
    assert rounded(out, significant=significant) == out


@given(st.recursive(st.integers() | st.booleans(), st.lists, max_leaves=8))
def test_integers_and_booleans_are_untouched(values):
    assert repr(rounded(values, significant=1)) == repr(values)


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ("0.5", "str"),
        (None, "NoneType"),
        ({1.0}, "set"),
        (1j, "complex"),
        (torch.tensor([1j]), "complex"),
        ([1.0, [None]], "NoneType"),
        ({"a": "b"}, "str"),
    ],
)
def test_only_numbers(values, kind):
    with pytest.raises(TypeError, match=f"^rounded takes numbers, got {kind}$"):
        rounded(values)


@pytest.mark.parametrize(
    ("digits", "error", "message"),
    [
        ({"decimals": -1}, ValueError, "^decimals must be at least 0, got -1$"),
        ({"decimals": 2.0}, TypeError, r"^decimals must be an integer, got 2\.0$"),
        ({"decimals": None}, TypeError, "^decimals must be an integer, got None$"),
        ({"decimals": True}, TypeError, "^decimals must be an integer, got True$"),
        ({"significant": 0}, ValueError, "^significant must be at least 1, got 0$"),
        ({"significant": 2.0}, TypeError, r"^significant must be an integer, got 2\.0"),
    ],
)
def test_wrong_digits(digits, error, message):
    """Even where nothing is to be rounded."""
    for values in (0.5, []):
        with pytest.raises(error, match=message):
            rounded(values, **digits)


def test_significant_is_given_by_name():
    with pytest.raises(TypeError, match="positional"):
        rounded(0.5, 4, 3)
