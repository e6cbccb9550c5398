"""Several entries at once: what each gets of a load, and loops that begin and end together."""

import threading
import time

import numpy as np
import pytest
from prep_triton.bench.generator import ClosedLoop, OpenLoop, Timing, measure_window
from prep_triton.bench.loads import parse_rates
from prep_triton.bench.measure import Plan, list_cases
from prep_triton.bench.mix import LoopGroup, Mix, SenderGroup, Stream, parse_mix
from prep_triton.bench.records import Load
from prep_triton.errors import ServerError, SpecError

from tests.fakes.benched import CLOSED, OPEN, make_workload
from tests.unit.bench.test_generator import FakeSender


def test_a_mix_is_read_and_said_as_it_is_written():
    mix = parse_mix("a-int8=3, b.fp32@2 ,a-int8@1=0.5")
    assert mix.streams == (Stream("a-int8", 3.0), Stream("b.fp32", 1.0, 2), Stream("a-int8", 0.5, 1))
    assert mix.describe() == "a-int8=3,b.fp32@2=1,a-int8@1=0.5"
    assert parse_mix(mix.describe()) == mix
    assert [stream.priority for stream in mix.with_priority(4).streams] == [4, 2, 1]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a", "has 1 streams, of 2 to 16"),
        ("a=1,", "is not a list of entries and their shares"),
        ("a=x,b=1", "is not a list of entries and their shares"),
        ("a=0,b=1", "is not a list of entries and their shares"),
        ("a@=1,b=1", "is not a list of entries and their shares"),
        ("a=1,b=1,a=2", "names a twice with the same priority"),
        (",".join(f"e{number}" for number in range(17)), "has 17 streams, of 2 to 16"),
    ],
)
def test_what_is_no_mix_is_refused(text: str, message: str):
    with pytest.raises(SpecError, match=message):
        parse_mix(text)


def test_a_rate_is_split_by_shares_and_a_concurrency_into_whole_numbers():
    mix = parse_mix("a=3,b@1=1")
    (load,) = parse_rates("100", "poisson")
    parts = mix.split_load(load)
    assert [(part.value, part.priority, part.mix) for part in parts] == [(75, 0, "a=3,b@1=1"), (25, 1, "a=3,b@1=1")]
    assert parts[1].describe() == "25/s poisson, priority 1, mixed"
    for count in range(2, 40):
        values = [part.value for part in mix.split_load(Load(kind="closed", value=count))]
        assert sum(values) == count
        assert min(values) >= 1
        assert abs(values[0] - 0.75 * count) < 1
    with pytest.raises(SpecError, match="--concurrency 1 is too little for the 2 streams"):
        mix.split_load(Load(kind="closed", value=1))


@pytest.mark.parametrize("shares", [(100, 1, 1), (1, 1, 100), (0.1, 0.2, 0.3, 5), (1, 1, 1)])
def test_no_stream_of_a_concurrency_is_left_without_a_request(shares: tuple[float, ...]):
    mix = Mix(tuple(Stream(f"e{number}", share) for number, share in enumerate(shares)))
    for count in range(len(shares), 30):
        values = [part.value for part in mix.split_load(Load(kind="closed", value=count))]
        assert sum(values) == count
        assert min(values) >= 1


def plan(mix: Mix | None) -> Plan:
    return Plan((CLOSED, OPEN), repeats=1, warmup_s=0, duration_s=1, seed=0, timeout_s=1, mix=mix)


def test_entries_follow_each_other_and_those_of_a_mix_are_one_case():
    workloads = [make_workload("a"), make_workload("b")]
    assert [[(w.model.name, load) for w, load in case] for case in list_cases(workloads, plan(None))] == [
        [(name, load)] for name in ("a", "b") for load in (CLOSED, OPEN)
    ]
    closed, opened = list_cases(workloads, plan(parse_mix("a=3,b=1")))
    assert [(w.model.name, load.value) for w, load in closed] == [("a", 3), ("b", 1)]
    assert [(w.model.name, load.value) for w, load in opened] == [("a", 75), ("b", 25)]


def test_loops_run_together_and_end_together():
    senders = FakeSender(is_held=True), FakeSender()
    loops = ClosedLoop(senders[0], [b"a"], 2), OpenLoop(senders[1], [b"b"], np.linspace(0, 0.15, 30))
    group = LoopGroup(loops)
    measure_window(group, SenderGroup(senders), Timing(0.05, 0.15, lambda: None), look=lambda: None)
    assert senders[1].requests == [b"b"] * 30
    assert set(senders[0].requests) == {b"a"}
    assert len(group.samples) == sum(len(loop.samples) for loop in loops)
    assert set(map(id, group.samples)) == {id(sample) for loop in loops for sample in loop.samples}


def test_nothing_but_errors_of_all_has_the_server_looked_at():
    """A loop that answers keeps one that fails from ending the run."""
    looked = threading.Event()

    def probe() -> None:
        looked.set()
        raise ServerError("no Triton answers", hint="see its log")

    def measure(*errors: str | None) -> None:
        senders = [FakeSender(error=error, is_held=True) for error in errors]
        group = LoopGroup([ClosedLoop(sender, [b"a"], 1) for sender in senders])
        measure_window(group, SenderGroup(senders), Timing(0.0, 0.25, probe), look=lambda: time.sleep(0))
        assert all(sender.requests for sender in senders)

    measure("gone", None)
    assert not looked.is_set()
    with pytest.raises(ServerError, match="no Triton answers"):
        measure("gone", "gone")
