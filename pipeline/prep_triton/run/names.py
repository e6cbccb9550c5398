"""What a model of a pipeline file, and its entries, will be called."""

from pathlib import Path

from prep_triton.spec import ModelSpec, PipelineModelSpec, Precision, VariantSpec


def name_of_model(spec: ModelSpec) -> str:
    """Return the name that the export of a model will have; see `prep_triton.export.source.resolve_source`."""
    from prep_triton.export.source import name_from_place
    from prep_triton.run.mlflow import REGISTRY_PREFIX, name_of_registered

    # The last part of a folder's path, of a URI or a hub id, and an alias itself.
    model = spec.model.strip()
    if model.startswith(REGISTRY_PREFIX):
        return spec.name or name_of_registered(model)
    return spec.name or name_from_place(model if "://" in model else str(Path(model).expanduser().resolve()))


def names_of_entries(model: PipelineModelSpec) -> set[str]:
    """Return the names that a model's entries may have, without those of text."""
    name = name_of_model(model)
    return {entry for variant in model.variants for entry in names_of_variant(variant, name)}


def names_of_variant(variant: VariantSpec, model_name: str) -> set[str]:
    """Return the names that a variant's entry may have; none where its engines become no entry."""
    if variant.builder == "tensorrt-rtx":
        return set()  # its engines become no entry
    from prep_triton.triton.entries.names import default_entry_name

    # INT8 that turns out slower ships as FP16, under FP16's name.
    precisions: tuple[Precision, ...] = ("int8", "fp16") if variant.int8_if_faster else (variant.precision,)
    return {variant.name or default_entry_name(model_name, variant.runtime, precision) for precision in precisions}
