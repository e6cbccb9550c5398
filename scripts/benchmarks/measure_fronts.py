"""Measure the HTTP fronts that a classifier's text entry with `answers: scores` has, on one server, in turns.

    .venv/bin/python -m scripts.benchmarks.measure_fronts [--rounds 8] [--seconds 2] [--concurrency 1,8]

KServe's infer and Triton's generate are the server's own; `/v1/classify` is NVIDIA Dynamo's: its front and its Triton
worker run as they are, from PyPI in an environment of their own (build/peer-dynamo, made on the first run), but for
Triton's in-process bindings, which NVIDIA's image alone has: `dynamo_bindings` calls the same server over gRPC in their
place. So the figures of Dynamo hold one way more than it has in the image. MiniLM with a drawn head of three labels.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import requests
from prep_triton.artifact import RepositoryEntry
from prep_triton.export.onnx import export_model
from prep_triton.spec import ModelSpec, ServingSpec, TextSpec
from prep_triton.triton.entries.text import assemble_text_entries
from prep_triton.triton.server.process import RunningTriton, run_triton
from prep_triton.workspace import Workspace

from scripts.benchmarks.collect_sentences import collect_sentences
from scripts.benchmarks.common import (
    Table,
    describe_versions,
    log,
    make_parser,
    print_conditions,
    summarize,
    take_turns,
)
from scripts.benchmarks.dynamo_bindings.tritonserver import ADDRESS
from scripts.benchmarks.serving_configs import assemble_entry
from scripts.with_local_gcs import find_free_port

DYNAMO = ("ai-dynamo==1.6.1", "tritonclient[grpc]", "uvloop")
BINDINGS = Path(__file__).parent / "dynamo_bindings"
START_TIMEOUT_S = 120.0
TEXTS = 64

# Sends one text and returns the scores of all labels, in their order.
Front = Callable[[requests.Session, str], list[float]]


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("--rounds", type=int, default=8, help="turns of each front")
    parser.add_argument("--seconds", type=float, default=2.0, help="how long a turn takes")
    parser.add_argument("--concurrency", default="1,8", help="requests in flight, one table row each")
    arguments = parser.parse_args()
    python = ensure_dynamo(Path("build").absolute())
    with tempfile.TemporaryDirectory(prefix="prep-fronts-") as folder:
        entry = make_entry(Path(folder))
        texts = collect_sentences(TEXTS)
        with run_triton(str(entry.folder.parent)) as server, run_dynamo(python, entry, server) as dynamo:
            fronts = list_fronts(f"{entry.name}-text", server.http_url, dynamo)
            check_answers(fronts, texts[:8])
            print_conditions(describe_versions("nvidia-pytriton", "onnxruntime", "requests"), DYNAMO[0])
            measure(fronts, texts, arguments)


def ensure_dynamo(folder: Path) -> Path:
    """Return the Python of Dynamo's environment, making it on the first run."""
    python = folder / "peer-dynamo" / "bin" / "python"
    if not python.is_file():
        log(f"making an environment in {python.parent.parent}: pip install {' '.join(DYNAMO)}")
        subprocess.run([sys.executable, "-m", "venv", python.parent.parent], check=True)
        subprocess.run([python, "-m", "pip", "install", "-q", *DYNAMO], check=True)
    return python


def make_entry(folder: Path) -> RepositoryEntry:
    """Export a classifier of MiniLM's size and assemble it with its text entries."""
    spec = ModelSpec(model="minilm", weights="random", tokenizer="minilm", task="text-classification")
    model = export_model(spec, Workspace(folder / "build")).artifact
    serving = ServingSpec(max_batch_size=16, length_buckets=(32, 64, 128))
    entry = assemble_entry(model, [], serving, folder / "repository", name="classifier").artifact
    assemble_text_entries(entry, TextSpec(answers="scores"), folder / "repository")
    return entry


@contextmanager
def run_dynamo(python: Path, entry: RepositoryEntry, server: RunningTriton) -> Iterator[str]:
    """Run Dynamo's front and its worker, and yield the front's URL once it serves the model."""
    with tempfile.TemporaryDirectory(prefix="prep-dynamo-") as folder:
        port = find_free_port()
        shared = {**os.environ, "DYN_FILE_KV": folder}
        discovery = ["--discovery-backend", "file"]
        front = [str(python), "-m", "dynamo.frontend", "--http-port", str(port), *discovery]
        worker = [str(python), "-m", "dynamo.triton", "--task", "classify", *discovery]
        worker += ["--model-repository", str(entry.folder.parent)]
        with (Path(folder) / "log").open("w+") as output:
            processes = [
                subprocess.Popen(front, env=shared, stdout=output, stderr=output),
                subprocess.Popen(
                    worker,
                    env={**shared, "PYTHONPATH": str(BINDINGS), ADDRESS: server.grpc_url},
                    stdout=output,
                    stderr=output,
                ),
            ]
            try:
                yield wait_for_model(f"http://127.0.0.1:{port}", f"{entry.name}-text", Path(folder) / "log", processes)
            finally:
                for process in processes:
                    process.kill()
                    process.wait()


