"""The config.pbtxt of every entry that the shipped configs make, from records alone: no model is exported.

``model_repository/<entry>/config.pbtxt`` is tracked, so that a change of generation shows as a diff. Write them again:

    python -m tests.fakes.shipped_configs
"""

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

from prep_triton.artifact import Engine, OnnxModel, PrecisionProof, RepositoryEntry
from prep_triton.export import heads
from prep_triton.export.source import ALIASES
from prep_triton.gpus import resolve_gpu
from prep_triton.run.names import name_of_model
from prep_triton.spec import PipelineModelSpec, VariantSpec, load_run_spec
from prep_triton.triton.config import parse_config, render_config, resolve_serving
from prep_triton.triton.entries.text_config import TextConfigs
from prep_triton.triton.entries.write import preview_entry

ROOT = Path(__file__).parent.parent.parent
MINILM_LENGTH = 256  # its sentence_bert_config.json
REPOSITORY = ROOT / "model_repository"


def render_shipped_configs() -> dict[str, str]:
    """Return the text of config.pbtxt by entry name, over all of ``configs/*.yaml``.

    An entry that two configs make must be the same in both.
    """
    rendered: dict[str, str] = {}
    for path in sorted((ROOT / "configs").glob("*.yaml")):
        for model in load_run_spec(path).models:
            for variant in model.variants:
                for name, text in render_variant(model, variant):
                    assert rendered.setdefault(name, text) == text, f"{path.name} makes another {name}"
    return rendered


def render_variant(model: PipelineModelSpec, variant: VariantSpec) -> Iterator[tuple[str, str]]:
    """Yield the entries of a variant; those of RTX engines are none."""
    if variant.builder == "tensorrt-rtx":
        return
    exported = make_record(model)
    engines = [make_plan(exported, variant, gpu) for gpu in variant.gpus]
    graph = exported.model_copy(update={"precision": variant.precision})
    name, text = preview_entry(graph, engines, variant)
    yield name, text
    if variant.text is None:
        return
    config = parse_config(text)
    resolved = resolve_serving(engines or graph, variant, longest=graph.max_sequence_length, usual=graph.usual_length)
    entry = RepositoryEntry(
        name=name,
        runtime=variant.runtime,
        precision=variant.precision,
        task=exported.task,
        architecture=exported.architecture,
        weights=exported.weights,
        max_batch_size=config.max_batch_size,
        tolerance=1.0,
        length_buckets=resolved.length_buckets,
        onnx=exported,
        spec={"serving": resolved.choices.model_dump(mode="json"), "min_sequence": resolved.shortest},
    )
    configs = TextConfigs(entry, config, variant.text)
    for message in (configs.tokenizer(), configs.postprocessor(), configs.ensemble()):
        yield message.name, render_config(message)


def make_record(spec: PipelineModelSpec) -> OnnxModel:
    """Return the record that an export of an alias would have, as far as a configuration depends on it."""
    config = ALIASES[spec.model].config
    architecture = config["model_type"]
    task = heads.resolve_task(spec.task, config, where=spec.model)
    return OnnxModel(
        name=name_of_model(spec),
        architecture=architecture,
        task=task,
        weights=spec.weights,
        source="a record",
        precision="fp32",
        opset=heads.OPSET,
        model_inputs=heads.input_specs(architecture),
        model_outputs=heads.output_specs(task, _as_config(config)),
        max_sequence_length=config["max_position_embeddings"],
        declared_length=MINILM_LENGTH if spec.model == "minilm" and spec.weights == "hub" else None,
        vocab_size=config["vocab_size"],
        parameters=0,
    )


def make_plan(model: OnnxModel, variant: VariantSpec, gpu: str) -> Engine:
    """Return the record of a plan that was never built."""
    return Engine(
        name=f"{model.name}-{gpu}",
        builder="tensorrt",
        builder_version="0",
        precision=variant.precision,
        gpu=gpu,
        compute_capability=resolve_gpu(gpu).compute_capability,
        profiles=variant.engine_profiles(model.usual_length),
        model_inputs=model.model_inputs,
        model_outputs=model.model_outputs,
        proof=PrecisionProof(method="none", gemm_flops_share={}, layers={}),
        build_seconds=0.0,
    )


def _as_config(config: object) -> SimpleNamespace:
    fields = dict(config)  # type: ignore[call-overload]
    fields["hidden_size"] = fields.get("hidden_size", fields.get("dim"))
    return SimpleNamespace(**fields)


if __name__ == "__main__":
    for entry_name, content in render_shipped_configs().items():
        target = REPOSITORY / entry_name / "config.pbtxt"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(content, encoding="utf-8")
