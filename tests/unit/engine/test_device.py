"""What the worker does with a loaded engine, with a runner that answers from the host in place of the GPU's."""

import sys
from types import ModuleType, SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pytest
from prep_triton.engine import device
from prep_triton.engine.device import WARM_UP_RUNS, EngineRequest, execute_engine, measure_engines


class HostRunner:
    """The part of polygraphy's `TrtRunner` that is used: it adds the profile to the ids it is given."""

    made: ClassVar[list["HostRunner"]] = []

    def __init__(self, engine):
        self.engine, self.profile, self.calls = engine, None, []
        HostRunner.made.append(self)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.engine = None

    def set_profile(self, index):
        self.profile = index

    def get_input_metadata(self, *, use_numpy_dtypes):
        assert use_numpy_dtypes is False
        return {"input_ids": SimpleNamespace(dtype=SimpleNamespace(numpy=lambda: np.dtype(np.int64)))}

    def infer(self, feed, **options):
        self.calls.append((self.profile, feed["input_ids"], options))
        return {"output": np.asarray(feed["input_ids"]) + self.profile}


class HostArray:
    """The part of polygraphy's `DeviceArray` that is used."""

    def __init__(self, shape, dtype):
        self.shape, self.dtype = shape, dtype

    def copy_from(self, array):
        assert (array.shape, array.dtype) == (self.shape, self.dtype)
        return array


def make_request(**fields: Any) -> EngineRequest:
    nothing: EngineRequest = {
        "task": "run",
        "parent_pid": 0,
        "builder": "tensorrt",
        "engine_paths": [],
        "profiles": [],
        "feed_paths": [],
        "output_paths": [],
        "shapes": [],
        "runs": 1,
    }
    return {**nothing, **fields}  # type: ignore[typeddict-item]


@pytest.fixture(autouse=True)
def _host(monkeypatch):
    for name, member, value in (
        ("polygraphy.backend.trt", "TrtRunner", HostRunner),
        ("polygraphy.cuda", "DeviceArray", HostArray),
    ):
        module = ModuleType(name)
        setattr(module, member, value)
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setattr(device, "load_engine", lambda path: path)
    monkeypatch.setattr(HostRunner, "made", [])


def test_each_feed_is_answered_in_its_profile(tmp_path):
    feeds = [tmp_path / "0.npz", tmp_path / "1.npz"]
    answers = [tmp_path / "a.npz", tmp_path / "b.npz"]
    for path, length in zip(feeds, (4, 8), strict=True):
        np.savez(path, input_ids=np.zeros((2, length), np.int64))
    request = make_request(
        engine_paths=["e"],
        feed_paths=list(map(str, feeds)),
        output_paths=list(map(str, answers)),
        profiles=[[0, 1]],
    )
    execute_engine(request)
    message = [np.load(path)["output"] for path in answers]
    assert [(answer.shape, int(answer.max())) for answer in message] == [((2, 4), 0), ((2, 8), 1)]


def test_engines_are_measured_in_turn_in_each_shape():
    request = make_request(
        engine_paths=["a", "b"],
        profiles=[[0, 1], [0, 0]],
        shapes=[[1, 16], [8, 64]],
        runs=3,
    )
    medians = measure_engines(request)["latencies_ms"]
    assert [len(row) for row in medians] == [2, 2]
    assert all(ms >= 0 for row in medians for ms in row)
    first, second = HostRunner.made
    assert len(first.calls) == len(second.calls) == 2 * (WARM_UP_RUNS + 3)
    assert (first.calls[0][0], first.calls[0][1].shape) == (0, (1, 16))
    assert (first.calls[-1][0], first.calls[-1][1].shape) == (1, (8, 64))
    assert first.calls[0][2] == {"check_inputs": False, "copy_outputs_to_host": False}
