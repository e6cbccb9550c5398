"""Warm-up samples against the model and the vocabulary (core, backend_model_instance.cc, GenerateWarmupData)."""

import math
from array import array
from collections.abc import Iterator
from typing import Any

from prep_triton.layout import WARMUP_DIR
from prep_triton.triton.lint.entry import EntryFolder
from prep_triton.triton.lint.finding import Finding
from prep_triton.triton.lint.tensors import WILDCARD, data_type_name, describe_dims
from prep_triton.triton.lint.tree import is_readable_file, is_within

IDS_NAME = "input_ids"
_SIZES = {
    "BOOL": 1, "UINT8": 1, "INT8": 1, "UINT16": 2, "INT16": 2, "FP16": 2, "BF16": 2,
    "UINT32": 4, "INT32": 4, "FP32": 4, "UINT64": 8, "INT64": 8, "FP64": 8,
}  # fmt: skip
_INTEGERS = {"INT32": "i", "INT64": "q"}  # type codes of `array`


def find_warmup_problems(entry: EntryFolder) -> Iterator[Finding]:
    """Find what is wrong with the warm-up samples."""
    config: Any = entry.config
    largest = max(1, config.max_batch_size)
    for index, sample in enumerate(config.model_warmup):
        where = f"model_warmup[{index}]"
        if sample.batch_size == 0:
            message = f"the sample '{sample.name}' has batch_size 0: the server skips it"
            yield entry.at("warmup-skipped", where, message, "set batch_size to 1 or more")
            continue
        if sample.batch_size > largest:
            message = f"the sample '{sample.name}' has batch_size {sample.batch_size}, the model takes up to {largest}"
            yield entry.at("warmup-batch", where, message, f"lower batch_size to {largest}")
        yield from _find_missing_inputs(entry, sample, where)
        for name in sorted(sample.inputs):
            yield from _find_input_problems(entry, name, sample.inputs[name], f"{where}.inputs.{name}")


def _find_missing_inputs(entry: EntryFolder, sample: Any, where: str) -> Iterator[Finding]:
    config: Any = entry.config
    missing = [tensor.name for tensor in config.input if not tensor.optional and tensor.name not in sample.inputs]
    if missing:
        message = (
            f"the sample '{sample.name}' leaves out the input{'s' if len(missing) > 1 else ''} {', '.join(missing)}"
        )
        yield entry.at("warmup-input", where, message, "give every input")


def _find_input_problems(entry: EntryFolder, name: str, sample_input: Any, where: str) -> Iterator[Finding]:
    config: Any = entry.config
    dims, dtype = list(sample_input.dims), data_type_name(sample_input.data_type)
    if any(size < 0 for size in dims):
        message = f"the dims of '{name}' are {describe_dims(dims)}; a sample has sizes from 0"
        yield entry.at("warmup-input", where, message, "write the sizes of the sample")
        return
    expected = next((tensor for tensor in config.input if tensor.name == name), None)
    if expected is not None:
        input_dtype = data_type_name(expected.data_type)
        if input_dtype != dtype:
            message = f"'{name}' is TYPE_{dtype} here, and TYPE_{input_dtype} in the model's input"
            yield entry.at("warmup-input", where, message, f"write data_type: TYPE_{input_dtype}")
        pairs = zip(dims, expected.dims, strict=False)
        if len(dims) != len(expected.dims) or any(b not in {WILDCARD, a} for a, b in pairs):
            message = (
                f"'{name}' has the dims {describe_dims(dims)} here, and {describe_dims(expected.dims)} in the input"
            )
            yield entry.at("warmup-input", where, message, "write dims that the input takes, without the batch")
    kind = sample_input.WhichOneof("input_data_type")
    if kind is None:
        message = f"'{name}' has none of zero_data, random_data and input_data_file"
        yield entry.at("warmup-data", where, message, "set one of them")
    elif kind == "random_data" and name == IDS_NAME:
        message = "random ids lie beyond any vocabulary, and the model fails on them"
        yield entry.at("warmup-random", where, message, "use zero_data, or a file of real ids")
    yield from _find_length_problems(entry, name, dims, where)
    if kind == "input_data_file":
        yield from _find_data_problems(entry, name, sample_input, where)


def _find_data_problems(entry: EntryFolder, name: str, sample_input: Any, where: str) -> Iterator[Finding]:
    dtype, relative = data_type_name(sample_input.data_type), f"{WARMUP_DIR}/{sample_input.input_data_file}"
    path = entry.folder / relative
    if not is_within(sample_input.input_data_file) or not is_readable_file(path):
        message = f"the data of '{name}', {relative}, is not there"
        yield entry.at("warmup-data", where, message, "put it there, or assemble the entry again")
        return
    content, count = path.read_bytes(), math.prod(sample_input.dims)
    if dtype not in _SIZES:
        return  # strings have no size of their own
    needed = count * _SIZES[dtype]
    if len(content) < needed:
        message = (
            f"{relative} has {len(content)} bytes, {describe_dims(sample_input.dims)} of TYPE_{dtype} takes {needed}"
        )
        yield entry.at("warmup-data", where, message, "assemble the entry again")
        return
    if len(content) > needed:
        message = f"{relative} has {len(content)} bytes, {needed} are read"
        yield entry.at("warmup-length", where, message, "shorten it, or correct the dims")
    if name == IDS_NAME and dtype in _INTEGERS:
        yield from _find_id_problems(entry, content[:needed], _INTEGERS[dtype], relative, where)


def _find_id_problems(entry: EntryFolder, content: bytes, code: str, relative: str, where: str) -> Iterator[Finding]:
    model = entry.manifest.onnx if entry.manifest else None
    ids = array(code, content)
    low, high = min(ids, default=0), max(ids, default=0)
    size = model.vocab_size if model else None
    if low < 0 or (size is not None and high >= size):
        worst = low if low < 0 else high
        known = f"the vocabulary has {size} ids, from 0" if size is not None else "ids begin at 0"
        message = f"{relative} has the token id {worst}; {known}"
        yield entry.at("warmup-vocabulary", where, message, "assemble the entry again")


def _find_length_problems(entry: EntryFolder, name: str, dims: list[int], where: str) -> Iterator[Finding]:
    model = entry.manifest.onnx if entry.manifest else None
    if model is None or name != IDS_NAME or not dims or dims[-1] <= model.max_sequence_length:
        return
    message = f"the sample has {dims[-1]} ids, the model takes up to {model.max_sequence_length}"
    yield entry.at("warmup-vocabulary", where, message, "shorten the sample")
