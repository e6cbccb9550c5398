"""Some models of a pipeline file: the others are left as they are."""

from collections.abc import Collection

from prep_triton.errors import SpecError, suggest
from prep_triton.run.names import name_of_model
from prep_triton.spec import PipelineModelSpec, RunSpec


def select_models(spec: RunSpec, names: Collection[str]) -> tuple[RunSpec, tuple[PipelineModelSpec, ...]]:
    """Return a file with some of its models, and the others; with all of them where no name is given.

    Raises:
        SpecError: The file has no model of a name.
    """
    if not names:
        return spec, ()
    by_name = {name_of_model(model): model for model in spec.models}
    for name in names:
        if name not in by_name:
            hint = suggest(name, by_name, otherwise=f"its models are {', '.join(by_name)}")
            raise SpecError(f"the file has no model '{name}'", hint=hint)
    chosen = tuple(model for name, model in by_name.items() if name in names)
    others = tuple(model for name, model in by_name.items() if name not in names)
    return spec.model_copy(update={"models": chosen}), others
