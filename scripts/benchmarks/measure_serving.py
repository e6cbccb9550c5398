"""Measure what the generated configuration does on the real Triton server: its part of docs/figures.md.

    .venv/bin/python -m scripts.benchmarks.measure_serving [--specs 300] [--rounds 3] [--only bucketing]

- configs: serving specs drawn at random; each is refused by prep or accepted by the server, with no third case.
- bucketing: MiniLM (real weights) behind its text ensemble, texts whose lengths are drawn log-normally with a median of
  27 tokens and at most 384; padded to length buckets against padded to 384, the two in turns on one server.
- batching: the bare model with the queue delay that prep generates against no dynamic batching, requests of one shape.
- tiers: `prep bench --bursts` has the three bursts.

The client runs on the same cores as the server: throughput is of both together, and only the ratios mean something
elsewhere.
"""

import argparse
import random
import statistics
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from prep_triton.artifact import OnnxModel, RepositoryEntry
from prep_triton.export.onnx import export_model
from prep_triton.layout import REFERENCE_NAME
from prep_triton.reference import load_reference
from prep_triton.spec import ModelSpec, QueueSpec, ServingSpec, TextSpec
from prep_triton.triton.entries.text import assemble_text_entries
from prep_triton.triton.server.client import TritonClient
from prep_triton.triton.server.process import run_triton
from prep_triton.triton.server.statistics import wait_for_statistics
from prep_triton.workspace import Workspace

from scripts.benchmarks.collect_sentences import collect_sentences
from scripts.benchmarks.common import describe_versions, make_parser, print_conditions, summarize, take_turns
from scripts.benchmarks.serving_configs import assemble_entry

BUCKETS = (32, 64, 128, 256, 384)
CONCURRENCY = 16
MEDIAN_TOKENS, LONGEST_TOKENS, LENGTH_SIGMA = 27, 384, 0.9
BATCHING_WIDTH = 32
PARTS = ("configs", "bucketing", "batching")


@dataclass
class Load:
    """What came of one kind of request: requests a second of each round, and the last answers."""

    rates: list[float] = field(default_factory=list)
    answers: list[NDArray[Any]] = field(default_factory=list)
    mean_batches: list[float] = field(default_factory=list)


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("--specs", type=int, default=300, help="how many serving specs to draw [300]")
    parser.add_argument("--texts", type=int, default=320, help="how many requests make a round [320]")
    parser.add_argument("--rounds", type=int, default=3, help="rounds of each side, in turns [3]")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", choices=PARTS, action="append", help="one part; repeat it for several")
    parser.add_argument("--folder", type=Path, default=Path("build/measure-serving"))
    arguments = parser.parse_args()
    parts = arguments.only or PARTS
    tools = describe_versions("nvidia-pytriton", "onnxruntime", "tokenizers")
    print_conditions(f"cores shared by server and client, no GPU; {tools}; seed {arguments.seed}")
    print()
    if "configs" in parts:
        print_configs(arguments.specs, arguments.seed)
    if "bucketing" in parts or "batching" in parts:
        model = export_model(ModelSpec(model="minilm", task="feature-extraction"), Workspace(arguments.folder)).artifact
        texts = draw_texts(model, arguments.texts, arguments.seed)
        if "bucketing" in parts:
            print_bucketing(model, texts, arguments)
        if "batching" in parts:
            print_batching(model, texts, arguments)


def print_configs(count: int, seed: int) -> None:
    from scripts.benchmarks.config_oracle import check_specs

    verdicts = check_specs(count, seed)
    print("configs: drawn serving specs, checked by the real server")
    print("  accepted by the server   refused by prep first   third case")
    print(f"  {verdicts.accepted:>22}   {verdicts.refused:>21}   {len(verdicts.third):>10}\n")


