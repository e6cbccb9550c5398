"""Measure what each architecture keeps of its answers and what it costs: parity, FP16, INT8, engines, export.

    .venv/bin/python -m scripts.benchmarks.measure_architectures [--only mpnet,electra] [--seconds 60]

No package ships weights of these architectures, and seeded ones say little of FP16 and INT8. So for each a small model
(4 layers of 128, a tokenizer of its kind) is trained for a minute to say which of eight words a run of words has, on
sentences of `collect_sentences`. It is exported, converted, calibrated on configs/calibration-sentences.txt, and
compared on sentences that neither training nor calibration has seen: the cosine of its eight logits to FP32, in the
arithmetic of a GPU. Exporting is measured on the usual size with seeded weights, in a process of its own,
and so is the FP16 engine of that size.
"""

import json
import random
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
import transformers
from prep_triton.architectures import ARCHITECTURES, Architecture
from prep_triton.artifact import OnnxModel
from prep_triton.engine.build import build_engine
from prep_triton.export.checkpoint import silence_vendors
from prep_triton.export.onnx import export_model
from prep_triton.export.reference import one_thread
from prep_triton.precision.fp16.arithmetic import open_in_half_arithmetic
from prep_triton.precision.fp16.stage import convert_to_fp16
from prep_triton.precision.int8.calibration import tokenize_texts
from prep_triton.precision.int8.stage import quantize_to_int8
from prep_triton.precision.measure.fidelity import compare_graphs
from prep_triton.precision.measure.runner import GraphRunner
from prep_triton.spec import CalibrationSpec, EngineSpec, ModelSpec, QuantizationSpec
from prep_triton.workspace import Workspace

from scripts.benchmarks.collect_sentences import collect_sentences
from scripts.benchmarks.common import (
    PREP,
    Table,
    describe_versions,
    log,
    make_parser,
    print_conditions,
    run_measured,
)
from tests.fakes.architectures import TINY, draw_architecture

WORDS = ("the", "of", "a", "and", "to", "in", "is", "it")
TRAINED, HELD, BATCH, LONGEST = 4000, 256, 16, 64
LEARNING_RATE = 1e-3
CALIBRATION = Path("configs/calibration-sentences.txt")
SMALL: Mapping[str, Any] = MappingProxyType(
    {
        "hidden_size": 128,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "intermediate_size": 512,
        "initializer_range": 0.02,
        "max_position_embeddings": 130,
        "problem_type": "multi_label_classification",
        "id2label": dict(enumerate(WORDS)),
    }
)
# What a checkpoint of the usual size has beside its configuration class's own defaults.
_ROBERTA = {"max_position_embeddings": 514, "type_vocab_size": 1}
USUAL: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "roberta": {**_ROBERTA, "vocab_size": 50265},
        "xlm-roberta": {**_ROBERTA, "vocab_size": 250002},
        "camembert": {**_ROBERTA, "vocab_size": 32005},
        "mpnet": {"max_position_embeddings": 514},
        "modernbert": {"classifier_pooling": "mean"},
        "electra": {},  # small: embeddings of 128 before layers of 256
    }
)


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("--only", default=",".join(TINY), help="architectures, by commas; all by default")
    parser.add_argument("--seconds", type=float, default=60.0, help="processor time that each is trained for")
    parser.add_argument("--skip-usual-size", action="store_true", help="measure the small models alone")
    arguments = parser.parse_args()
    print_conditions(describe_versions("torch", "transformers", "onnxruntime", "onnx", "tensorrt-rtx"))
    table = Table(
        *(("architecture", "<13"), ("F1", ">6.2f"), ("parity", ">9.1e"), ("fp16 mean", ">11.6f"), ("min", ">10.6f")),
        *(("int8 mean", ">11.5f"), ("min", ">9.5f"), ("linear", ">8.0%"), ("all GEMMs", ">11.0%")),
        *(("t4 fp16 MiB", ">13.1f"), ("int8", ">7.1f"), ("export s", ">10.1f"), ("MiB", ">7.0f"), ("t4 MiB", ">8.0f")),
    )
    for architecture in (name for name in TINY if name in arguments.only.split(",")):
        with tempfile.TemporaryDirectory(prefix="prep-architecture-") as temporary:
            small = measure_small(architecture, Path(temporary), arguments.seconds)
            usual = ("-", "-", "-") if arguments.skip_usual_size else measure_usual(architecture, Path(temporary))
            table.print_row(architecture, *small, *usual)


