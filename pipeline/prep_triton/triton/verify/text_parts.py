"""Tries the parts of an ensemble whose model cannot run on this machine, with known numbers in its place."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from prep_triton.artifact import RepositoryEntry
from prep_triton.triton.server.client import TritonClient
from prep_triton.triton.verify.model import load_config
from prep_triton.triton.verify.text_reference import Agreement, TextRow, compare_answer
from prep_triton.triton.verify.text_rows import TextRows, tensors_from_rows

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class PartsTrial:
    """What came of a tokenizer and a post-processor: for each text, and by which outputs of the model."""

    found: Sequence[Agreement]
    source: str


def try_parts(entry: RepositoryEntry, served: RepositoryEntry, client: TritonClient) -> PartsTrial:
    """Send texts through an ensemble's steps one by one, as its wiring says, but for the model that it serves.

    The model's place is taken by PyTorch's outputs in its reference or, where the task's text is not in it, by
    seeded noise; the tokenizer's ids are compared on the way.

    Raises:
        RepositoryError: The reference or a configuration cannot be used.
        VerifyError: The server refused a request, or there is no text to send.
    """
    texts = TextRows(entry, served)
    config = load_config(entry)
    found = []
    for row in texts.drawn():
        tensors = tensors_from_rows([tensor.name for tensor in config.input], [row], has_batch=True)
        wrong = ""
        for step in config.ensemble_scheduling.step:
            missing = [name for name in step.input_map.values() if name not in tensors]
            if missing:
                wrong = f"{step.model_name} needs {', '.join(missing)}, which no step before it gives"
                break
            given = {name: tensors[source] for name, source in step.input_map.items()}
            if step.model_name == served.name:
                wrong = wrong or _compare_inputs(row, given, texts.width(row))
                answer = _padded_outputs(row, texts)
            else:
                answer, _ = client.ask(step.model_name, given, list(step.output_map))
            tensors |= {target: answer[name] for name, target in step.output_map.items()}
        if wrong:
            found.append(Agreement(wrong=wrong))
        else:
            one = {tensor.name: tensors[tensor.name][0] for tensor in config.output if tensor.name in tensors}
            found.append(compare_answer(entry.task, row, one, texts.rules))
    return PartsTrial(found, "PyTorch's answers" if texts.oracle == "pytorch" else "random numbers")


def _compare_inputs(row: TextRow, given: Mapping[str, "Array"], width: int) -> str:
    ids, mask = given["input_ids"][0], given["attention_mask"][0]
    if len(ids) != width:
        return f"the tokenizer pads {len(row.ids)} tokens to {len(ids)}, expected {width}"
    if ids[: len(row.ids)].tolist() != list(row.ids) or int(mask.sum()) != len(row.ids):
        return f"the tokenizer gives other ids than expected for {row.text!r}"
    return ""


def _padded_outputs(row: TextRow, texts: TextRows) -> dict[str, "Array"]:
    """Give the row's outputs a batch axis, and zeros up to its bucket."""
    import numpy as np

    made = {}
    for name, array in row.outputs.items():
        padding = [(0, texts.width(row) - len(array))] if texts.is_sequence[name] else []
        made[name] = np.pad(array, padding + [(0, 0)] * (array.ndim - len(padding)))[None]
    return made
