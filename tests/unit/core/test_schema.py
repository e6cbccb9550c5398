"""The JSON schema of a pipeline file: every key described, and it takes what prep takes."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft7Validator
from prep_triton.errors import SpecError
from prep_triton.spec import RunSpec, ServingSpec, build_spec, parse_run_spec
from prep_triton.spec.schema import FILES, make_schema

ROOT = Path(__file__).parents[3]
CONFIGS = sorted((ROOT / "configs").glob("*.yaml"))
LINE = "# yaml-language-server: $schema="


def list_keys(schema: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any], bool]]:
    for name, part in {"": schema, **schema["definitions"]}.items():
        for key, inner in part.get("properties", {}).items():
            yield name, key, inner, key in part.get("required", ())


@pytest.mark.parametrize("file", FILES)
def test_a_schema_is_one(file: str):
    Draft7Validator.check_schema(make_schema(file))


@pytest.mark.parametrize("file", FILES)
def test_every_key_has_a_description_and_a_default_unless_it_is_required(file: str):
    keys = list(list_keys(make_schema(file)))
    assert len(keys) > 30
    assert [f"{name}.{key}" for name, key, inner, _ in keys if len(inner.get("description", "")) < 10] == []
    assert [f"{name}.{key}" for name, key, inner, needed in keys if not needed and "default" not in inner] == []
    assert all(part.get("description") for part in make_schema(file)["definitions"].values())


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_every_shipped_config_names_the_schema_and_is_valid(path: Path):
    text = path.read_text(encoding="utf-8")
    assert text.startswith(LINE)
    named = path.parent / text.splitlines()[0].removeprefix(LINE)
    assert named.resolve() == ROOT / "docs" / "schemas" / "pipeline.schema.json"
    Draft7Validator(make_schema("pipeline")).validate(yaml.safe_load(text))


VARIANTS = """\
- {runtime: tensorrt, gpus: [t4], profiles: ["1x16,8x128,16x384", {min: [1, 1], opt: [1, 2], max: [2, 2]}]}
- {runtime: tensorrt, gpus: [t4], seq_lens: "32,64", batch: [1, 2, 4], optimization_level: 3}
- {runtime: tensorrt, precision: int8, gpus: [t4], quantization: {calibration: {path: a.txt}}}
- {runtime: onnxruntime, text: true}
- {runtime: onnxruntime, text: {long_input: stride, normalize: null}}
- {runtime: onnxruntime, serving: {dynamic_batching: null, tier: 1, graph_level: -1, length_buckets: "8,16"}}
- runtime: onnxruntime
  serving:
    dynamic_batching:
      {priority_levels: 2, default_priority_level: 1, priority_queue_policies: {1: {max_queue_size: 4}}}
- {runtime: "${PREP_ABSENT:-onnxruntime}", serving: {max_batch_size: "${PREP_ABSENT:-8}", warmup: "${PREP_ABSENT:-on}"}}
- {runtime: onnxruntime, name: "${PREP_ABSENT:-a}"}
- {runtime: onnxruntim}
- {runtime: onnxruntime, precison: fp16}
- {precision: fp16}
- {runtime: onnxruntime, serving: {max_batch_size: 0}}
- {runtime: onnxruntime, serving: {max_batch_size: [1]}}
- {runtime: onnxruntime, serving: {tier: 3}}
- {runtime: onnxruntime, serving: {warmup: perhaps}}
- {runtime: onnxruntime, text: 3}
- {runtime: onnxruntime, name: a b}
- {runtime: tensorrt, gpus: t4}
- {runtime: tensorrt, gpus: [t4], profiles: [{min: [1, 1], opt: [1, 2]}]}
"""


@pytest.mark.parametrize("variant", yaml.safe_load(VARIANTS), ids=str)
@pytest.mark.parametrize(
    "more", [{}, {"x-own": {"any": ["thing"]}}, {"own": 1}, {"target": {"triton": 25.08}}], ids=str
)
def test_an_editor_says_what_prep_says(variant: dict[str, Any], more: dict[str, Any]):
    text = yaml.safe_dump({"models": [{"model": "minilm", "variants": [variant]}], **more})
    try:
        parse_run_spec(text, where="it")
        is_valid = True
    except SpecError:
        is_valid = False
    assert Draft7Validator(make_schema("pipeline")).is_valid(_with_text_keys(yaml.safe_load(text))) == is_valid


def _with_text_keys(value: Any) -> Any:
    """JSON's keys are texts: a YAML language server sees the level 1 as "1"."""
    if isinstance(value, dict):
        return {str(key): _with_text_keys(inner) for key, inner in value.items()}
    return [_with_text_keys(inner) for inner in value] if isinstance(value, list) else value


def test_the_defaults_are_those_that_prep_takes():
    for file, (spec_type, _) in FILES.items():
        schema = make_schema(file)
        values = {
            key: inner["default"] for key, inner in schema["properties"].items() if inner.get("default") is not None
        }
        base = {"models": [{"model": "a", "variants": [{"runtime": "onnxruntime"}]}]} if spec_type is RunSpec else {}
        assert build_spec(spec_type, base | values, where="it") == build_spec(spec_type, base, where="it")
    assert make_schema("serving")["properties"]["dynamic_batching"]["default"] == {}
    assert ServingSpec().dynamic_batching is not None
