"""The check of one ensemble: the texts that it is sent, and how its answers compare with what the model says."""

import math
from collections.abc import Sequence
from itertools import cycle, islice
from statistics import fmean, median
from typing import Any

from prep_triton.artifact import RepositoryEntry
from prep_triton.tasks import TASKS
from prep_triton.triton.server.batch_axis import has_batch_axis, largest_request
from prep_triton.triton.server.client import TritonClient
from prep_triton.triton.verify.expected_answers import AnswerCheck, TextRow, compare_answer, text_from_bytes
from prep_triton.triton.verify.in_flight import infer_until_batched, notes_of_batching
from prep_triton.triton.verify.library import LibraryCheck
from prep_triton.triton.verify.report import EntryReport, report_entry
from prep_triton.triton.verify.requests import full_batches, load_config
from prep_triton.triton.verify.text_rows import TextRows, tensors_from_rows


class EnsembleCheck:
    """Sends texts of unequal length to one ensemble: alone, at once, and in full batches.

    The expected answers follow from PyTorch's outputs in the reference of the model that the ensemble serves;
    where the task's text is not in the reference, from what the bare model answers on the same server. Other texts
    are compared with what the checkpoint's own library answered to them at export.
    """

    def __init__(self, entry: RepositoryEntry, served: RepositoryEntry, client: TritonClient) -> None:
        self.entry, self.client = entry, client
        self.config = load_config(entry)
        self.inputs = [tensor.name for tensor in self.config.input]
        self.outputs = [tensor.name for tensor in self.config.output]
        self.texts = TextRows(entry, served)
        self.library = LibraryCheck(entry, served, self.texts, client)
        self.library_texts = 0
        self.rows: list[TextRow] = []
        self.answers: list[AnswerCheck] = []
        self.latencies_ms: list[float] = []
        self.affordable = 1
        self.full_batch = 0
        self.requests = 0
        self.example = ""

    def run(self) -> EntryReport:
        """Send every request and compare every answer.

        Raises:
            RepositoryError: The reference or a configuration cannot be used.
            VerifyError: The server refused a request, or there is no text to send.
        """
        self.rows = self.texts.answered(self.client)
        self._infer_single_rows()
        # The model's batches are meant: an ensemble has no batcher of its own.
        self.affordable = self.texts.affordable_rows(self.rows)
        batching = infer_until_batched(self.client, self.texts.config, self._infer_at_once, most=self.affordable)
        self._infer_full_batches()
        if TASKS[self.entry.task].takes_pairs:
            self._infer_first_with_many()
        self._infer_library_texts()
        mismatch = describe_mismatches(self.answers)
        return report_entry(
            self.entry,
            "failed" if mismatch else "loaded",
            detail=mismatch,
            compared_with=self.texts.compared_with,
            requests=self.requests,
            rows=len(self.rows),
            widths=tuple(sorted({self.texts.width(row) for row in self.rows})),
            full_batch=self.full_batch or None,
            text_checked=True,
            library_texts=self.library_texts,
            batching=batching,
            mean_batch_size=batching.mean_batch_size,
            p50_ms=median(self.latencies_ms),
            example=self.example,
            notes=(*notes_of_batching(self.texts.config, batching), *self.library.notes),
            **numbers_from_answers(self.answers),
        )

    def _infer_single_rows(self) -> None:
        for row in self.rows:
            answer, elapsed_ms = self._infer([row])
            self.latencies_ms.append(elapsed_ms)
            self.example = self.example or describe_text_answer(row, answer)

    def _infer_at_once(self, count: int) -> None:
        rows = sorted(islice(cycle(self.rows), count), key=self.texts.width)
        requests = [self._tensors([row]) for row in rows]
        for row, answer in zip(rows, self.client.infer_at_once(self.entry.name, requests, self.outputs), strict=True):
            self._compare([row], answer)

    def _infer_full_batches(self) -> None:
        """Send batches of texts of unequal length, as large as the ensemble takes."""
        size = self._largest_request()
        if size < 2:
            return
        for indices in full_batches(range(len(self.rows)), size):
            self._infer([self.rows[index] for index in indices])
            self.full_batch = size

    def _largest_request(self) -> int:
        # An ensemble without max_batch_size takes as many rows as its model.
        return min(self.config.max_batch_size or largest_request(self.texts.config), self.affordable)

    def _infer_first_with_many(self) -> None:
        """Send one first text beside all second ones that it has, as a query with many documents."""
        by_first: dict[str, list[TextRow]] = {}
        for row in self.rows:
            by_first.setdefault(row.question or "", []).append(row)
        rows = max(by_first.values(), key=len)[: self._largest_request()]
        tensors = self._tensors(rows)
        first = TASKS[self.entry.task].text_inputs[0]
        answer, _ = self.client.infer(self.entry.name, {**tensors, first: tensors[first][:1]}, self.outputs)
        self._compare(rows, answer)

    def _infer_library_texts(self) -> None:
        for row in self.library.rows():
            check = self.library.compare_ids(row)
            if not check.mismatch and self.library.compares_answer(row):
                request = tensors_from_rows(self.inputs, [row], has_batch=has_batch_axis(self.config))
                answer, _ = self.client.infer(self.entry.name, request, self.outputs)
                check = self.library.compare(row, self._outputs_of(answer, 0))
                self.requests += 1
            self.answers.append(check)
            self.library_texts += 1

    def _outputs_of(self, answer: dict[str, Any], index: int) -> dict[str, Any]:
        return {name: array[index] if has_batch_axis(self.config) else array for name, array in answer.items()}

    def _tensors(self, rows: Sequence[TextRow]) -> dict[str, Any]:
        return tensors_from_rows(self.inputs, rows, has_batch=has_batch_axis(self.config))

    def _infer(self, rows: Sequence[TextRow]) -> tuple[dict[str, Any], float]:
        answer, elapsed_ms = self.client.infer(self.entry.name, self._tensors(rows), self.outputs)
        self._compare(rows, answer)
        return answer, elapsed_ms

    def _compare(self, rows: Sequence[TextRow], answer: dict[str, Any]) -> None:
        self.requests += 1
        for index, row in enumerate(rows):
            outputs = self._outputs_of(answer, index)
            self.answers.append(compare_answer(self.entry.task, row, outputs, self.texts.options))


