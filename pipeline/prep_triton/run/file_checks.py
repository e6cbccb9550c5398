"""What a pipeline file can be refused for on any machine: every fault at once, with its line."""

from collections.abc import Callable, Iterator
from functools import partial

from prep_triton.errors import PrepError
from prep_triton.gpus import NATIVE, check_rtx_builds, resolve_gpu
from prep_triton.run.bench_request import find_bench_errors
from prep_triton.run.checks import nothing_servable
from prep_triton.run.inputs import find_input_errors
from prep_triton.run.names import name_of_model, names_of_variant
from prep_triton.spec import RunSpec, VariantSpec
from prep_triton.spec.faults import Path, Problem, error_from_problems
from prep_triton.spec.yaml_text import YamlDocument


def check_run_spec(spec: RunSpec, document: YamlDocument | None = None) -> None:
    """Refuse a pipeline file that no machine could run.

    Raises:
        SpecError: Two models or two entries have one name, a choice means nothing to its backend, or there is no such
            target or store.
    """
    _refuse([*_find_name_problems(spec), *_find_choice_problems(spec)], document)


def check_file(spec: RunSpec, document: YamlDocument | None = None, *, where: str = "the config") -> None:
    """Refuse a pipeline file for all that is wrong with it, whatever the machine: its inputs and GPUs as well.

    Args:
        spec: What the file asks for.
        document: The file, whose lines are named.
        where: What it is called where there is none.

    Raises:
        SpecError: It has every fault.
    """
    problems = [*_find_name_problems(spec), *_find_choice_problems(spec), *_find_gpu_problems(spec)]
    problems += _find_random_weights(spec)
    for number, model in enumerate(spec.models):
        problems += [_problem(("models", number, *path), err) for path, err in find_input_errors(model)]
    _refuse(problems, document, where)


def _refuse(problems: list[Problem], document: YamlDocument | None, where: str = "the config") -> None:
    if problems:
        raise error_from_problems(problems, where=document.where if document else where, document=document)


def _problem(path: Path, err: PrepError) -> Problem:
    return Problem(path, err.message, err.hint)


def _try(path: Path, check: Callable[[], object]) -> Iterator[Problem]:
    try:
        check()
    except PrepError as err:
        yield _problem(path, err)


def _find_name_problems(spec: RunSpec) -> Iterator[Problem]:
    models: dict[str, int] = {}
    entries: dict[str, str] = {}
    for number, model in enumerate(spec.models):
        name = name_of_model(model)
        if name in models:
            hint = "give one of them another name, or put all variants under one model"
            yield Problem(("models", number), f"it has the name '{name}', as models[{models[name]}] has", hint)
            continue  # so have its entries, then
        models[name] = number
        for index, variant in enumerate(model.variants):
            path: Path = ("models", number, "variants", index)
            if variant in model.variants[:index]:
                yield Problem(path, f"it is there twice: see variants[{model.variants.index(variant)}]", "remove one")
                continue
            yield from _find_entry_problems(path, names_of_variant(variant, name), entries)


def _find_entry_problems(path: Path, names: set[str], entries: dict[str, str]) -> Iterator[Problem]:
    """Yield a problem for each entry that another variant is as well; `entries` has the place of each."""
    place = f"models[{path[1]}].variants[{path[3]}]"
    for name in sorted(names):
        if name in entries:
            hint = f"give one of them another name, say name: {name}-2"
            yield Problem(path, f"it would be the entry '{name}', as {entries[name]} is", hint)
        entries.setdefault(name, place)


def _find_choice_problems(spec: RunSpec) -> Iterator[Problem]:
    from prep_triton.publish.uri import check_store_uri
    from prep_triton.target import resolve_target
    from prep_triton.triton.config.resolve import check_choices

    if spec.target is not None:
        yield from _try(("target",), partial(resolve_target, spec.target))
    if spec.publish:
        yield from _try(("publish",), partial(check_store_uri, spec.publish))
    if spec.workspace.remote is not None:
        yield from _try(("workspace", "remote"), partial(check_store_uri, spec.workspace.remote))
    if spec.bench is not None:
        yield from (_problem(path, err) for path, err in find_bench_errors(spec))
    for path, variant in _list_variants(spec):
        yield from _try((*path, "serving"), partial(check_choices, variant.serving, variant.runtime))


def _find_gpu_problems(spec: RunSpec) -> Iterator[Problem]:
    for path, variant in _list_variants(spec):
        for index, name in enumerate(variant.gpus):
            yield from _try((*path, "gpus", index), partial(_check_gpu, name, variant))
    variants = [variant for _, variant in _list_variants(spec)]
    if all(variant.runtime == "tensorrt" and variant.builder == "tensorrt-rtx" for variant in variants):
        yield _problem(("models",), nothing_servable())


def _find_random_weights(spec: RunSpec) -> Iterator[Problem]:
    """Yield each model of random weights that would be published without a word: see `check_weights`."""
    for number, model in enumerate(spec.models):
        if model.weights == "random" and spec.publish and not spec.allow_random:
            message = "random weights are for benchmarks, and this file publishes"
            hint = "remove weights: random, or add allow_random: true at the top of the file"
            yield Problem(("models", number, "weights"), message, hint)


def _check_gpu(name: str, variant: VariantSpec) -> None:
    if name == NATIVE:  # whatever it is, the machine that runs the file has it
        return
    gpu = resolve_gpu(name)
    if variant.builder == "tensorrt-rtx":
        check_rtx_builds(gpu, variant.precision)


def _list_variants(spec: RunSpec) -> Iterator[tuple[Path, VariantSpec]]:
    for number, model in enumerate(spec.models):
        for index, variant in enumerate(model.variants):
            yield ("models", number, "variants", index), variant