def draw_texts(
    model: OnnxModel, count: int, seed: int, median: float = MEDIAN_TOKENS, sigma: float = LENGTH_SIGMA
) -> list[str]:
    """Cut running text into pieces whose token counts are drawn log-normally."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(model.path("tokenizer.json")))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    draw = random.Random(seed)
    running = " ".join(collect_sentences(3000, seed=seed))
    offsets = tokenizer.encode(running, add_special_tokens=False).offsets
    texts = []
    for _ in range(count):
        length = min(LONGEST_TOKENS, max(4, round(draw.lognormvariate(np.log(median), sigma)))) - 2
        start = draw.randrange(len(offsets) - length)
        texts.append(running[offsets[start][0] : offsets[start + length - 1][1]])
    lengths = [len(tokenizer.encode(text).ids) for text in texts]
    print(
        f"{count} texts of the standard library's docstrings: median {statistics.median(lengths):.0f} tokens, "
        f"mean {statistics.fmean(lengths):.0f}, longest {max(lengths)}\n"
    )
    return texts


def print_bucketing(model: OnnxModel, texts: Sequence[str], arguments: argparse.Namespace) -> None:
    repository = arguments.folder / "bucketing"
    sides = {"length buckets": BUCKETS, "padded to 384": BUCKETS[-1:]}
    names, models = {}, {}
    for number, (side, buckets) in enumerate(sides.items()):
        serving = ServingSpec(length_buckets=buckets)
        entry = assemble_entry(model, [], serving, repository, name=f"minilm-{number}").artifact
        models[side] = entry.name
        names[side] = assemble_text_entries(entry, TextSpec(), repository)[-1].artifact.name

    def infer(client: TritonClient, side: str, number: int) -> NDArray[Any]:
        text = np.array([[texts[number].encode()]], dtype=object)
        return np.asarray(client.infer(names[side], {"TEXT": text}, ["EMBEDDING"])[0]["EMBEDDING"])

    with run_triton(str(repository)) as server:
        server.check_loaded()
        loads = send_in_turns(server.grpc_url, models, len(texts), arguments.rounds, infer)
    bucketed, padded = (np.concatenate(load.answers) for load in loads.values())
    norms = np.linalg.norm(bucketed, axis=1) * np.linalg.norm(padded, axis=1)
    cosines = (bucketed * padded).sum(axis=1) / norms
    rounds = f"{arguments.rounds} rounds in turns of {len(texts)} texts"
    print(f"bucketing: text ensemble, concurrency {CONCURRENCY}, {rounds}")
    print_rates(loads)
    print(f"  the same answers: smallest cosine between the two sides {cosines.min():.7f}\n")


def print_batching(model: OnnxModel, texts: Sequence[str], arguments: argparse.Namespace) -> None:
    repository = arguments.folder / "batching"
    queue = QueueSpec()
    sides = {f"delay {queue.max_queue_delay_us} us": queue, "no dynamic batching": None}
    entries: dict[str, RepositoryEntry] = {
        side: assemble_entry(
            model, [], ServingSpec(dynamic_batching=kind), repository, name=f"minilm-{number}"
        ).artifact
        for number, (side, kind) in enumerate(sides.items())
    }
    reference = load_reference(model.path(REFERENCE_NAME), ["input_ids"], [])
    ids = reference.inputs["input_ids"][:1, :BATCHING_WIDTH].astype(np.int64)
    width = ids.shape[1]
    feed = {"input_ids": ids, "attention_mask": np.ones((1, width), np.int64)}
    names = [tensor.name for tensor in model.model_inputs]
    feed |= {name: np.zeros((1, width), np.int64) for name in names if name not in feed}

    def infer(client: TritonClient, side: str, number: int) -> NDArray[Any]:
        del number
        output = model.model_outputs[0].name
        return np.asarray(client.infer(entries[side].name, feed, [output])[0][output])

    with run_triton(str(repository)) as server:
        server.check_loaded()
        models = {side: entry.name for side, entry in entries.items()}
        loads = send_in_turns(server.grpc_url, models, len(texts), arguments.rounds, infer)
    print(f"batching: bare model, 1 x {width} ids, concurrency {CONCURRENCY}, {arguments.rounds} rounds in turns")
    print_rates(loads)
    print()


def send_in_turns(
    address: str,
    counted: dict[str, str],
    count: int,
    rounds: int,
    infer: Callable[[TritonClient, str, int], NDArray[Any]],
) -> dict[str, Load]:
    """Send every side its requests, round by round in turn; the first round warms up and does not count.

    Args:
        address: The server's gRPC address.
        counted: For each side, the entry whose batches are counted.
        count: How many requests make a round.
        rounds: How many rounds count.
        infer: Sends a side's request of a number, and returns the answer.
    """
    loads = {side: Load() for side in counted}
    with TritonClient(address, timeout_s=120) as client, ThreadPoolExecutor(CONCURRENCY) as pool:
        for number in range(rounds + 1):
            for side in take_turns(list(counted), number):
                load = loads[side]
                before = client.read_statistics(counted[side])
                began = time.perf_counter()
                answers = list(pool.map(lambda row, side=side: infer(client, side, row), range(count)))
                took = time.perf_counter() - began
                after = wait_for_statistics(partial(client.read_statistics, counted[side]), before, count)
                if number:
                    load.rates.append(count / took)
                    load.mean_batches.append(after.mean_batch_size() or 0.0)
                    load.answers = answers
    return loads


def print_rates(loads: dict[str, Load]) -> None:
    first = summarize(next(iter(loads.values())).rates).median
    for side, load in loads.items():
        rate = summarize(load.rates)
        batch = f"   mean batch {statistics.fmean(load.mean_batches):.1f}"
        spread = f"{rate.lowest:.1f}..{rate.highest:.1f}"
        print(f"  {side:<20} {rate.median:>8.1f} requests/s ({spread}){batch}   {first / rate.median:>5.2f}x")


if __name__ == "__main__":
    main()
