"""Runs a graph over rows of token ids in ONNX Runtime on the CPU, in batches of similar length."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from prep_triton.errors import PrecisionError
from prep_triton.precision.measure.evaluation import split_batches
from prep_triton.precision.measure.scoring import TokenRow

Array = NDArray[Any]

_DTYPES = {"tensor(int64)": np.int64, "tensor(int32)": np.int32}


def open_session(graph: Path | bytes) -> Any:
    """Open a graph so that Q/DQ is computed as it is written, in floating point.

    Left to itself, ONNX Runtime fuses Q/DQ into integer kernels, whose results differ between its versions.

    Raises:
        PrecisionError: ONNX Runtime refuses the graph.
    """
    onnxruntime.disable_telemetry_events()
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.add_session_config_entry("session.disable_quant_qdq", "1")
    try:
        return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    except Exception as err:  # its exceptions share no base class but Exception
        raise PrecisionError(
            f"onnxruntime {onnxruntime.__version__} refuses {graph if isinstance(graph, Path) else 'the graph'}: {err}",
            hint="export the model again: prep export",
        ) from err


def run_batches(
    session: Any,
    rows: Sequence[TokenRow],
    outputs: Sequence[str],
    *,
    width: int = 1,
    more: Mapping[str, Array] | None = None,
) -> Iterator[tuple[list[int], list[Array]]]:
    """Yield the answers to rows, batch by batch, the longest rows first.

    Args:
        session: What `open_session` gave.
        rows: Token ids without padding; each batch is padded to its longest row.
        outputs: Names of the graph outputs to return.
        width: The values that those outputs have for each token; wide ones get smaller batches.
        more: Values of inputs that are the same for every batch.

    Yields:
        The indexes of the batch's rows, and the answers, padded, in the order of `outputs`.

    Raises:
        PrecisionError: ONNX Runtime cannot run the rows.
    """
    for batch in split_batches([len(row.ids) for row in rows], width):
        feed = _render_feed(session, [rows[index] for index in batch], more or {})
        try:
            answers = session.run(list(outputs), feed)
        except Exception as err:  # its exceptions share no base class but Exception
            raise PrecisionError(
                f"onnxruntime {onnxruntime.__version__} cannot run {len(batch)} rows: {err}",
                hint="export the model again: prep export",
            ) from err
        yield batch, answers


def _render_feed(session: Any, rows: Sequence[TokenRow], more: Mapping[str, Array]) -> dict[str, Array]:
    shape = (len(rows), max(len(row.ids) for row in rows))
    arrays = {name: np.zeros(shape, np.int64) for name in ("input_ids", "attention_mask", "token_type_ids")}
    for index, row in enumerate(rows):
        length = len(row.ids)
        arrays["input_ids"][index, :length] = row.ids
        arrays["token_type_ids"][index, :length] = row.type_ids
        arrays["attention_mask"][index, :length] = 1
    return {
        entry.name: more[entry.name] if entry.name in more else arrays[entry.name].astype(_DTYPES[entry.type])
        for entry in session.get_inputs()
    }
