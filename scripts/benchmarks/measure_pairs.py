"""Measure what one query with many documents in one request saves: its part of docs/figures.md.

    .venv/bin/python -m scripts.benchmarks.measure_pairs [--documents 32] [--rounds 12] [--median 75 --sigma 0.3]

A reranker of MiniLM's real weights with a drawn head (its answers rank nothing; the work is a reranker's) behind its
text ensemble on the real Triton. A query and its documents, texts whose lengths are drawn log-normally and have at most
384 tokens, are sent in turns as one request, as one request a document one after another, and as one request a document
all at once. All rows of a request are as long as its longest pair's bucket: so documents of like lengths, as passages
of a search index are (a median of 75 tokens, sigma 0.3), and of unlike ones (27, 0.9) are two questions. Each round has
other documents; the first does not count.

The client runs on the same cores as the server, so that only the ratios mean something elsewhere.
"""

import argparse
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from prep_triton.export.onnx import export_model
from prep_triton.spec import ModelSpec, ServingSpec, TextSpec
from prep_triton.triton.entries.text import assemble_text_entries
from prep_triton.triton.server.client import TritonClient
from prep_triton.triton.server.process import run_triton
from prep_triton.workspace import Workspace

from scripts.benchmarks.common import (
    Table,
    describe_versions,
    find_minilm,
    make_parser,
    print_conditions,
    summarize,
    take_turns,
)
from scripts.benchmarks.measure_serving import BUCKETS, draw_texts
from scripts.benchmarks.serving_configs import assemble_entry

QUERY = "How is a file read line by line?"
Scores = NDArray[Any]


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("--documents", type=int, default=32, help="documents of a query [32]")
    parser.add_argument("--rounds", type=int, default=12, help="queries that count, of each side in turns [12]")
    parser.add_argument("--median", type=float, default=75.0, help="median tokens of a document [75]")
    parser.add_argument("--sigma", type=float, default=0.3, help="of the logarithm of its tokens [0.3]")
    parser.add_argument("--padding", choices=("buckets", "longest"), default="buckets")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, default=Path("build/measure-pairs"))
    arguments = parser.parse_args()
    tools = describe_versions("nvidia-pytriton", "onnxruntime", "tokenizers")
    print_conditions(f"cores shared by server and client, no GPU; {tools}; seed {arguments.seed}")
    model = export_model(ModelSpec(model=str(write_reranker(arguments.folder))), Workspace(arguments.folder)).artifact
    count = arguments.documents * (arguments.rounds + 1)
    texts = draw_texts(model, count, arguments.seed, arguments.median, arguments.sigma)
    repository = arguments.folder / "repository"
    serving = ServingSpec(length_buckets=BUCKETS, max_batch_size=arguments.documents, padding=arguments.padding)
    entry = assemble_entry(model, [], serving, repository, name="reranker").artifact
    name = assemble_text_entries(entry, TextSpec(), repository)[-1].artifact.name
    with run_triton(str(repository)) as server:
        server.check_loaded()
        with TritonClient(server.grpc_url, timeout_s=120) as client, ThreadPoolExecutor(arguments.documents) as pool:
            print_sides(list_sides(client, name, pool), texts, arguments)


def write_reranker(folder: Path) -> Path:
    """Write MiniLM with a drawn head of one label, as a cross-encoder lies on the hub."""
    import json
    import shutil

    import torch
    from transformers import BertForSequenceClassification

    target, minilm = folder / "minilm-reranker", find_minilm()
    torch.manual_seed(0)
    BertForSequenceClassification.from_pretrained(str(minilm), num_labels=1).save_pretrained(target)
    for file in ("tokenizer.json", "tokenizer_config.json", "vocab.txt"):
        if (minilm / file).is_file():
            shutil.copyfile(minilm / file, target / file)
    config = target / "config.json"
    declared = {"sbert_ce_default_activation_function": "torch.nn.modules.linear.Identity"}
    config.write_text(json.dumps({**json.loads(config.read_text()), **declared}))
    return target


def list_sides(client: TritonClient, name: str, pool: ThreadPoolExecutor) -> dict[str, Callable[..., Scores]]:
    """Return how each side gets the scores of a query's documents."""

    def infer(documents: Sequence[str]) -> Scores:
        pairs = np.array([[document.encode()] for document in documents], dtype=object)
        texts = {"TEXT": np.array([[QUERY.encode()]], dtype=object), "TEXT_PAIR": pairs}
        return np.asarray(client.infer(name, texts, ["SCORE"])[0]["SCORE"]).ravel()

    return {
        "one request": infer,
        "one after another": lambda documents: np.concatenate([infer([document]) for document in documents]),
        "all at once": lambda documents: np.concatenate(list(pool.map(lambda document: infer([document]), documents))),
    }


def print_sides(sides: dict[str, Callable[..., Scores]], texts: Sequence[str], arguments: argparse.Namespace) -> None:
    count = arguments.documents
    took: dict[str, list[float]] = {side: [] for side in sides}
    furthest = 0.0
    for number in range(arguments.rounds + 1):
        documents, answers = texts[number * count : (number + 1) * count], {}
        for side in take_turns(list(sides), number):
            began = time.perf_counter()
            answers[side] = sides[side](documents)
            if number:
                took[side].append(time.perf_counter() - began)
        first, *others = answers.values()
        furthest = max(furthest, *(float(np.abs(first - other).max()) for other in others))
    ratios = {side: [own / other for own, other in zip(values, took["one request"], strict=True)]
              for side, values in took.items()}  # fmt: skip
    print(f"one query with {count} documents, padding {arguments.padding}, {arguments.rounds} rounds in turns")
    table = Table(("  sent as", "<22"), ("ms a query", ">11.0f"), ("range", ">16"), ("times one request", ">20.2f"),
                  ("range", ">14"))  # fmt: skip
    for side, values in took.items():
        own, ratio = summarize([1000 * value for value in values]), summarize(ratios[side])
        table.print_row(
            f"  {side}",
            own.median,
            f"{own.lowest:.0f}..{own.highest:.0f}",
            ratio.median,
            f"{ratio.lowest:.2f}..{ratio.highest:.2f}",
        )
    print(f"the scores are the same within {furthest:.1e}")


if __name__ == "__main__":
    main()
