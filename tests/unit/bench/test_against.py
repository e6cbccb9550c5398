"""A round of turns in which other programs had the processor."""

from types import SimpleNamespace
from typing import Any, cast

import pytest
from prep_triton.bench import against
from prep_triton.bench.against import REPEATS_IN_A_ROUND, LoadedSide, measure_round
from prep_triton.bench.measure import NoAnswerInTimeError, Plan
from prep_triton.bench.records import Load
from prep_triton.progress import ignore_progress

LOAD = Load(kind="closed", value=1)


@pytest.fixture
def turns(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int, float]]:
    """Answer every turn but the other side's second of a round; list which were measured, and after what warm-up."""
    taken: list[tuple[str, int, float]] = []

    def measure_case(client: str, case: Any, plan: Plan, repeat: int, tools: Any) -> list[str]:
        taken.append((client, repeat, plan.warmup_s))
        if client == "other" and repeat % REPEATS_IN_A_ROUND == 1:
            raise NoAnswerInTimeError("tiny answered no request within 0.3 s", hint="measure longer")
        return [f"{client} {repeat}"]

    workload = SimpleNamespace(model=SimpleNamespace(name="tiny"))
    monkeypatch.setattr(against, "measure_case", measure_case)
    monkeypatch.setattr(against, "list_cases", lambda workloads, plan: [((workload, LOAD),)])
    return taken


def measure(number: int) -> list[str]:
    plan = Plan(loads=(LOAD,), repeats=9, warmup_s=0.5, duration_s=0.4, seed=0, timeout_s=60.0)
    names: tuple[against.Side, ...] = ("own", "other")
    sides = [LoadedSide(name, cast("Any", name), (), cast("Any", None)) for name in names]
    return [cast("str", part) for _, part in measure_round((sides[0], sides[1]), plan, number, ignore_progress)]


def test_a_turn_without_an_answer_is_left_out_of_a_later_round(turns: list[tuple[str, int, float]]):
    assert measure(1) == ["other 3", "own 3", "own 4", "other 5", "own 5"]
    assert [warmup_s for _, _, warmup_s in turns] == [0.5, 0.5, 0.1, 0.1, 0.1, 0.1]


def test_in_the_first_round_it_says_that_turns_are_too_short(turns: list[tuple[str, int, float]]):
    with pytest.raises(NoAnswerInTimeError):
        measure(0)
