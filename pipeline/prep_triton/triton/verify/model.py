"""The requests by which `prep verify` tries one model entry, and what came of them."""

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import cycle, islice
from statistics import fmean, median
from typing import TYPE_CHECKING, Any

from prep_triton.artifact import RepositoryEntry
from prep_triton.errors import RepositoryError, VerifyError
from prep_triton.layout import CONFIG_NAME, REFERENCE_NAME, TOKENIZER_NAME
from prep_triton.triton.config import parse_config
from prep_triton.triton.server.client import TritonClient
from prep_triton.triton.verify.in_flight import ask_until_batched, notes_of_batching
from prep_triton.triton.verify.reference import Comparison, Reference, check_tokenizer, load_reference
from prep_triton.triton.verify.report import EntryReport, report_entry

if TYPE_CHECKING:
    from tritonclient.grpc.model_config_pb2 import ModelConfig

# A container's shared memory, through which a Python backend answers, is often 64 MiB.
ANSWER_BUDGET_BYTES = 32 << 20


def load_config(entry: RepositoryEntry) -> "ModelConfig":
    """Load an entry's config.pbtxt.

    Raises:
        RepositoryError: It is missing or not a configuration.
    """
    path = entry.path(CONFIG_NAME)
    try:
        return parse_config(path.read_text(encoding="utf-8"), where=str(path))
    except (OSError, UnicodeError) as err:
        raise RepositoryError(f"{path} cannot be read: {err}", hint="assemble the entry again") from err


class ModelTrial:
    """One model entry: its reference rows are asked alone, together, and at once, each padded to its bucket.

    A bucket is one of the entry's `length_buckets` that its profiles accept.
    """

    def __init__(self, entry: RepositoryEntry, client: TritonClient) -> None:
        self.entry = entry
        self.client = client
        self.config = load_config(entry)
        self.outputs = [tensor.name for tensor in self.config.output]
        self.reference = load_reference(
            entry.path(REFERENCE_NAME), [tensor.name for tensor in self.config.input], self.outputs
        )
        # A dynamic first axis is the sequence; a fixed one (labels) has no padding.
        self.is_sequence = {tensor.name: tensor.dims[0] == -1 for tensor in self.config.output}
        self.shortest, self.longest = sequence_range(entry)
        self.rows = [row for row, length in enumerate(self.reference.lengths) if 0 < length <= self.longest]
        self.buckets = [size for size in entry.length_buckets if self.shortest <= size <= self.longest]
        self.comparison = Comparison()
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
        text_checked = self._check_text()
        self._ask_single_rows()
        # Before any other request is padded to a bucket: a response cache must not have seen them.
        batching = ask_until_batched(self.client, self.config, self._ask_at_once, most=self._affordable(self._widest()))
        self._ask_full_batches()
        self._ask_padded_rows()
        detail = self._judge()
        numbers = {
            "mean_cosine": fmean(self.comparison.cosines),
            "min_cosine": min(self.comparison.cosines),
            "max_abs_error": self.comparison.max_abs_error,
        }
        return report_entry(
            self.entry,
            "failed" if detail else "loaded",
            detail=detail,
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
            **{key: None if math.isnan(value) else value for key, value in numbers.items()},
        )

    def _check_text(self) -> bool:
        path = self.entry.path(TOKENIZER_NAME)
        if not path.is_file() or not any(self.reference.text):
            return False
        wrong = check_tokenizer(path, self.reference)
        if wrong:
            raise VerifyError(wrong, hint="export the model again: its tokenizer is not the reference's")
        return True

    def _judge(self) -> str:
        expected = f"expected {self.entry.tolerance} or more in every answer"
        # Not min(): it drops a NaN that is not its first value.
        if any(math.isnan(cosine) for cosine in self.comparison.cosines):
            return f"the answers hold NaN or have another shape; {expected}"
        worst = min(self.comparison.cosines)
        if worst < self.entry.tolerance:
            mean = fmean(self.comparison.cosines)
            return f"the smallest cosine to PyTorch FP32 is {worst:.6f} (mean {mean:.6f}), {expected}"
        return ""

    def _ask_single_rows(self) -> None:
        for row in self.rows:
            answer, elapsed_ms = self._ask([row], max(self.reference.lengths[row], self.shortest))
            self.latencies_ms.append(elapsed_ms)
            self.example = self.example or self._describe_answer(row, answer)

    def _describe_answer(self, row: int, answer: dict[str, Any]) -> str:
        """Show a sentence and the first values of its answer beside PyTorch's; nothing for a row without text."""
        text, name = self.reference.text[row], self.outputs[0]
        if not text:
            return ""
        values = [
            ", ".join(f"{value:.4f}" for value in array.ravel()[:3])
            for array in (answer[name][0], self.reference.outputs[name][row])
        ]
        return f'"{text}" -> {name} [{values[0]}, …], PyTorch [{values[1]}, …]'

    def _ask_at_once(self, count: int) -> None:
        # In the order of their widths: the batcher merges requests of one shape, and closes a batch at the first
        # request of another (core, dynamic_batch_scheduler.cc).
        rows = sorted(islice(cycle(self.rows), count), key=self._width)
        requests = [self._inputs([row], self._width(row)) for row in rows]
        for row, answer in zip(rows, self.client.ask_at_once(self.entry.name, requests, self.outputs), strict=True):
            self._compare([row], answer)

    def _ask_full_batches(self) -> None:
        """Ask one full batch of each width that rows have, and all rows in batches of the widest."""
        widest = self._widest()
        for width in sorted({self._width(row) for row in self.rows}):
            rows = self.rows if width == widest else [row for row in self.rows if self._width(row) == width]
            for batch in full_batches(rows, min(max(1, self.config.max_batch_size), self._affordable(width))):
                self._ask(batch, width)
                self.full_batch = max(self.full_batch, len(batch))

    def _ask_padded_rows(self) -> None:
        """Ask every row alone in its bucket, and one in every bucket that no row needs."""
        if not self.buckets:
            return
        for row in self.rows:
            self._ask([row], self._width(row))
        for bucket in self.buckets:
            fitting = [row for row in self.rows if self.reference.lengths[row] <= bucket]
            if fitting and bucket not in self.widths:
                self._ask(fitting[-1:], bucket)

    def _width(self, row: int) -> int:
        """Return the length that a row is padded to: its bucket, or without buckets the longest row's."""
        needed = max(self.reference.lengths[row], self.shortest)
        if not self.buckets:
            return max(self.shortest, *(self.reference.lengths[row] for row in self.rows))
        return next((bucket for bucket in self.buckets if bucket >= needed), needed)

    def _widest(self) -> int:
        return max(self._width(row) for row in self.rows)

    def _affordable(self, width: int) -> int:
        return affordable_rows(self.reference, self.is_sequence, width)

    def _ask(self, rows: Sequence[int], width: int) -> tuple[dict[str, Any], float]:
        answer, elapsed_ms = self.client.ask(self.entry.name, self._inputs(rows, width), self.outputs)
        self._compare(rows, answer)
        return answer, elapsed_ms

    def _inputs(self, rows: Sequence[int], width: int) -> dict[str, Any]:
        """Take rows of the reference, cut or padded with zeros to a width."""
        import numpy as np

        self.widths.add(width)
        made = {}
        for tensor in self.config.input:
            array = self.reference.inputs[tensor.name][rows, :width]
            padded = np.pad(array, ((0, 0), (0, width - array.shape[1])))
            made[tensor.name] = padded.astype(numpy_dtype(tensor))
        return made

    def _compare(self, rows: Sequence[int], answer: dict[str, Any]) -> None:
        self.requests += 1
        for name in self.outputs:
            for index, row in enumerate(rows):
                found, expected = answer[name][index], self.reference.outputs[name][row]
                if self.is_sequence[name]:
                    length = self.reference.lengths[row]
                    found, expected = found[:length], expected[:length]
                self.comparison.add(row, found, expected)


