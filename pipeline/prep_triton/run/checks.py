"""What a run can be refused for before its first minute of work."""

from pathlib import Path

from prep_triton.engine.machine import Machine
from prep_triton.errors import RepositoryError, SpecError
from prep_triton.extras import check_extra
from prep_triton.run.resolve import ResolvedRun
from prep_triton.spec import ModelSpec, PipelineModelSpec, Precision, RunSpec, VariantSpec


def check_run_spec(spec: RunSpec) -> None:
    """Refuse a pipeline file that no machine could run.

    Raises:
        SpecError: Two models or two entries have one name.
    """
    models: set[str] = set()
    entries: dict[str, str] = {}
    for number, model in enumerate(spec.models):
        name = name_of_model(model)
        if name in models:
            raise SpecError(
                f"two models of this config have the name '{name}'",
                hint="give one of them another name, or put all variants under one model",
            )
        models.add(name)
        for index, variant in enumerate(model.variants):
            if variant in model.variants[:index]:
                raise SpecError(
                    f"models[{number}].variants[{index}] is there twice", hint="remove one of the two variants"
                )
            _check_entry_name(variant, name, f"models[{number}].variants[{index}]", entries)


def check_machine(run: ResolvedRun) -> None:
    """Refuse what this machine cannot do; starts nothing and imports nothing heavy.

    Raises:
        MissingPackageError: A library that exports is not installed.
        UnsupportedGpuError: A builder does not build for a GPU.
        EngineError: A builder cannot be used here.
        RepositoryError: Nothing would come of it that Triton can serve.
        ServerError: There is no Triton to verify with.
    """
    check_extra("export")
    variants = [variant for model in run.spec.models for variant in model.variants]
    builders = {builder for variant in variants for builder in _check_engines(variant, run.machine)}
    if builders == {"tensorrt-rtx"} and all(variant.runtime == "tensorrt" for variant in variants):
        raise nothing_servable()
    if run.is_verified and run.spec.verify.server_url is None:
        from prep_triton.triton.server.installation import describe_server

        describe_server()


def nothing_servable() -> RepositoryError:
    """Return the error of a config whose engines are all TensorRT-RTX ones."""
    return RepositoryError(
        "nothing that Triton can serve comes of this config: its only engines are TensorRT-RTX ones",
        hint="add a variant with runtime: onnxruntime, or build with builder: tensorrt on the target GPU",
    )


def name_of_model(spec: ModelSpec) -> str:
    """Return the name that the export of a model will have; see `prep_triton.export.source.resolve_source`."""
    from prep_triton.export.source import name_from_text

    # The last part of a folder's path, of a hub id, and an alias itself.
    return spec.name or name_from_text(Path(spec.model.strip()).expanduser().resolve().name)


def _check_engines(variant: VariantSpec, machine: Machine) -> set[str]:
    """Check a variant's engines as far as that needs no graph; return the names of their builders."""
    if variant.runtime != "tensorrt":
        return set()
    from prep_triton.engine.builders import resolve_builder
    from prep_triton.engine.elsewhere import is_built_elsewhere
    from prep_triton.gpus import check_gpu_present, check_rtx_builds, resolve_gpu

    names = set()
    for spec in variant.engine_specs():
        gpu = resolve_gpu(spec.gpu, machine.gpus)
        if is_built_elsewhere(spec, machine):
            names.add("tensorrt")
            continue
        builder = resolve_builder(spec.builder, machine.problems)
        if builder.name == "tensorrt-rtx":
            check_rtx_builds(gpu, spec.precision)
        else:
            check_gpu_present(gpu, machine.gpus)
        names.add(builder.name)
    return names


def names_of_entries(model: PipelineModelSpec) -> set[str]:
    """Return the names that a model's entries may have, without those of text."""
    name = name_of_model(model)
    return {entry for variant in model.variants for entry in _names_of_variant(variant, name)}


def _names_of_variant(variant: VariantSpec, model_name: str) -> set[str]:
    if variant.builder == "tensorrt-rtx":
        return set()  # its engines become no entry
    from prep_triton.triton.entries.names import default_entry_name

    is_plan = variant.runtime == "tensorrt"
    # INT8 that turns out slower ships as FP16, under FP16's name.
    precisions: tuple[Precision, ...] = ("int8", "fp16") if variant.int8_if_faster else (variant.precision,)
    return {variant.name or default_entry_name(model_name, precision, is_plan=is_plan) for precision in precisions}


def _check_entry_name(variant: VariantSpec, model_name: str, place: str, entries: dict[str, str]) -> None:
    for name in _names_of_variant(variant, model_name):
        if name in entries:
            raise SpecError(
                f"{entries[name]} and {place} would both be the entry '{name}'",
                hint=f"give one of them another name, say name: {name}-2",
            )
        entries[name] = place
