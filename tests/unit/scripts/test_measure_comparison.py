"""The stand-in that is made slower answers as the model does, and neighbours end with their block."""

from pathlib import Path

import numpy as np
import onnxruntime
import psutil

from scripts.benchmarks.measure_comparison import pad_graph
from scripts.benchmarks.neighbours import run_neighbours
from scripts.benchmarks.small_artifacts import make_model


def test_the_slower_stand_in_pads_its_rows_and_answers_the_same(tmp_path: Path):
    model = make_model(tmp_path / "model")
    padded = pad_graph(model, tmp_path / "padded")
    ids = np.arange(1, 13).reshape(2, 6)
    inputs = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
    answers = []
    for graph in (model, padded):
        session = onnxruntime.InferenceSession(str(graph.folder / "model.onnx"), providers=["CPUExecutionProvider"])
        answers += session.run(None, inputs)
    assert answers[0].shape == (2, 6, 8)
    np.testing.assert_array_equal(answers[1], answers[0])
    assert padded.files["model.onnx"].sha256 != model.files["model.onnx"].sha256


def test_neighbours_are_none_of_ours_and_end_with_their_block():
    own = psutil.Process()
    before = set(own.children(recursive=True))
    with run_neighbours(2, seed=0) as pids:
        neighbours = [psutil.Process(pid) for pid in pids]
        assert len(neighbours) == 2
        assert not set(neighbours) & (set(own.children(recursive=True)) - before)
    assert psutil.wait_procs(neighbours, timeout=10)[1] == []
