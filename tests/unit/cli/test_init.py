"""`prep init`: what it writes passes `prep run --check` as it is, and nothing that is there is written over."""

import os
import pty
import subprocess
from pathlib import Path

import pytest
import yaml
from jsonschema import Draft7Validator
from prep_triton.cli.app import app
from prep_triton.spec import load_run_spec
from prep_triton.spec.schema import make_schema, render_schema
from typer.testing import CliRunner

from tests.fakes.documents import parse_document
from tests.fakes.prep_command import SCRIPT

LINE = "# yaml-language-server: $schema="


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    checkpoint = tmp_path / "it's: a ${model}, #1"
    checkpoint.mkdir()
    (checkpoint / "config.json").write_text('{"model_type": "bert", "architectures": ["BertModel"]}')
    for name in ("model.safetensors", "vocab.txt"):
        (checkpoint / name).touch()
    return tmp_path


def run(*arguments: str):
    return CliRunner().invoke(app, list(arguments))


@pytest.mark.parametrize(
    ("flags", "entries"),
    [
        ((), {"minilm": ["minilm-onnx-fp32"]}),
        (("--no-text", "--publish", "gs://bucket/models"), {"minilm": ["minilm-onnx-fp32"]}),
        (
            ("--model", "bert-base", "--model", "org/name", "--runtime", "onnxruntime", "--runtime", "tensorrt"),
            {"bert-base": ["bert-base-onnx-fp32", "bert-base-trt-fp16"], "name": ["name-onnx-fp32", "name-trt-fp16"]},
        ),
        (("--runtime", "tensorrt", "--gpu", "a100", "--gpu", "sm75"), {"minilm": ["minilm-trt-fp16"]}),
        (
            ("--model", "./it's: a ${model}, #1", "--publish", "./a: b"),
            {"it-s-a-model-1": ["it-s-a-model-1-onnx-fp32"]},
        ),
    ],
)
def test_the_file_runs_as_it_is(folder: Path, flags: tuple[str, ...], entries: dict[str, list[str]]):
    done = run("init", *flags)
    assert done.exit_code == 0, done.stderr
    assert done.stderr.splitlines()[-1] == "next: prep run prep.yaml"
    checked = run("run", "prep.yaml", "--check", "--json")
    assert checked.exit_code == 0, checked.stderr
    models = parse_document(checked.stdout, "run")["models"]
    assert {model["name"]: model["entries"] for model in models} == entries
    text = Path("prep.yaml").read_text(encoding="utf-8")
    assert text.startswith(f"{LINE}prep.schema.json\n")
    assert Path("prep.schema.json").read_text(encoding="utf-8") == render_schema("pipeline")
    Draft7Validator(make_schema("pipeline")).validate(yaml.safe_load(text))


def test_what_is_commented_out_is_right_as_well(folder: Path):
    run("init", "--publish", "./releases")
    text = Path("prep.yaml").read_text(encoding="utf-8")
    lines = [line.replace("# ", "", 1) if line.lstrip().startswith("# ") else line for line in text.splitlines()[6:]]
    Path("all.yaml").write_text("\n".join(lines))
    spec = load_run_spec(Path("all.yaml"))
    assert (spec.jobs, spec.models[0].task, spec.models[0].variants[0].serving.max_batch_size) == (
        2,
        "text-classification",
        16,
    )
    assert spec.target is not None


