"""Axes and their ticks, for any values."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prep_triton.bench.report.svg import axis_over, element
from prep_triton.bench.report.text import clean, format_number

VALUES = st.lists(st.floats(min_value=0, allow_nan=False, allow_infinity=False), min_size=1, max_size=8)


@given(VALUES)
def test_every_value_has_a_place_and_the_ticks_are_on_the_axis(values: list[float]):
    axis = axis_over(values, 10.0, 110.0)
    places = [axis.place(value) for value in sorted(values)]
    assert places == sorted(places)
    assert all(10 - 1e-6 <= place <= 110 + 1e-6 for place in places)
    ticks = axis.ticks()
    assert len(ticks) <= 7
    assert all(axis.low <= tick <= axis.high * (1 + 1e-9) for tick in ticks)
    assert ticks == sorted(set(ticks))


def test_what_spans_much_is_logarithmic_and_what_does_not_begins_at_zero():
    assert axis_over([1, 2, 4, 16], 0, 1).ticks() == [1, 2, 5, 10]
    assert not axis_over([4, 24], 0, 1).is_log
    assert axis_over([4, 24], 0, 1).low == 0
    assert axis_over([4, 24], 0, 1).ticks() == [0, 5, 10, 15, 20, 25]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (0.01234, "0.0123"),
        (1.5, "1.50"),
        (99.96, "100.0"),
        (1234.5, "1,234"),
        (45.67, "45.7"),
        (1e300, "1.00e+300"),
    ],
)
def test_a_figure_has_three_digits(value: float, text: str):
    assert format_number(value) == text


@given(st.text())
def test_any_text_becomes_a_line_that_a_file_holds(text: str):
    cleaned = clean(text)
    cleaned.encode()
    assert len(cleaned) <= 160
    assert "\n" not in cleaned


def test_an_elements_attributes_are_escaped():
    assert element("g", class_='a"b', stroke_width=1.26, x="") == '<g class="a&quot;b" stroke-width="1.3"/>'
