"""What can be known of running engines without a GPU."""

import pytest
from prep_triton.engine import execute
from prep_triton.engine.device import WARM_UP_RUNS, time_in_turn
from prep_triton.engine.execute import (
    check_executable,
    describe_engine,
    find_execution_problem,
    measure_latencies_ms,
    run_engine,
)
from prep_triton.errors import EngineError, SpecError
from prep_triton.spec import OptimizationProfile

from scripts.benchmarks.records import make_plan
from tests.fakes.machines import make_machine

PROFILES = (
    OptimizationProfile(min=(1, 1), opt=(8, 32), max=(16, 32)),
    OptimizationProfile(min=(1, 33), opt=(8, 64), max=(16, 64)),
)


def engine(capability="8.9", builder="tensorrt", **spec):
    return make_plan("l4", name="tiny", builder=builder, compute_capability=capability, profiles=PROFILES, spec=spec)


L4_MACHINE = make_machine("l4")


def test_a_machine_without_a_driver_runs_no_engine(monkeypatch):
    machine = make_machine()
    monkeypatch.setattr(execute, "detect_machine", lambda: machine)
    with pytest.raises(EngineError, match="tiny cannot run here: there is no NVIDIA driver") as caught:
        run_engine(engine(), [])
    assert "8.9" in caught.value.hint
    with pytest.raises(EngineError, match="no NVIDIA driver"):
        measure_latencies_ms([engine()], [(1, 32)], machine)
    with pytest.raises(EngineError, match="no NVIDIA driver"):
        describe_engine(engine(), machine)


def test_an_engine_of_a_builder_that_is_not_here_does_not_run():
    with pytest.raises(EngineError, match="tiny cannot run here: it is not installed"):
        check_executable(engine(), make_machine("l4", builders=["tensorrt-rtx"]))


@pytest.mark.parametrize(
    ("built", "problem"),
    [
        (engine("8.9"), None),
        (engine("7.5"), "it was built for compute capability 7.5, here: 8.9"),
        (engine("8.0", hardware_compatible="ampere_plus"), None),
        (engine("8.0", hardware_compatible="none"), "it was built for compute capability 8.0, here: 8.9"),
    ],
)
def test_an_engine_runs_on_its_architecture_or_on_ampere_and_newer(built, problem):
    assert find_execution_problem(built, L4_MACHINE) == problem


def test_engines_of_two_builders_are_not_timed_in_one_process():
    with pytest.raises(SpecError, match="cannot be timed in one process") as caught:
        measure_latencies_ms([engine(), engine(builder="tensorrt-rtx")], [(1, 32)], L4_MACHINE)
    assert "--builder" in caught.value.hint


def test_every_shape_is_measured_with_the_profile_that_takes_it(monkeypatch):
    asked = []

    def answer(request, **_):
        asked.append(request)
        return {"latencies_ms": [[1.0, 2.0]]}

    monkeypatch.setattr(execute, "run_worker", answer)
    assert measure_latencies_ms([engine()], [(1, 32), (8, 64)], L4_MACHINE) == [[1.0, 2.0]]
    assert (asked[0]["task"], asked[0]["profiles"], asked[0]["shapes"]) == ("measure", [[0, 1]], [[1, 32], [8, 64]])


def test_a_shape_that_no_profile_takes_is_refused():
    with pytest.raises(SpecError, match="the engine takes no 32x64, only 1x1,8x32,16x32; 1x33,8x64,16x64") as caught:
        measure_latencies_ms([engine()], [(32, 64)], L4_MACHINE)
    assert "--seq-lens" in caught.value.hint


def test_steps_are_timed_in_turn():
    message = []
    medians = time_in_turn([lambda: message.append("a"), lambda: message.append("b")], runs=3)
    assert message == ["a", "b"] * (WARM_UP_RUNS + 3)
    assert len(medians) == 2
    assert all(seconds >= 0 for seconds in medians)