def test_the_choices_are_in_the_file(folder: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PREP_B", "bucket")
    flags = ("--runtime", "tensorrt", "--gpu", "a100", "--publish", "gs://${PREP_B}/x", "--no-text", "-o", "sub/c.yaml")
    document = parse_document(run("init", *flags, "--json").stdout, "init")
    assert document == {"config": "sub/c.yaml", "schema_file": "sub/prep.schema.json", "models": ["minilm"]}
    spec = load_run_spec(Path("sub/c.yaml"))
    (variant,) = spec.models[0].variants
    assert (variant.gpus, variant.text, spec.publish) == (("a100",), None, "gs://bucket/x")


@pytest.mark.parametrize("name", ["prep.yaml", "prep.schema.json"])
def test_a_file_that_is_there_is_not_written_over(folder: Path, name: str):
    Path(name).write_text("mine")
    before = {path.name for path in folder.iterdir()}
    done = run("init")
    assert done.exit_code == 2
    assert f"{name} is there already" in done.stderr
    assert "--force" in done.stderr
    assert ({path.name for path in folder.iterdir()}, Path(name).read_text()) == (before, "mine")
    assert run("init", "--force").exit_code == 0
    assert Path(name).read_text() != "mine"


def test_a_schema_of_another_version_is_written_anew(folder: Path):
    Path("prep.schema.json").write_text('{"title": "A pipeline file of prep run"}')
    assert run("init").exit_code == 0
    assert Path("prep.schema.json").read_text(encoding="utf-8") == render_schema("pipeline")


@pytest.mark.parametrize(
    ("flags", "message", "hint"),
    [
        (("--model", "bert-bse"), "unknown model 'bert-bse'", "did you mean 'bert-base'?"),
        (("--model", "./nowhere"), "there is no folder nowhere", "check the path"),
        (("--model", "bert-base", "--model", "./bert-base"), "there is no folder bert-base", ""),
        (("--runtime", "tensort"), "--runtime 'tensort' is not a known value", "did you mean 'tensorrt'?"),
        (("--gpu", "t4"), "--gpu is for runtime tensorrt", "add --runtime tensorrt"),
        (("--runtime", "tensorrt", "--gpu", "t5"), "unknown GPU 't5'", "t4"),
        (("--publish", "s3://bucket"), "unknown scheme 's3'", "gs://BUCKET/PREFIX"),
        (
            ("--publish", "gs://${PREP_ABSENT}/x"),
            "the environment variable PREP_ABSENT is not set",
            "export PREP_ABSENT=",
        ),
    ],
)
def test_a_wrong_choice_is_refused_and_nothing_is_written(
    folder: Path, flags: tuple[str, ...], message: str, hint: str
):
    before = {path.name for path in folder.iterdir()}
    done = run("init", *flags)
    assert done.exit_code == 2
    assert message in done.stderr
    assert hint in done.stderr
    assert {path.name for path in folder.iterdir()} == before


def ask(folder: Path, answers: bytes, *flags: str) -> tuple[int, str]:
    """Answer on a terminal; return the exit code and what was shown."""
    ours, theirs = pty.openpty()
    command = [str(SCRIPT), "init", *flags]
    process = subprocess.Popen(command, cwd=folder, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True)
    os.close(theirs)
    os.write(ours, answers)
    shown = b""
    try:
        while chunk := os.read(ours, 4096):
            shown += chunk
    except OSError:  # how Linux says that the other side is closed
        pass
    os.close(ours)
    return process.wait(timeout=60), shown.decode()


def test_a_terminal_is_asked_for_what_no_flag_says(folder: Path):
    code, shown = ask(folder, b"bert-base distilbert\nonnxruntime, tensorrt\nl4\nn\n./releases\n")
    assert code == 0, shown
    spec = load_run_spec(folder / "prep.yaml")
    assert [model.model for model in spec.models] == ["bert-base", "distilbert"]
    assert [(variant.gpus, variant.text) for variant in spec.models[0].variants] == [((), None), (("l4",), None)]
    assert spec.publish == "./releases"
    assert "next: prep run prep.yaml" in shown
    flags = ("--model", "minilm", "--runtime", "onnxruntime", "--text", "--publish", "./releases", "--force")
    code, shown = ask(folder, b"", *flags)
    assert code == 0
    assert "?" not in shown


def test_a_terminal_that_gives_no_answer_is_told_how_to_do_without(folder: Path):
    code, shown = ask(folder, b"\x04")
    assert code == 2, shown
    assert "the questions were not answered" in shown
    assert "--no-input" in shown
    assert not (folder / "prep.yaml").exists()
