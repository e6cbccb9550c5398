from hypothesis import given
from hypothesis import strategies as st
from prep_triton.precision.int8.sensitivity import count_kept_out, describe_worst, take_rows
from prep_triton.precision.measure.token_rows import TokenRow

ORDER = ["a", "b", "c", "d", "e"]


@given(st.integers(0, len(ORDER)))
def test_bisection_keeps_out_the_fewest(fewest):
    assert count_kept_out(ORDER, lambda on: len(on) <= len(ORDER) - fewest) == fewest


def test_bisection_keeps_out_all_where_nothing_helps():
    assert count_kept_out(ORDER, lambda _: False) == len(ORDER)


def test_the_most_damaging_layers_go_first():
    assert count_kept_out(ORDER, lambda on: "b" not in on) == 2


def test_sensitivity_rows_are_few_and_never_none():
    row = TokenRow((1,) * 60, (0,) * 60)
    assert len(take_rows([row] * 50)) == 2
    assert len(take_rows([TokenRow((1,) * 512, (0,) * 512)] * 2)) == 1
    assert len(take_rows([TokenRow((1,), (0,))] * 50)) == 8


def test_the_worst_layers_are_named_with_their_cost():
    assert describe_worst({"x": 0.0123, "y": 0.001, "z": 1e-5, "w": 0.0}) == "x (0.012), y (0.001), z (1e-05)"
