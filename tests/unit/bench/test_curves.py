"""What was under load at once: single entries, and the streams of a mix."""

import pytest
from prep_triton.bench.cost import cost_report
from prep_triton.bench.curves import find_holding, list_curves
from prep_triton.bench.records import Load, Point, Verdict

from tests.fakes.benched import CLOSED, make_points, make_report
from tests.unit.bench.test_cost import DAY, SMALL

MIX = "a=3,b=1"


def make_mixed(*rates: float, mix: str = MIX) -> list[Point]:
    """Points of a mix of `a`, three quarters, and `b` at each rate, in the order in which they were measured."""
    points: list[Point] = []
    for rate in rates:
        for name, share in (("a", 0.75), ("b", 0.25)):
            load = Load(kind="open", value=rate * share, arrivals="poisson", mix=mix)
            points += make_points([load], name=name, noise=0)
    return points


def judge(point: Point, state: str) -> Point:
    return point.model_copy(update={"verdict": Verdict(state=state, requests=1000, over=0)})


def test_entries_alone_are_curves_of_their_own():
    loads = [CLOSED, Load(kind="closed", value=8)]
    curves = list_curves([*make_points(loads, name="a"), *make_points(loads, name="b")])
    assert [[case.entry for case in curve] for curve in curves] == [["a", "a"], ["b", "b"]]
    assert [case.load for case in curves[0]] == ["concurrency 4", "concurrency 8"]
    assert list_curves([]) == ()


def test_a_mix_is_one_curve_whose_streams_add_up():
    (curve,) = list_curves(make_mixed(40, 80))
    assert [(case.entry, case.load) for case in curve] == [
        ("a, b", "40/s poisson, mixed"),
        ("a, b", "80/s poisson, mixed"),
    ]
    assert [case.inferences_per_s for case in curve] == pytest.approx([40, 80])
    # Of both models: 400 requests in each of five repeats of two seconds waited a millisecond each.
    assert curve[0].waiting_requests == pytest.approx(2 * 2000 * 0.001 / 10)
    rows = cost_report(make_report(tuple(make_mixed(40, 80))), SMALL, "on-demand", DAY, is_own_machine=True).rows
    assert [(row.entry, row.at) for row in rows] == [("a, b", "full_load"), ("a, b", "60_percent")]
    assert rows[0].inferences_per_s == pytest.approx(80)


def test_a_mix_holds_a_level_where_every_stream_does():
    first_a, first_b, second_a, second_b = (judge(point, "met") for point in make_mixed(40, 80))
    (curve,) = list_curves([first_a, first_b, second_a, judge(second_b, "not met")])
    assert find_holding(curve) == curve[0]
    late = first_b.model_copy(update={"sustained": False})
    assert [case.is_counting for case in list_curves([first_a, late, second_a, second_b])[0]] == [False, True]


def test_streams_of_one_model_count_its_queue_once():
    mix = "a@1=1,a@2=1"
    loads = [Load(kind="open", value=20, arrivals="poisson", priority=level, mix=mix) for level in (1, 2)]
    (curve,) = list_curves([point for load in loads for point in make_points([load], name="a", noise=0)])
    assert curve[0].entry == "a"
    assert curve[0].waiting_requests == pytest.approx(2000 * 0.001 / 10)
    assert curve[0].load == "40/s poisson, mixed"


def test_the_part_of_a_mix_that_was_ended_is_left_out():
    (curve,) = list_curves(make_mixed(40, 80)[:3])
    assert [case.load for case in curve] == ["40/s poisson, mixed"]