def wait_for_model(url: str, name: str, output: Path, processes: "list[subprocess.Popen[bytes]]") -> str:
    """Return the front's URL when it answers for a model; exit with its last words where it does not."""
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline and all(process.poll() is None for process in processes):
        try:
            if requests.post(f"{url}/v1/classify", json={"model": name, "input": "a"}, timeout=10).ok:
                return url
        except requests.RequestException:
            pass
        time.sleep(0.5)
    sys.exit(f"Dynamo does not serve {name}:\n{output.read_text(errors='replace')[-3000:]}")


def list_fronts(name: str, triton: str, dynamo: str) -> dict[str, Front]:
    """Return what sends a text to each front."""

    def post(session: requests.Session, url: str, body: Mapping[str, Any]) -> Any:
        answer = session.post(url, json=body, timeout=60)
        answer.raise_for_status()
        return answer.json()

    def infer(session: requests.Session, text: str) -> list[float]:
        tensor = {"name": "TEXT", "shape": [1, 1], "datatype": "BYTES", "data": [text]}
        content = post(session, f"{triton}/v2/models/{name}/infer", {"inputs": [tensor]})
        return list(content["outputs"][0]["data"])

    def generate(session: requests.Session, text: str) -> list[float]:
        return list(post(session, f"{triton}/v2/models/{name}/generate", {"TEXT": text})["SCORES"])

    def classify(session: requests.Session, text: str) -> list[float]:
        return list(post(session, f"{dynamo}/v1/classify", {"model": name, "input": text})["data"][0]["probs"])

    return {"KServe infer": infer, "Triton generate": generate, "Dynamo /v1/classify": classify}


def check_answers(fronts: Mapping[str, Front], texts: list[str]) -> None:
    """Exit where two fronts answer otherwise."""
    with requests.Session() as session:
        for text in texts:
            answers = {name: front(session, text) for name, front in fronts.items()}
            first = next(iter(answers.values()))
            if any(max(abs(a - b) for a, b in zip(first, scores, strict=True)) > 1e-5 for scores in answers.values()):
                sys.exit(f"the fronts do not answer alike to {text!r}: {answers}")


def measure(fronts: Mapping[str, Front], texts: list[str], arguments: Any) -> None:
    """Print latency and throughput of each front: medians and extremes of its turns."""
    table = Table(("requests in flight", "<20"), ("front", "<22"), ("ms", ">8.2f"), ("extremes", ">16"),
                  ("a second", ">10.1f"), ("extremes", ">16"))  # fmt: skip
    for concurrency in (int(number) for number in arguments.concurrency.split(",")):
        latencies: dict[str, list[float]] = {name: [] for name in fronts}
        rates: dict[str, list[float]] = {name: [] for name in fronts}
        for number in range(arguments.rounds):
            for name in take_turns(list(fronts), number):
                seconds, count = load(fronts[name], texts, concurrency, arguments.seconds)
                rates[name].append(count / seconds)
                latencies[name].append(1000 * concurrency * seconds / count)
        for name in fronts:
            latency, rate = summarize(latencies[name]), summarize(rates[name])
            table.print_row(
                str(concurrency), name, latency.median, f"{latency.lowest:.2f}-{latency.highest:.2f}",
                rate.median, f"{rate.lowest:.1f}-{rate.highest:.1f}",
            )  # fmt: skip


def load(front: Front, texts: list[str], concurrency: int, seconds: float) -> tuple[float, int]:
    """Keep requests in flight for some seconds; return how long it took, and how many were answered."""

    def send(place: int) -> int:
        with requests.Session() as session:
            front(session, texts[place])  # connects
            count = 0
            while time.monotonic() < deadline:
                front(session, texts[(place + count) % len(texts)])
                count += 1
        return count

    began = time.monotonic()
    deadline = began + seconds
    with ThreadPoolExecutor(concurrency) as senders:
        counts = list(senders.map(send, range(concurrency)))
    return time.monotonic() - began, max(1, sum(counts))


if __name__ == "__main__":
    main()
