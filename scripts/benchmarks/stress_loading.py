"""Releases are published, rolled back and pruned in a loop while a real Triton loads whatever is current.

Part ``loading`` of `measure_release`. The entries are small graphs that ONNX Runtime runs; each release answers in
a way of its own, so that a server that loaded half of one and half of another would be seen.
"""

import threading
from pathlib import Path
from typing import Any

import numpy as np
from prep_triton.artifact import OnnxModel
from prep_triton.errors import PrepError
from prep_triton.publish.catalog import resolve
from prep_triton.publish.prune import prune_releases
from prep_triton.publish.release import publish_release
from prep_triton.publish.rollback import rollback
from prep_triton.publish.store import open_store
from prep_triton.spec import ServingSpec
from prep_triton.triton.entries.write import assemble_entry
from prep_triton.triton.server.client import TritonClient
from prep_triton.triton.server.process import run_triton

from scripts.benchmarks.small_artifacts import INPUT_NAMES, make_model
from scripts.benchmarks.stress_release import Bench

ENTRIES = ("one", "two", "three")
VARIANTS = 4
KEPT = 6


def stress_by_loading(bench: Bench, runs: int) -> None:
    """Load the current release `runs` times, each with a server of its own, while it changes."""
    uri = f"{bench.uri}/loading"
    repositories = [_assemble(bench, number) for number in range(VARIANTS)]
    store = open_store(uri)
    publish_release(repositories[0], store)
    stopped, moves = threading.Event(), [0]

    def publish_and_roll_back() -> None:
        while not stopped.is_set():
            moves[0] += 1
            try:
                publish_release(repositories[moves[0] % VARIANTS], store)
                if moves[0] % 3 == 0:
                    rollback(store)
                prune_releases(store, KEPT, dry_run=False)
            except PrepError as err:  # a refusal is an answer; a broken release is not
                refusals.append(err.message)
            stopped.wait(0.2)

    refusals: list[str] = []
    publisher = threading.Thread(target=publish_and_roll_back)
    publisher.start()
    loaded, broken = [], []
    try:
        for _ in range(runs):
            release = resolve(store)
            problem = _load(release.uri)
            loaded.append(release.id)
            if problem:
                broken.append(f"{release.id}: {problem}")
    finally:
        stopped.set()
        publisher.join()
    message = (
        f"{runs} loads of {len(set(loaded))} releases while current moved {moves[0]} times: {runs - len(broken)} whole"
    )
    bench.tell("a real Triton loads current", message + (f", BROKEN: {broken[0]}" if broken else ""))


def _assemble(bench: Bench, number: int) -> Path:
    """Write a repository whose entries answer in their own way: the graphs are the same, their scale is not."""
    import onnx
    from onnx import numpy_helper

    folder = bench.scratch / f"loading-{number}"
    model: OnnxModel = make_model(folder / "model", name="tiny", key=f"variant-{number}")
    path = model.path("model.onnx")
    graph = onnx.load(path)
    table = next(one for one in graph.graph.initializer if one.name == "table")
    scaled = numpy_helper.to_array(table) * 0 + np.float32(number + 1)
    table.CopyFrom(numpy_helper.from_array(scaled.astype(np.float32), "table"))
    onnx.save(graph, path)
    from prep_triton.workspace import record_files

    model = model.model_copy(update={"files": record_files(model.folder)})
    for name in ENTRIES:
        assemble_entry(model, [], ServingSpec(threads=1), folder / "repository", name=name)
    return folder / "repository"


def _load(uri: str) -> str:
    """Start a server on a release; return what is wrong with it, or nothing."""
    feed: dict[str, Any] = {name: np.ones((1, 4), np.int64) for name in INPUT_NAMES}
    with run_triton(uri) as server:
        if server.failures:
            return str(dict(server.failures))
        with TritonClient(server.grpc_url, timeout_s=30) as client:
            answers = {
                float(client.ask(name, feed, ["last_hidden_state"])[0]["last_hidden_state"].max()) for name in ENTRIES
            }
    return "" if len(answers) == 1 else f"its entries are of several releases: {sorted(answers)}"
