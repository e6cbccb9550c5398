"""What a task is measured by, on a server: the labelled rows of an entry's gate, answered by Triton."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prep_triton.artifact import AccuracyRecord, OnnxModel, RepositoryEntry
from prep_triton.errors import PrecisionError, SpecError

if TYPE_CHECKING:
    from prep_triton.precision.measure.token_rows import TokenRow
    from prep_triton.triton.server.client import TritonClient
    from prep_triton.triton.verify.report import EntryReport


def check_served_accuracy(entry: RepositoryEntry, client: "TritonClient", report: "EntryReport") -> "EntryReport":
    """Let a server answer the labelled rows of an entry's gate; return its report with what came of it.

    Nothing is measured, and a note says so, where the rows are not on this machine.

    Raises:
        RefusedRequestError: The server refused or failed a request.
    """
    model = entry.onnx
    if model is None or model.gate is None or model.gate.eval_data is None or model.accuracy is None:
        return report
    path = Path(model.gate.eval_data)
    if not path.is_file():
        note = f"its accuracy was not measured on the server: {path} is not on this machine"
        return report.model_copy(update={"notes": (*report.notes, note)})
    from prep_triton.precision.measure.accuracy import check_accuracy

    try:
        accuracy = _measure(entry, model.model_copy(update={"folder": entry.folder}), path, client)
        check_accuracy(accuracy, model.gate.max_accuracy_drop or 0.0)
    except (PrecisionError, SpecError) as err:
        return report.model_copy(update={"status": "failed", "detail": f"on the server: {err.message}"})
    return report.model_copy(update={"accuracy": accuracy})


def _measure(entry: RepositoryEntry, model: OnnxModel, path: Path, client: "TritonClient") -> AccuracyRecord:
    from prep_triton.precision.measure.accuracy import load_scoring
    from prep_triton.triton.verify.requests import SequenceLengths

    assert model.accuracy
    lengths = SequenceLengths.from_entry(entry)
    scoring = load_scoring(model, path, max_tokens=min(model.max_sequence_length, lengths.longest))
    choices: list[Any] = [None] * len(scoring.sequences)
    for index, answers in _infer_rows(entry, scoring.sequences, lengths, client):
        choices[index] = scoring.choose(index, answers)
    points = scoring.score(choices)
    return AccuracyRecord(
        metric=scoring.metric,
        rows=scoring.rows,
        reference=model.accuracy.reference,
        converted=points[scoring.metric],
    )


def _infer_rows(
    entry: RepositoryEntry, rows: "Sequence[TokenRow]", lengths: Any, client: "TritonClient"
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the index of each row and its unpadded answers, in the largest batches that the entry takes."""
    import numpy as np

    from prep_triton.triton.server.batch_axis import largest_request
    from prep_triton.triton.verify.requests import load_config, numpy_dtype, sequence_outputs

    config = load_config(entry)
    size = largest_request(config)
    outputs = [tensor.name for tensor in config.output]
    is_sequence = sequence_outputs(config)
    by_width: dict[int, list[int]] = {}
    for index, row in enumerate(rows):
        by_width.setdefault(lengths.padded(len(row.ids)), []).append(index)
    for width, indexes in sorted(by_width.items()):
        for start in range(0, len(indexes), size):
            batch = indexes[start : start + size]
            arrays: dict[str, list[Sequence[int]]] = {"input_ids": [rows[index].ids for index in batch]}
            arrays["attention_mask"] = [rows[index].mask for index in batch]
            arrays["token_type_ids"] = [rows[index].type_ids for index in batch]
            inputs = {
                tensor.name: np.array([[*ids, *[0] * (width - len(ids))] for ids in arrays[tensor.name]]).astype(
                    numpy_dtype(tensor)
                )
                for tensor in config.input
            }
            answer, _ = client.infer(entry.name, inputs, outputs)
            for place, index in enumerate(batch):
                cut = {name: len(rows[index].ids) if is_sequence[name] else None for name in outputs}
                yield index, {name: answer[name][place][: cut[name]] for name in outputs}