def sequence_range(entry: RepositoryEntry) -> tuple[int, int]:
    """Return the shortest and the longest sequence that a model entry takes."""
    return int(entry.spec.get("min_sequence", 1)), int(entry.spec.get("max_sequence", 1 << 30))


def numpy_dtype(tensor: Any) -> Any:
    """Return the numpy type of a tensor of a configuration (`ModelInput` or `ModelOutput`)."""
    from tritonclient.utils import triton_to_np_dtype

    kinds = tensor.DESCRIPTOR.fields_by_name["data_type"].enum_type.values_by_number
    return triton_to_np_dtype(kinds[tensor.data_type].name.removeprefix("TYPE_"))


def affordable_rows(reference: Reference, is_sequence: Mapping[str, bool], width: int) -> int:
    """Return how many answers of a sequence length fit the shared memory at once; 1 or more.

    Args:
        reference: Answers of the same model.
        is_sequence: For each output, whether its first axis is the sequence.
        width: The length that rows are padded to.
    """
    row_bytes = 0
    for name, array in reference.outputs.items():
        values = array[:1].size
        row_bytes += 4 * (values * width // array.shape[1] if is_sequence[name] else values)
    return max(1, ANSWER_BUDGET_BYTES // max(1, row_bytes))


def full_batches(rows: Sequence[int], size: int) -> Iterator[list[int]]:
    """Deal rows into batches of exactly `size`: the last one takes the first rows again for what it lacks."""
    dealt = islice(cycle(rows), math.ceil(len(rows) / size) * size)
    while batch := list(islice(dealt, size)):
        yield batch
