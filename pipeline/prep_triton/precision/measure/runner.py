"""Runs a graph over rows of token ids on the CPU, in batches of similar length."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from onnx import ModelProto

from prep_triton.artifact import OnnxModel
from prep_triton.errors import PrecisionError
from prep_triton.layout import GRAPH_NAME, ONE_FILE_BYTES
from prep_triton.onnx_file import is_one_file, save_with_weights
from prep_triton.precision.measure.token_rows import TokenRow, split_batches
from prep_triton.scratch import scratch_folder

Array = NDArray[Any]

_DTYPES = {"tensor(int64)": np.int64, "tensor(int32)": np.int32}
_EXPORT_AGAIN = "export the model again: prep export MODEL"


class RowRunner(ABC):
    """Answers rows of token ids; a subclass says by what."""

    def __init__(self, label: str) -> None:
        self.label = label

    @property
    @abstractmethod
    def runtime(self) -> str:
        """Name and version of what runs the graph."""

    @abstractmethod
    def _infer(self, outputs: Sequence[str], arrays: Mapping[str, Array]) -> list[Array]:
        """Return the outputs of a graph for all the inputs that it may have; raises whatever its library raises."""

    def run_batches(
        self,
        rows: Sequence[TokenRow],
        outputs: Sequence[str],
        *,
        width: int = 1,
        extra_inputs: Mapping[str, Array] | None = None,
    ) -> Iterator[tuple[list[int], list[Array]]]:
        """Yield the answers to rows, batch by batch, the longest rows first.

        Args:
            rows: Token ids without padding; each batch is padded to its longest row.
            outputs: Names of the graph outputs to return.
            width: The values that those outputs have for each token; wide ones get smaller batches.
            extra_inputs: Values of inputs that are the same for every batch.

        Yields:
            The indexes of the batch's rows, and the answers, padded, in the order of `outputs`.

        Raises:
            PrecisionError: ONNX Runtime cannot run the rows.
        """
        for batch in split_batches([len(row.ids) for row in rows], width):
            yield batch, self._run([rows[index] for index in batch], outputs, extra_inputs or {})

    def answer_batches(
        self, model: OnnxModel, rows: Sequence[TokenRow], *, extra_inputs: Mapping[str, Array] | None = None
    ) -> Iterator[list[tuple[int, dict[str, Array]]]]:
        """Yield the index of each row and its unpadded answers by output name, batch by batch.

        Args:
            model: The record that describes the outputs.
            rows: Token ids without padding.
            extra_inputs: Values of inputs that are the same for every batch.

        Raises:
            PrecisionError: ONNX Runtime cannot run the rows.
        """
        outputs = model.model_outputs
        width = sum(int(spec.shape[-1]) for spec in outputs if isinstance(spec.shape[-1], int)) or 1
        names = [spec.name for spec in outputs]
        for batch, answers in self.run_batches(rows, names, width=width, extra_inputs=extra_inputs):
            yield [
                (
                    index,
                    {
                        spec.name: answer[place, : len(rows[index].ids)] if "sequence" in spec.shape else answer[place]
                        for spec, answer in zip(outputs, answers, strict=True)
                    },
                )
                for place, index in enumerate(batch)
            ]

    def _run(self, rows: Sequence[TokenRow], outputs: Sequence[str], extra_inputs: Mapping[str, Array]) -> list[Array]:
        shape = (len(rows), max(len(row.ids) for row in rows))
        arrays = {name: np.zeros(shape, np.int64) for name in ("input_ids", "attention_mask", "token_type_ids")}
        for index, row in enumerate(rows):
            length = len(row.ids)
            arrays["input_ids"][index, :length] = row.ids
            arrays["token_type_ids"][index, :length] = row.type_ids
            arrays["attention_mask"][index, :length] = row.mask
        try:
            return self._infer(outputs, {**arrays, **extra_inputs})
        except Exception as err:  # a KeyError for an unknown input; the libraries' own share no base class
            raise PrecisionError(
                f"{self.label} cannot answer {shape[0]} rows of {shape[1]} tokens: {self.runtime} says {err}",
                hint=_EXPORT_AGAIN,
            ) from err


class GraphRunner(RowRunner):
    """A graph that is open in ONNX Runtime, so that Q/DQ is computed as it is written, in floating point.

    Left to itself, ONNX Runtime fuses Q/DQ into integer kernels, whose results differ between its versions.

    Args:
        graph: Where it lies, or its bytes.

    Raises:
        PrecisionError: ONNX Runtime refuses the graph.
    """

    def __init__(self, graph: Path | bytes) -> None:
        super().__init__(str(graph) if isinstance(graph, Path) else "the rewritten graph")
        onnxruntime.disable_telemetry_events()
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.add_session_config_entry("session.disable_quant_qdq", "1")
        try:
            self._session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        except Exception as err:  # its exceptions share no base class but Exception
            raise PrecisionError(
                f"onnxruntime {onnxruntime.__version__} refuses {self.label}: {err}", hint=_EXPORT_AGAIN
            ) from err

    @classmethod
    def from_proto(cls, proto: ModelProto, *, one_file_bytes: int = ONE_FILE_BYTES) -> "GraphRunner":
        """Open a graph that lies in memory; one that no message holds goes through files that are gone afterwards.

        Args:
            proto: The graph with its weights. It is let go before ONNX Runtime loads them.
            one_file_bytes: The longest message.

        Raises:
            PrecisionError: ONNX Runtime refuses the graph.
        """
        if is_one_file(proto, one_file_bytes=one_file_bytes):
            rendered: bytes = proto.SerializeToString()
            del proto
            return cls(rendered)
        with scratch_folder("graph") as folder:
            path = folder / GRAPH_NAME
            save_with_weights(proto, (), path, one_file_bytes=one_file_bytes)
            del proto
            return cls(path)

    @property
    def runtime(self) -> str:
        """Name and version of ONNX Runtime."""
        return f"onnxruntime {onnxruntime.__version__}"

    def _infer(self, outputs: Sequence[str], arrays: Mapping[str, Array]) -> list[Array]:
        feed = {
            entry.name: arrays[entry.name].astype(_DTYPES.get(entry.type, arrays[entry.name].dtype), copy=False)
            for entry in self._session.get_inputs()
        }
        answers: list[Array] = self._session.run(list(outputs), feed)
        return answers