def measure_small(architecture: Architecture, folder: Path, seconds: float) -> tuple[float, ...]:
    """Train, export and convert a small model; return the figures of its columns."""
    log(f"{architecture}: training for {seconds:.0f} s")
    embeddings = {"embedding_size": 64} if "embedding_size" in TINY[architecture].config else {}
    checkpoint = draw_architecture(folder / "small", architecture, "text-classification", **SMALL, **embeddings)
    score = train(architecture, checkpoint, seconds)
    workspace = Workspace(folder / "build")
    model = export_model(ModelSpec(model=str(checkpoint)), workspace).artifact
    assert model.parity is not None
    log(f"{architecture}: FP16, INT8, engines")
    half = convert_to_fp16(model, workspace).artifact
    spec = QuantizationSpec(calibration=CalibrationSpec(path=str(CALIBRATION), samples=128))
    quantized = quantize_to_int8(model, spec, workspace).artifact
    engines = [
        build_engine(graph, EngineSpec(precision=graph.precision, gpu="t4", builder="tensorrt-rtx"), workspace).artifact
        for graph in (half, quantized)
    ]
    sizes = [engine.files["model.engine"].size / 2**20 for engine in engines]
    proof = engines[1].proof
    shares = (proof.linear_flops_share["int8"], proof.gemm_flops_share["int8"])
    return (score, model.parity.max_abs_error, *compare(model, half), *compare(model, quantized), *shares, *sizes)


def compare(model: OnnxModel, converted: OnnxModel) -> tuple[float, float]:
    """Return the mean and the smallest cosine of the logits of held-out sentences to FP32's."""
    rows = tokenize_texts(collect_sentences(HELD, held_out=True), model)
    candidate = open_in_half_arithmetic(converted.path("model.onnx"))
    cosines = compare_graphs(GraphRunner(model.path("model.onnx")), candidate, model, rows)
    return float(cosines.mean()), float(cosines.min())


def measure_usual(architecture: Architecture, folder: Path) -> tuple[float, ...]:
    """Export a model of the usual size; return seconds, MiB, and the MiB of its FP16 engine for a T4."""
    log(f"{architecture}: the usual size")
    facts = ARCHITECTURES[architecture]
    config = getattr(transformers, f"{facts.class_prefix}Config")(**USUAL.get(architecture, {})).to_dict()
    config["architectures"] = [f"{facts.class_prefix}ForSequenceClassification"]
    (folder / "usual").mkdir()
    (folder / "usual" / "config.json").write_text(json.dumps(config))
    command = [PREP, "export", str(folder / "usual"), "--weights", "random", "--workspace", str(folder / "build")]
    cost = run_measured(command, folder)
    workspace = Workspace(folder / "build")
    model = workspace.current("export", "usual", OnnxModel)
    assert model is not None
    spec = EngineSpec(precision="fp16", gpu="t4", builder="tensorrt-rtx")
    engine = build_engine(convert_to_fp16(model, workspace).artifact, spec, workspace).artifact
    return cost.seconds, cost.peak_mib, engine.files["model.engine"].size / 2**20


def train(architecture: Architecture, folder: Path, seconds: float) -> float:
    """Train a checkpoint in place; return the F1 of all words together on held-out sentences."""
    with silence_vendors():
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
        kind = getattr(transformers, f"{ARCHITECTURES[architecture].class_prefix}ForSequenceClassification")
        model = kind.from_pretrained(folder)
    sentences, draw = collect_sentences(TRAINED), random.Random(0)
    torch.manual_seed(0)
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE)
    model.train()
    began = time.process_time()
    with one_thread():
        while time.process_time() - began < seconds:
            batch, labels = make_batch(tokenizer, [cut(draw.choice(sentences), draw) for _ in range(BATCH)])
            loss = model(**batch, labels=labels).loss
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    model.eval().save_pretrained(folder)
    batch, labels = make_batch(tokenizer, collect_sentences(HELD, held_out=True))
    with torch.inference_mode():
        chosen = model(**batch).logits > 0
    right = (chosen & (labels > 0)).sum()
    return float(2 * right / (chosen.sum() + (labels > 0).sum()))


def cut(sentence: str, draw: random.Random) -> str:
    """Return a run of words of a sentence, of any length."""
    words = sentence.split()
    begin = draw.randrange(len(words))
    return " ".join(words[begin : begin + draw.randint(1, 24)])


def make_batch(tokenizer: Any, texts: list[str]) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    """Return a padded batch and for each text which of `WORDS` it has."""
    batch = tokenizer(texts, padding=True, truncation=True, max_length=LONGEST, return_tensors="pt")
    found = [{word.strip(".,;:!?'\"()").lower() for word in text.split()} for text in texts]
    return dict(batch), torch.tensor([[float(word in words) for word in WORDS] for words in found])


if __name__ == "__main__":
    main()
