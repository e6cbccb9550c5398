"""What a model of a pipeline file is made of, looked at before anything is made: its source and the files it names.

Nothing is read but what is small, and no hub is asked.
"""

import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from prep_triton.errors import PrepError, SpecError
from prep_triton.spec import CalibrationSpec, PipelineModelSpec, VariantSpec
from prep_triton.spec.faults import Path as KeyPath


def find_input_errors(model: PipelineModelSpec) -> Iterator[tuple[KeyPath, PrepError]]:
    """Yield what is wrong with a model's inputs, each with the key below the model that names it."""
    from prep_triton.export.source import check_tokenizer_source
    from prep_triton.run.export import check_origin

    yield from check_origin(model.model_spec())
    yield from _find_text_errors(model)
    if model.tokenizer is not None:
        yield from _catch(("tokenizer",), partial(check_tokenizer_source, model.tokenizer))
    for index, variant in enumerate(model.variants):
        for path, error in _find_file_errors(variant):
            yield ("variants", index, *path), error


def check_inputs(model: PipelineModelSpec) -> None:
    """Refuse a model for the first thing that is wrong with its inputs.

    Raises:
        PrepError: That; of the kind that the stage would raise that reads them.
    """
    for _, error in find_input_errors(model):
        raise error


def check_files(variant: VariantSpec) -> None:
    """Refuse a variant for the first file that it names and that is not there, or cannot be read.

    Raises:
        SpecError: There is one.
    """
    for _, error in _find_file_errors(variant):
        raise error


def _find_text_errors(model: PipelineModelSpec) -> Iterator[tuple[KeyPath, PrepError]]:
    """Yield the text choices that mean nothing for the model's task, where that is known before it is fetched."""
    from prep_triton.export.source import GRAPH_SUFFIX, find_local_task
    from prep_triton.run.fetched import is_elsewhere
    from prep_triton.run.names import name_of_model
    from prep_triton.triton.entries.text import check_text_choices

    spec = model.model_spec()
    if is_elsewhere(spec.model) or spec.model.strip().endswith(GRAPH_SUFFIX):
        return
    try:
        task = find_local_task(spec)
    except PrepError:  # of the source, which `check_origin` tells
        return
    for index, variant in enumerate(model.variants):
        if task is not None and variant.text is not None:
            check = partial(check_text_choices, task, name_of_model(spec), variant.text)
            yield from _catch(("variants", index, "text"), check)


def _find_file_errors(variant: VariantSpec) -> Iterator[tuple[KeyPath, PrepError]]:
    if variant.quantization is not None:
        calibration = variant.quantization.calibration
        yield from _catch(("quantization", "calibration", "path"), partial(_check_calibration, calibration))
    if variant.gate is not None and variant.gate.eval_data is not None:
        path = Path(variant.gate.eval_data)
        yield from _catch(("gate", "eval_data"), partial(_check_readable, path, "evaluation file"))


def _check_calibration(spec: CalibrationSpec) -> None:
    from prep_triton.precision.int8.calibration import locate_calibration_data

    _check_readable(locate_calibration_data(spec), "calibration file")


def _check_readable(path: Path, what: str) -> None:
    if not path.is_file():
        raise SpecError(f"there is no {what} {path}", hint="check the path: it is relative to the working directory")
    if not os.access(path, os.R_OK):
        raise SpecError(f"{what} {path} cannot be read", hint="check its permissions")


def _catch(path: KeyPath, check: Callable[[], None]) -> Iterator[tuple[KeyPath, PrepError]]:
    try:
        check()
    except PrepError as err:
        yield path, err
