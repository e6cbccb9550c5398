"""Warm-up samples against the model."""

import struct

import pytest
from prep_triton.spec import ServingSpec
from prep_triton.triton.lint import lint_repository

from scripts.benchmarks.serving_configs import assemble_entry
from scripts.benchmarks.small_artifacts import make_model
from tests.fakes.lint_cases import (
    TENSORS,
    python_config,
    warmup,
    write_python,
)
from tests.fakes.lint_helpers import codes, only, save_manifest_again


def write_ids(folder, *ids):
    (folder / "warmup").mkdir(exist_ok=True)
    (folder / "warmup" / "ids").write_bytes(struct.pack(f"<{len(ids)}q", *ids))


@pytest.mark.parametrize(
    ("ids", "code"),
    [((1, 2, 3, 63), None), ((1, 2, 3, 64), "warmup-vocabulary"), ((1, 2, 3, -1), "warmup-vocabulary"),
     ((1, 2, 3), "warmup-data"), ((1, 2, 3, 4, 5), "warmup-length"), (None, "warmup-vocabulary")],
)  # fmt: skip
def test_warm_up_ids_lie_within_the_vocabulary_and_the_models_length(tmp_path, repository, ids, code):
    model = make_model(tmp_path / "model")
    entry = assemble_entry(model, (), ServingSpec(), repository, name="bert").artifact
    dims = "[4]" if ids else "[33]"  # the model takes up to 32
    zero = "".join(
        f'inputs {{ key: "{name}" value {{ data_type: TYPE_INT64 dims: {dims} zero_data: true }} }} '
        for name in ("attention_mask", "token_type_ids")
    )
    write_ids(repository / "bert", *(ids or [1] * 33))
    text = warmup('input_data_file: "ids"', key="input_ids", dims=dims).replace("inputs", f"{zero} inputs", 1)
    with (repository / "bert" / "config.pbtxt").open("a") as config:
        config.write(text)
    save_manifest_again(entry, repository / "bert", onnx=model)
    assert codes(lint_repository(repository)) == ({code} if code else set())


def test_random_warm_up_ids_and_too_large_a_sample_are_found(repository):
    tensors = TENSORS.replace('"a"', '"input_ids"')
    extra = warmup("random_data: true", key="input_ids", batch=9)
    write_python(repository, "one", python_config("one", extra, tensors=tensors))
    report = lint_repository(repository)
    assert only(report, "warmup-random").severity == "warning"
    assert "batch_size 9, the model takes up to 8" in only(report, "warmup-batch").message
