"""The check of one model entry: the requests that it is sent, and how its answers compare with PyTorch's."""

import math
from collections.abc import Sequence
from itertools import cycle, islice
from statistics import fmean, median
from typing import Any

from prep_triton.agreement import answer_vector, chooses_labels
from prep_triton.artifact import RepositoryEntry
from prep_triton.errors import VerifyError
from prep_triton.layout import REFERENCE_NAME, TOKENIZER_NAME
from prep_triton.reference import load_reference
from prep_triton.triton.server.batch_axis import largest_request
from prep_triton.triton.server.client import TritonClient
from prep_triton.triton.verify.comparison import Comparison, check_tokenizer, rms_of_numbers
from prep_triton.triton.verify.in_flight import infer_until_batched, notes_of_batching
from prep_triton.triton.verify.report import BatchingReport, EntryReport, report_entry
from prep_triton.triton.verify.requests import (
    SequenceLengths,
    affordable_rows,
    full_batches,
    load_config,
    numpy_dtype,
    sequence_outputs,
)


class ModelCheck:
    """Sends the reference's rows to one model entry: alone, at once, in full batches, and padded to each bucket."""

    def __init__(self, entry: RepositoryEntry, client: TritonClient) -> None:
        self.entry = entry
        self.client = client
        self.config = load_config(entry)
        self.outputs = [tensor.name for tensor in self.config.output]
        self.reference = load_reference(
            entry.path(REFERENCE_NAME), [tensor.name for tensor in self.config.input], self.outputs
        )
        self.is_sequence = sequence_outputs(self.config)
        # What was converted is judged as its gate judged it; FP32, value by value.
        self.gate = entry.onnx.gate if entry.onnx else None
        self.has_choice = bool(
            self.gate and entry.onnx and chooses_labels(entry.task, entry.onnx.labels, entry.onnx.activation)
        )
        self.lengths = SequenceLengths.from_entry(entry)
        self.rows = [row for row, length in enumerate(self.reference.lengths) if 0 < length <= self.lengths.longest]
        self.comparison = Comparison(rms=rms_of_numbers(self.reference))
        self.latencies_ms: list[float] = []
        self.requests = 0
        self.widths: set[int] = set()
        self.full_batch = 0
        self.example = ""

    def run(self) -> EntryReport:
        """Send every request and compare every answer.

        Raises:
            RepositoryError: The reference or the configuration cannot be used.
            VerifyError: The server refused a request, or the tokenizer is not the reference's.
        """
        if not self.rows:
            raise VerifyError("no row of the reference fits its profile", hint="build with a longer profile")
        text_checked = self._check_tokenizer()
        self._infer_single_rows()
        # Before any other request is padded to a bucket: a response cache must not have seen them.
        most = self._affordable(self._widest())
        batching = infer_until_batched(self.client, self.config, self._infer_at_once, most=most)
        self._infer_full_batches()
        self._infer_padded_rows()
        return self._report(batching, text_checked=text_checked)

    def _report(self, batching: BatchingReport, *, text_checked: bool) -> EntryReport:
        mismatch = self._describe_mismatch()
        numbers = {
            "mean_cosine": fmean(self.comparison.cosines),
            "min_cosine": min(self.comparison.cosines),
            "max_abs_error": self.comparison.max_abs_error,
        }
        return report_entry(
            self.entry,
            "failed" if mismatch else "loaded",
            detail=mismatch,
            compared_with="pytorch",
            requests=self.requests,
            rows=len(self.comparison.rows),
            widths=tuple(sorted(self.widths)),
            full_batch=self.full_batch,
            text_checked=text_checked,
            batching=batching,
            mean_batch_size=batching.mean_batch_size,
            p50_ms=median(self.latencies_ms),
            example=self.example,
            notes=tuple(notes_of_batching(self.config, batching)),
            **{key: value if math.isfinite(value) else None for key, value in numbers.items()},
        )

    def _check_tokenizer(self) -> bool:
        path = self.entry.path(TOKENIZER_NAME)
        if not path.is_file() or not any(self.reference.text):
            return False
        mismatch = check_tokenizer(path, self.reference)
        if mismatch:
            raise VerifyError(mismatch, hint="export the model again: its tokenizer is not the reference's")
        return True

    def _describe_mismatch(self) -> str:
        """Say how the answers miss the entry's tolerance; empty where they do not."""
        expected = f"expected {self.entry.tolerance:g} or more in every answer"
        # Not min(): it drops a NaN that is not its first value.
        if any(math.isnan(cosine) for cosine in self.comparison.cosines):
            return f"the answers hold NaN or have another shape; {expected}"
        worst, mean = min(self.comparison.cosines), fmean(self.comparison.cosines)
        if self.gate and self.gate.min_cosine is not None and mean < self.gate.min_cosine:
            return (
                f"the mean cosine to PyTorch FP32 is {mean:.6f}, expected {self.gate.min_cosine:g} or more, which is "
                "the min_cosine of its gate"
            )
        if self.has_choice:
            changed, clear = self.comparison.changed_labels, self.comparison.clear_labels
            return f"{changed} of {clear} labels that are clear to PyTorch are others" if changed else ""
        if worst < self.entry.tolerance:
            setting = ", which is the min_row_cosine of its gate" if self.gate else ""
            return f"the smallest cosine to PyTorch FP32 is {worst:.6f} (mean {mean:.6f}), {expected}{setting}"
        return ""

    def _infer_single_rows(self) -> None:
        for row in self.rows:
            answer, elapsed_ms = self._infer([row], max(self.reference.lengths[row], self.lengths.shortest))
            self.latencies_ms.append(elapsed_ms)
            self.example = self.example or self._describe_answer(row, answer)

    def _describe_answer(self, row: int, answer: dict[str, Any]) -> str:
        """Show a sentence and the first values of its answer beside PyTorch's; nothing for a row without text."""
        text, pair, name = self.reference.text[row], self.reference.pairs[row], self.outputs[0]
        if not text:
            return ""
        shown = f'"{text}", "{pair}"' if pair else f'"{text}"'
        values = [
            ", ".join(f"{value:.4f}" for value in array.ravel()[:3])
            for array in (answer[name][0], self.reference.outputs[name][row])
        ]
        return f"{shown} -> {name} [{values[0]}, …], PyTorch [{values[1]}, …]"

    def _infer_at_once(self, count: int) -> None:
        # In the order of their widths: the batcher merges requests of one shape, and closes a batch at the first
        # request of another (core, dynamic_batch_scheduler.cc).
        rows = sorted(islice(cycle(self.rows), count), key=self._width)
        requests = [self._inputs([row], self._width(row)) for row in rows]
        for row, answer in zip(rows, self.client.infer_at_once(self.entry.name, requests, self.outputs), strict=True):
            self._compare([row], answer)

    def _infer_full_batches(self) -> None:
        """Send one full batch of each width that rows have, and all rows in batches of the widest."""
        widest = self._widest()
        for width in sorted({self._width(row) for row in self.rows}):
            rows = self.rows if width == widest else [row for row in self.rows if self._width(row) == width]
            for batch in full_batches(rows, min(largest_request(self.config), self._affordable(width))):
                self._infer(batch, width)
                self.full_batch = max(self.full_batch, len(batch))

    def _infer_padded_rows(self) -> None:
        """Send every row alone in its bucket, and a row in every bucket that none needs."""
        if not self.lengths.buckets:
            return
        for row in self.rows:
            self._infer([row], self._width(row))
        for bucket in self.lengths.buckets:
            fitting = [row for row in self.rows if self.reference.lengths[row] <= bucket]
            if fitting and bucket not in self.widths:
                self._infer(fitting[-1:], bucket)

    def _width(self, row: int) -> int:
        """Return the length that a row is padded to: its bucket, or without buckets the longest row's."""
        if self.lengths.buckets:
            return self.lengths.padded(self.reference.lengths[row])
        return max(self.lengths.shortest, *(self.reference.lengths[row] for row in self.rows))

    def _widest(self) -> int:
        return max(self._width(row) for row in self.rows)

    def _affordable(self, width: int) -> int:
        return affordable_rows(self.reference, self.is_sequence, width)

    def _infer(self, rows: Sequence[int], width: int) -> tuple[dict[str, Any], float]:
        answer, elapsed_ms = self.client.infer(self.entry.name, self._inputs(rows, width), self.outputs)
        self._compare(rows, answer)
        return answer, elapsed_ms

    def _inputs(self, rows: Sequence[int], width: int) -> dict[str, Any]:
        """Take rows of the reference, cut or padded with zeros to a width."""
        import numpy as np

        self.widths.add(width)
        tensors = {}
        for tensor in self.config.input:
            array = self.reference.inputs[tensor.name][rows, :width]
            padded = np.pad(array, ((0, 0), (0, width - array.shape[1])))
            tensors[tensor.name] = padded.astype(numpy_dtype(tensor))
        return tensors

    def _compare(self, rows: Sequence[int], answer: dict[str, Any]) -> None:
        self.requests += 1
        for index, row in enumerate(rows):
            actual = {name: self._unpadded(name, answer[name][index], row) for name in self.outputs}
            expected = {name: self._unpadded(name, self.reference.outputs[name][row], row) for name in self.outputs}
            if self.gate and all(actual[name].shape == expected[name].shape for name in self.outputs):
                vectors = (answer_vector(outputs, self.outputs, self.entry.task) for outputs in (actual, expected))
                self.comparison.add(row, *vectors)
                if self.has_choice:
                    self.comparison.add_choice(actual[self.outputs[0]], expected[self.outputs[0]])
            else:
                for name in self.outputs:
                    self.comparison.add(row, actual[name], expected[name])

    def _unpadded(self, name: str, values: Any, row: int) -> Any:
        """Return a row's values of an output at its own tokens."""
        return values[: self.reference.lengths[row]] if self.is_sequence[name] else values
