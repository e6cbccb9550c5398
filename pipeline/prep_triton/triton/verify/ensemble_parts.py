"""Checks the other steps of an ensemble whose model cannot run on this machine, with known numbers in its place."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from prep_triton.artifact import RepositoryEntry
from prep_triton.triton.server.client import TritonClient
from prep_triton.triton.verify.expected_answers import AnswerCheck, TextRow, compare_answer
from prep_triton.triton.verify.library import LibraryCheck
from prep_triton.triton.verify.requests import load_config
from prep_triton.triton.verify.text_rows import TextRows, tensors_from_rows

if TYPE_CHECKING:
    import numpy as np
    from tritonclient.grpc.model_config_pb2 import ModelConfig

    Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class PartsCheck:
    """How a tokenizer and a post-processor answered each text, and what stood in for the model's outputs."""

    answers: Sequence[AnswerCheck]
    source: str


def check_parts(entry: RepositoryEntry, served: RepositoryEntry, client: TritonClient) -> PartsCheck:
    """Send texts through an ensemble's steps one by one, as its wiring says, but for the model that it serves.

    The model's place is taken by PyTorch's outputs in its reference or, where the task's text is not in it, by
    seeded noise; the tokenizer's ids are compared on the way, and with those of the checkpoint's own library.

    Raises:
        RepositoryError: The reference or a configuration cannot be used.
        VerifyError: The server refused a request, or there is no text to send.
    """
    texts = TextRows(entry, served)
    config = load_config(entry)
    library = LibraryCheck(entry, served, texts, client)
    answers = [library.compare_ids(row) for row in library.rows()]
    for row in texts.drawn():
        tensors, mismatch = _infer_steps(row, texts, config, client)
        if mismatch:
            answers.append(AnswerCheck(mismatch=mismatch))
        else:
            outputs = {tensor.name: tensors[tensor.name][0] for tensor in config.output if tensor.name in tensors}
            answers.append(compare_answer(entry.task, row, outputs, texts.options))
    return PartsCheck(answers, "PyTorch's answers" if texts.compared_with == "pytorch" else "random numbers")


def _infer_steps(
    row: TextRow, texts: TextRows, config: "ModelConfig", client: TritonClient
) -> tuple[dict[str, "Array"], str]:
    """Return every tensor of the ensemble for one text, and what is wrong with the tokenizer's; empty where nothing."""
    tensors = tensors_from_rows([tensor.name for tensor in config.input], [row], has_batch=True)
    mismatch = ""
    optional = {tensor.name for tensor in config.input if tensor.optional}
    for step in config.ensemble_scheduling.step:
        missing = [name for name in step.input_map.values() if name not in tensors and name not in optional]
        if missing:
            return tensors, f"{step.model_name} needs {', '.join(missing)}, which no step before it gives"
        inputs = {name: tensors[source] for name, source in step.input_map.items() if source in tensors}
        if step.model_name == texts.served.name:
            mismatch = mismatch or _compare_inputs(row, inputs, texts.width(row))
            outputs = _padded_outputs(row, texts)
        else:
            outputs, _ = client.infer(step.model_name, inputs, list(step.output_map))
        tensors |= {target: outputs[name] for name, target in step.output_map.items()}
    return tensors, mismatch


def _compare_inputs(row: TextRow, inputs: Mapping[str, "Array"], width: int) -> str:
    ids, mask = inputs["input_ids"][0], inputs["attention_mask"][0]
    if len(ids) != width:
        return f"the tokenizer pads {len(row.ids)} tokens to {len(ids)}, expected {width}"
    if ids[: len(row.ids)].tolist() != list(row.ids) or int((mask != 0).sum()) != len(row.ids):
        return f"the tokenizer's ids for {row.text!r} are not the expected ones"
    return ""


def _padded_outputs(row: TextRow, texts: TextRows) -> dict[str, "Array"]:
    """Give the row's outputs a batch axis, and zeros up to its bucket."""
    import numpy as np

    padded = {}
    for name, array in row.outputs.items():
        padding = [(0, texts.width(row) - len(array))] if texts.is_sequence[name] else []
        padded[name] = np.pad(array, padding + [(0, 0)] * (array.ndim - len(padding)))[None]
    return padded
