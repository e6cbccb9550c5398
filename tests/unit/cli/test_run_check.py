"""`prep run --check`: all that is wrong with a pipeline file and with what it names, on any machine."""

import json
from pathlib import Path
from typing import Any

import pytest
from prep_triton.cli.app import app
from typer.testing import CliRunner

from tests.fakes.documents import parse_document

BERT = {"model_type": "bert", "architectures": ["BertModel"], "hidden_size": 8, "num_attention_heads": 2}
GOOD = """\
models:
  - model: ./bert
    variants:
      - runtime: onnxruntime
      - {runtime: onnxruntime, precision: fp16, gate: {eval_data: labelled.jsonl, max_accuracy_drop: 1}}
      - runtime: tensorrt
        builder: tensorrt
        precision: int8
        gpus: [t4, native]
        quantization: {calibration: {path: texts.txt}}
  - {model: org/model, variants: [{runtime: onnxruntime}]}
  - {model: bert-base, name: random, weights: random, tokenizer: ./bert, variants: [{runtime: onnxruntime}]}
target: {triton: "25.08", gpus: [t4]}
publish: ./releases
allow_random: true
"""
BAD = """\
models:
  - model: ./nowhere
    variants:
      - {runtime: onnxruntime, serving: {cuda_graphs: true}}
      - {runtime: onnxruntime, precision: fp16, gate: {eval_data: no.jsonl, max_accuracy_drop: 1}}
      - runtime: tensorrt
        precision: int8
        gpus: [t4, t5]
        quantization: {calibration: {path: no.txt}}
      - {runtime: tensorrt, builder: tensorrt-rtx, precision: fp16, gpus: [h100]}
  - {model: bert-bse, variants: [{runtime: onnxruntime, name: same}]}
  - model: ./gpt
    variants: [{runtime: onnxruntime, name: same}]
  - {model: ./weightless, variants: [{runtime: onnxruntime}]}
  - {model: bert-base, weights: random, tokenizer: ./no, variants: [{runtime: onnxruntime}, {runtime: onnxruntime}]}
  - {model: ./bert, variants: [{runtime: onnxruntime, text: {answers: scores}}]}
target: {triton: "19.01"}
publish: s3://bucket
workspace: {remote: ftp://cache}
"""
FAULTS = [
    ("2:12: models[0].model", "there is no folder nowhere"),
    ("4:41: models[0].variants[0].serving", "cuda_graphs true was asked for, but it means nothing to the ONNX Runtime"),
    ("5:67: models[0].variants[1].gate.eval_data", "there is no evaluation file no.jsonl"),
    ("8:20: models[0].variants[2].gpus[1]", "unknown GPU 't5'"),
    ("9:44: models[0].variants[2].quantization.calibration.path", "there is no calibration file no.txt"),
    ("10:76: models[0].variants[3].gpus[0]", "tensorrt-rtx does not build for h100"),
    ("11:13: models[1].model", "unknown model 'bert-bse'"),
    ("12:12: models[2].model", "gpt is a 'gpt2' model"),
    ("13:16: models[2].variants[0]", "it would be the entry 'same', as models[1].variants[0] is"),
    ("14:13: models[3].model", "weightless has no weights"),
    ("15:33: models[4].weights", "random weights are for benchmarks, and this file publishes"),
    ("15:52: models[4].tokenizer", "there is no folder ./no to take a tokenizer from"),
    ("15:93: models[4].variants[1]", "it is there twice: see variants[0]"),
    ("16:61: models[5].variants[0].text", "text.answers scores was asked for, but feature-extraction has none"),
    ("17:9: target", "Triton 19.01 is not in the table of releases"),
    ("18:10: publish", "unknown scheme 's3'"),
    ("19:21: workspace.remote", "unknown scheme 'ftp'"),
]


def write_checkpoint(folder: Path, config: dict[str, Any], *files: str) -> None:
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config))
    for name in files:
        (folder / name).touch()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write_checkpoint(tmp_path / "bert", BERT, "model.safetensors", "vocab.txt")
    write_checkpoint(tmp_path / "gpt", {"model_type": "gpt2"}, "model.safetensors", "vocab.txt")
    write_checkpoint(tmp_path / "weightless", BERT, "vocab.txt")
    for name in ("texts.txt", "labelled.jsonl"):
        (tmp_path / name).touch()
    return tmp_path


def check(folder: Path, text: str, *flags: str) -> Any:
    (folder / "c.yaml").write_text(text)
    before = {*folder.rglob("*")}
    done = CliRunner().invoke(app, ["run", "c.yaml", "--check", *flags])
    assert {*folder.rglob("*")} == before
    return done


def test_a_file_with_which_nothing_is_wrong_tells_its_entries(folder: Path):
    done = check(folder, GOOD)
    assert done.exit_code == 0, done.stderr
    assert done.stdout.splitlines() == [
        "bert: bert-onnx-fp16, bert-onnx-fp32, bert-trt-int8",
        "model: model-onnx-fp32",
        "random: random-onnx-fp32",
        "nothing is wrong with c.yaml",
    ]
    assert "next: prep run c.yaml --dry-run" in done.stderr
    document = parse_document(check(folder, GOOD, "--json").stdout, "run")
    assert document["models"][1] == {"name": "model", "entries": ["model-onnx-fp32"]}


def test_every_fault_of_the_file_and_of_what_it_names_has_its_line(folder: Path):
    done = check(folder, BAD, "--json")
    assert done.exit_code == 2
    faults = parse_document(done.stdout, "error")["error"]["faults"]
    assert [fault["place"] for fault in faults] == [f"c.yaml:{place}" for place, _ in FAULTS]
    assert [
        fault["message"] for fault, (_, said) in zip(faults, FAULTS, strict=True) if said not in fault["message"]
    ] == []
    assert all(fault["hint"] for fault in faults)


@pytest.mark.parametrize("damage", ["model.safetensors", "vocab.txt", "../texts.txt", "../labelled.jsonl"])
def test_what_cannot_be_read_is_told(folder: Path, damage: str, monkeypatch: pytest.MonkeyPatch):
    locked = (folder / "bert" / damage).resolve()  # the tests may run as root, who can read everything
    from os import access

    monkeypatch.setattr("os.access", lambda path, mode: Path(path).resolve() != locked and access(path, mode))
    done = check(folder, GOOD)
    assert done.exit_code == 2
    assert f"{locked.name} cannot be read" in done.stderr


def test_a_flag_wins_over_the_file_in_a_check_too(folder: Path):
    assert check(folder, GOOD, "--publish", "gs://bucket/x").exit_code == 0
    done = check(folder, GOOD, "--publish", "s3://bucket")
    assert done.exit_code == 2
    assert "unknown scheme 's3'" in done.stderr


@pytest.mark.parametrize("flags", [("--dry-run",), ("--list-gpus",), ("--only-gpu", "t4")])
def test_a_check_is_one_alone(folder: Path, flags: tuple[str, ...]):
    done = check(folder, GOOD, *flags)
    assert done.exit_code == 2
    assert f"--check and {flags[0]} exclude each other" in done.stderr


def test_a_file_without_an_entry_is_told(folder: Path):
    variant = "{runtime: tensorrt, builder: tensorrt-rtx, precision: fp16, gpus: [t4]}"
    done = check(folder, f"models: [{{model: ./bert, variants: [{variant}]}}]")
    assert done.exit_code == 2
    assert "nothing that Triton can serve" in done.stderr
