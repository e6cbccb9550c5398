"""Releases are published, rolled back and pruned in a loop while a real Triton loads whatever is current.

Part ``loading`` of `measure_release`. The entries are small graphs that ONNX Runtime runs; each release answers in
a way of its own, so that a server that loaded half of one and half of another would be seen.
"""

import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper
from prep_triton.errors import PrepError
from prep_triton.manifest import record_files
from prep_triton.publish.catalog import resolve
from prep_triton.publish.pointer import rollback
from prep_triton.publish.prune import prune_releases
from prep_triton.publish.release import publish_release
from prep_triton.publish.store import Store
from prep_triton.publish.uri import open_store
from prep_triton.spec import ServingSpec
from prep_triton.triton.server.client import TritonClient
from prep_triton.triton.server.process import run_triton

from scripts.benchmarks.records import INPUT_NAMES
from scripts.benchmarks.serving_configs import assemble_entry
from scripts.benchmarks.small_artifacts import make_model
from scripts.benchmarks.stress_release import Bench

ENTRIES = ("one", "two", "three")
VARIANTS = 4
KEPT = 6


def stress_by_loading(bench: Bench, runs: int) -> None:
    """Load the current release `runs` times, each with a server of its own, while it changes."""
    publisher = _Publisher(open_store(f"{bench.uri}/loading"), [_assemble(bench, number) for number in range(VARIANTS)])
    publish_release(publisher.repositories[0], publisher.store)
    loaded, broken = [], []
    publisher.start()
    try:
        for _ in range(runs):
            release = resolve(publisher.store)
            loaded.append(release.id)
            if problem := _load(release.uri):
                broken.append(f"{release.id}: {problem}")
    finally:
        publisher.stop()
    moves = f"{runs} loads of {len(set(loaded))} releases while current moved {publisher.moves} times"
    whole = f"{runs - len(broken)} whole" + (f", BROKEN: {broken[0]}" if broken else "")
    bench.report("a real Triton loads current", f"{moves}: {whole}")


class _Publisher(threading.Thread):
    """Publishes one repository after the other, rolls back and prunes, until it is stopped."""

    def __init__(self, store: Store, repositories: list[Path]) -> None:
        super().__init__()
        self.store, self.repositories, self.moves = store, repositories, 0
        self._stopped = threading.Event()

    def run(self) -> None:
        while not self._stopped.is_set():
            self.moves += 1
            with suppress(PrepError):  # a refusal is an answer; a broken release is not
                publish_release(self.repositories[self.moves % VARIANTS], self.store)
                if self.moves % 3 == 0:
                    rollback(self.store)
                prune_releases(self.store, KEPT, dry_run=False)
            self._stopped.wait(0.2)

    def stop(self) -> None:
        """Let the last move end, and the thread."""
        self._stopped.set()
        self.join()


def _assemble(bench: Bench, number: int) -> Path:
    """Write a repository whose entries answer in their own way: the graphs are the same, their table is not."""
    folder = bench.scratch / f"loading-{number}"
    model = make_model(folder / "model", name="tiny", key=f"variant-{number}")
    path = model.path("model.onnx")
    proto = onnx.load(path)
    table = next(tensor for tensor in proto.graph.initializer if tensor.name == "table")
    values = np.full_like(numpy_helper.to_array(table), number + 1)
    table.CopyFrom(numpy_helper.from_array(values, "table"))
    onnx.save(proto, path)
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
                float(client.infer(name, feed, ["last_hidden_state"])[0]["last_hidden_state"].max()) for name in ENTRIES
            }
    return "" if len(answers) == 1 else f"its entries are of several releases: {sorted(answers)}"
