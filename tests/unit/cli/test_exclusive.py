"""Options that overlap exclude each other, and the sentence names the flags; the same rules hold for keys of a file."""

from pathlib import Path

import pytest
from prep_triton.cli.app import app
from prep_triton.errors import SpecError
from prep_triton.spec import parse_run_spec
from typer.testing import CliRunner

from tests.fakes.exported import store_export

RELEASE = "20260131T235959Z-0123456789ab"
INT8 = "build-engine tiny --gpu t4 --int8 --calibration-data c.jsonl"
NO_INT8 = "onnxruntime serves fp32 and fp16; int8 on a CPU is openvino's"

# A command line, and what its error says: each pair is of flags of which one would be dropped.
PAIRS = {
    "export minilm --seed 1": "--seed belongs to --weights random",
    "export minilm --tokenizer minilm": "--tokenizer belongs to --weights random",
    "export bert-base --weights random --revision main": "revision 'main' means nothing for random weights",
    "build-engine tiny --fp16 --fp32": "--fp16 and --fp32 exclude each other",
    "build-engine tiny --fp16 --int8": "--fp16 and --int8 exclude each other",
    "build-engine tiny --fp16 --int8-if-faster": "--fp16 and --int8-if-faster exclude each other",
    "build-engine tiny --int8 --int8-if-faster": "--int8 and --int8-if-faster exclude each other",
    "build-engine tiny --fp16 --calibration-data c.txt": "--calibration-data means nothing for tensorrt fp16",
    "build-engine tiny --calibration-samples 8": "--calibration-samples means nothing for tensorrt fp16",
    "build-engine tiny --calibration-method mse": "--calibration-method means nothing for tensorrt fp16",
    "build-engine tiny --percentile 99": "--percentile means nothing for tensorrt fp16",
    "build-engine tiny --keep-out pooler": "--keep-out means nothing for tensorrt fp16",
    "build-engine tiny --no-search": "--no-search means nothing for tensorrt fp16",
    "build-engine tiny --no-smoothing": "--no-smoothing means nothing for tensorrt fp16",
    "build-engine tiny --smoothing-alpha 0.5": "--smoothing-alpha means nothing for tensorrt fp16",
    "build-engine tiny --runtime onnxruntime --fp16 --keep-out x": "--keep-out means nothing for onnxruntime fp16",
    "build-engine tiny --runtime onnxruntime --int8": NO_INT8,
    "build-engine tiny --runtime onnxruntime --int8 --calibration-data c.txt": NO_INT8,
    "assemble tiny --runtime onnxruntime --precision int8": NO_INT8,
    "build-engine tiny --int8 --gpu t4": "--int8 for tensorrt needs text to calibrate on",
    f"{INT8} --percentile 99.9": "--percentile belongs to --calibration-method percentile, not max",
    f"{INT8} --calibration-method mse --percentile 99.9": "--percentile belongs to --calibration-method percentile",
    f"{INT8} --smoothing-alpha 0.5 --no-smoothing": "--smoothing-alpha and --no-smoothing exclude each other",
    "build-engine tiny --int8 --gpu t4 --calibration-data c.txt --calibration-field body": "belongs to a .jsonl",
    "build-engine tiny --gpu t4 --profile 1x1,1x8,2x16 --seq-lens 8,16": "--profile and --seq-lens exclude each other",
    "build-engine tiny --gpu t4 --batch 1,2,4": "--batch belongs to --seq-lens",
    "build-engine tiny --gpu t4 --builder tensorrt-rtx --optimization-level 3": "--optimization-level means nothing",
    "build-engine tiny --gpu t4 --builder tensorrt-rtx --version-compatible": "--version-compatible means nothing",
    "build-engine tiny --gpu t4 --builder tensorrt-rtx --refit": "--refit means nothing to the tensorrt-rtx builder",
    "build-engine tiny --runtime onnxruntime --gpu t4": "--gpu means nothing for runtime onnxruntime",
    "build-engine tiny --runtime onnxruntime --seq-lens 8": "--seq-lens means nothing for runtime onnxruntime",
    "build-engine tiny --runtime openvino --int8-if-faster --calibration-data c.txt": "--int8-if-faster means nothing",
    "build-engine tiny --gpu t4 --fp32 --min-cosine 0.9": "a gate means nothing for fp32",
    "build-engine tiny --gpu t4 --eval-data x.jsonl": "--eval-data and --max-accuracy-drop belong together",
    "build-engine tiny --gpu t4 --max-accuracy-drop 1": "--eval-data and --max-accuracy-drop belong together",
    "assemble --adopt a tiny": "--adopt and MODEL exclude each other",
    "assemble --adopt a --tier 1": "--adopt and --tier exclude each other",
    "assemble --adopt a --text": "--adopt and --text exclude each other",
    "assemble --adopt a --no-dynamic-batching": "--adopt and --no-dynamic-batching exclude each other",
    "assemble --adopt a --name b": "--adopt and --name exclude each other",
    "assemble --adopt a --force": "--adopt and --force exclude each other",
    "assemble --adopt a --dry-run": "--adopt and --dry-run exclude each other",
    "assemble tiny --dry-run --force": "--dry-run and --force exclude each other",
    "assemble tiny --stride 8": "--stride means nothing without --text",
    "assemble tiny --text --stride 8": "--stride belongs to --long-input stride, not truncate",
    "assemble tiny --no-dynamic-batching --priority-levels 2": "--priority-levels means nothing with --no-dynamic",
    "assemble tiny --priority-levels 2 --default-priority-level 3": "--default-priority-level is 3, expected 1..2",
    "assemble tiny --priority-levels 2": "--default-priority-level is 0, expected 1..2",
    "assemble tiny --preserve-ordering --priority-levels 2 --default-priority-level 1": "--preserve-ordering",
    "assemble tiny --default-priority-level 1": "--default-priority-level means nothing without --priority-levels",
    "assemble tiny --cuda-graphs": "--cuda-graphs",
    "assemble tiny --max-batch-size 4 --preferred-batch-size 8": "preferred batch size 8 is not within 1..",
    "lint --codes --target 25.08": "--codes and --target exclude each other",
    "lint --codes --entry a": "--codes and --entry exclude each other",
    "lint --codes --full": "--codes and --full exclude each other",
    "lint --gpu t4": "--gpu describes a target, but --target is missing",
    "verify bert --server localhost:8001 --port 8001": "--server and --grpc-port exclude each other",
    "client --question a b": "TEXT and --question exclude each other",
    "publish --check a b": "--check takes one URI",
    "publish --check a --dry-run": "--check and --dry-run exclude each other",
    "publish --check a --no-current": "--check and --no-current exclude each other",
    "publish --check a --allow-random": "--check and --allow-random exclude each other",
    "publish --check a --target 25.08": "--check and --target exclude each other",
    "publish --check a --gpu t4": "--check and --gpu exclude each other",
    "releases a --show current --current": "exclude each other",
    "releases a --show current --diff previous current": "exclude each other",
    f"fetch a/releases/{RELEASE} b --release 20260130T235959Z-0123456789ab": "one release and --release names another",
    "deploy gs://bucket/models --host a.b": "--host belongs to --gateway gateway-api or istio",
    "deploy gs://bucket/models --tls-secret a": "--tls-secret belongs to --gateway gateway-api or istio",
    "deploy gs://bucket/models --gateway istio": "there is no host for --gateway istio",
    "deploy gs://bucket/models --gateway istio --host a.b --gateway-class gke-l7-global-external-managed": (
        "--gateway-class belongs to --gateway gateway-api"
    ),
    "deploy gs://bucket/models --istio": "there is no host for --gateway istio",
    "deploy gs://bucket/models --no-istio --host a.b": "--host belongs to --gateway gateway-api or istio",
    "deploy gs://bucket/models --no-istio --gateway istio --host a.b": "--no-istio and --gateway exclude each other",
    "deploy gs://bucket/models --dry-run --force": "--dry-run and --force exclude each other",
    "init --no-input --gpu t4": "--gpu is for runtime tensorrt",
    "run c.yaml --check --dry-run": "--check and --dry-run exclude each other",
    "run c.yaml --check --list-gpus": "--check and --list-gpus exclude each other",
    "run c.yaml --check --only-gpu t4": "--check and --only-gpu exclude each other",
    "run c.yaml --check --model a": "--check and --model exclude each other",
    "run c.yaml --check --no-verify": "--check and --no-verify exclude each other",
    "run c.yaml --check --summary s.md": "--check and --summary exclude each other",
    "run c.yaml --list-gpus --publish r": "--list-gpus and --publish exclude each other",
    "run c.yaml --list-gpus --dry-run": "--list-gpus and --dry-run exclude each other",
    "run c.yaml --only-gpu t4 --publish r": "--only-gpu and --publish exclude each other",
    "run c.yaml --only-gpu t4 -o r": "--only-gpu and --output exclude each other",
    "run c.yaml --only-gpu t4 --no-verify": "--only-gpu and --no-verify exclude each other",
    "run c.yaml --dry-run --summary s.md": "--dry-run and --summary exclude each other",
    "run c.yaml --no-verify --server a:1": "--no-verify and --server exclude each other",
    "run c.yaml --memory-gib 0": "--memory-gib: 0.0 is out of range",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("work")
    store_export(folder / "build")
    (folder / "c.yaml").write_text("models: [{model: minilm, variants: [{runtime: onnxruntime}]}]\n")
    return folder


@pytest.mark.parametrize("line", PAIRS)
def test_a_pair_of_options_is_refused_by_their_names(folder: Path, monkeypatch: pytest.MonkeyPatch, line: str):
    monkeypatch.chdir(folder)
    before = {path for path in folder.rglob("*") if path.name != ".lock"}
    done = CliRunner().invoke(app, line.split())
    assert done.exit_code == 2, done.output
    assert PAIRS[line] in done.stderr
    assert {path for path in folder.rglob("*") if path.name != ".lock"} == before


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("{model: minilm, seed: 1, variants: [{runtime: onnxruntime}]}", "seed belongs to weights: random"),
        (
            "{model: minilm, variants: [{runtime: onnxruntime, text: {stride: 8}}]}",
            "stride belongs to long_input: stride, not truncate",
        ),
        (
            "{model: minilm, variants: [{runtime: tensorrt, precision: int8, gpus: [t4], quantization: "
            "{calibration: {path: c.jsonl, percentile: 99}}}]}",
            "percentile belongs to method percentile, not max",
        ),
    ],
)
def test_the_same_keys_of_a_file_are_refused_by_their_names(model: str, message: str):
    with pytest.raises(SpecError, match=message):
        parse_run_spec(f"models:\n  - {model}\n", where="c.yaml")


def test_a_server_that_runs_has_its_port_in_its_address():
    text = "models: [{model: minilm, variants: [{runtime: onnxruntime}]}]\nverify: {server_url: a:1, grpc_port: 1}\n"
    with pytest.raises(SpecError, match="server_url and grpc_port exclude each other"):
        parse_run_spec(text, where="c.yaml")