def describe_mismatches(answers: Sequence[AnswerCheck]) -> str:
    """Say how many answers are wrong, and how the first of them is; empty where none is."""
    mismatches = [answer.mismatch for answer in answers if answer.mismatch]
    if not mismatches:
        return ""
    return f"{len(mismatches)} of {len(answers)} answers are wrong; the first: {mismatches[0]}"


def numbers_from_answers(answers: Sequence[AnswerCheck]) -> dict[str, float | None]:
    """Return cosines and the largest error of answers, in the fields of `EntryReport`."""
    cosines = [answer.cosine for answer in answers if answer.cosine is not None]
    errors = [answer.error for answer in answers if answer.error is not None]
    numbers = {
        "mean_cosine": fmean(cosines) if cosines else math.nan,
        "min_cosine": min(cosines) if cosines else math.nan,
        "max_abs_error": max(errors) if errors else math.nan,
    }
    # Not min() and max() alone: they drop a NaN that is not their first value.
    has_nan = any(math.isnan(value) for value in [*cosines, *errors])
    return {name: None if has_nan or not math.isfinite(value) else value for name, value in numbers.items()}


def describe_text_answer(row: TextRow, answer: dict[str, Any]) -> str:
    """Show a text with the first values of its answer."""
    outputs = []
    for name, array in answer.items():
        first = array.ravel()[:3].tolist()
        values = [f"{value:.4g}" if isinstance(value, float) else text_from_bytes(value) for value in first]
        outputs.append(f"{name} {', '.join(values)}{', …' if array.size > len(values) else ''}")
    request = f'"{row.question}" in "{row.text}"' if row.question else f'"{row.text}"'
    return f"{request} -> {'; '.join(outputs)}"
