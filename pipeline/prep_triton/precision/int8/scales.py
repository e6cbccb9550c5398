"""From calibration rows to the scale and the smoothing of every quantised input, measured once and kept.

What was measured is an artifact of its own, ``calibration/<model>-channels`` (or ``-histograms``): a run that only
changes the gate, the search or the layers kept out reads it again.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from prep_triton.artifact import Artifact, OnnxModel
from prep_triton.files import digest_file
from prep_triton.layout import GRAPH_NAME
from prep_triton.precision.int8.calibration import locate_calibration_data
from prep_triton.precision.measure.token_rows import TokenRow
from prep_triton.progress import Progress, ignore_progress
from prep_triton.spec import QuantizationSpec
from prep_triton.workspace import Recipe, Workspace

if TYPE_CHECKING:
    import numpy as np

    from prep_triton.precision.int8.qdq import InputScale, Linear

    Array = np.ndarray[Any, Any]

log = logging.getLogger(__name__)

# Part of the key: raise it when a measurement gives other numbers for the same rows.
CALIBRATION_VERSION = 1

_RANGES_FILE = "ranges.npz"
TOOLS = ("numpy", "onnx", "onnxruntime", "tokenizers")


class Calibration(Artifact):
    """What was measured over calibration rows: ``ranges.npz``, one array for each tensor that is quantised."""

    rows: int
    tokens: int


def describe_rows(spec: QuantizationSpec, content: str) -> dict[str, Any]:
    """Return what decides the calibration rows, as JSON values.

    Args:
        spec: Of its path only the suffix counts, which decides how the file is read.
        content: The digest of what lies there.
    """
    suffix = Path(spec.calibration.path).suffix.lower()
    return {"content": content, "suffix": suffix, **spec.calibration.model_dump(include={"field", "samples", "seed"})}


@dataclass(frozen=True)
class Calibrator:
    """Measures what the linear layers of a model read, or finds what was measured before.

    Args:
        model: The FP32 model.
        spec: Calibration rows, method and smoothing.
        content: The digest of the calibration file.
        workspace: Where measurements are kept.
        progress: Called at each pass.
    """

    model: OnnxModel
    spec: QuantizationSpec
    content: str
    workspace: Workspace
    progress: Progress = ignore_progress

    @classmethod
    def of(
        cls, model: OnnxModel, spec: QuantizationSpec, workspace: Workspace, progress: Progress = ignore_progress
    ) -> Self:
        """Return the calibrator for a request.

        Raises:
            SpecError: There is no such calibration file.
        """
        return cls(model, spec, digest_file(locate_calibration_data(spec.calibration)), workspace, progress)

    def find_scales(self, linears: "Sequence[Linear]", rows: Sequence[TokenRow]) -> "dict[str, InputScale]":
        """Return how each tensor that a linear layer reads becomes INT8.

        Args:
            linears: The linear layers of the encoder.
            rows: The calibration rows.

        Raises:
            PrecisionError: A weight or an activation is not finite.
        """
        from prep_triton.precision.int8.activations import measure_channel_max, measure_histograms
        from prep_triton.precision.int8.qdq import InputScale, scale_from_range
        from prep_triton.precision.int8.ranges import range_from_histogram

        path, alpha = self.model.path(GRAPH_NAME), self.spec.smoothing_alpha
        channels = self._measure(
            "channels", rows, {}, lambda: measure_channel_max(path, linears, rows, progress=self.progress)
        )
        multipliers = _find_multipliers(path, linears, channels, alpha=alpha)
        ranges = {source: _find_largest(channel_max, multipliers[source]) for source, channel_max in channels.items()}
        if self.spec.calibration.method != "max":
            counts = self._measure(
                "histograms",
                rows,
                {"smoothing_alpha": alpha},
                lambda: measure_histograms(path, linears, rows, multipliers, ranges, progress=self.progress),
            )
            for source, histogram in counts.items():
                ranges[source] = range_from_histogram(histogram, ranges[source], self.spec.calibration)
        return {source: InputScale(scale_from_range(ranges[source]), multipliers[source]) for source in ranges}

    def _measure(
        self, kind: str, rows: Sequence[TokenRow], more: Mapping[str, Any], run: "Callable[[], Mapping[str, Array]]"
    ) -> "dict[str, Array]":
        import numpy as np

        def make(folder: Path) -> Mapping[str, Any]:
            np.savez(folder / _RANGES_FILE, **run())
            return {"rows": len(rows), "tokens": sum(len(row.ids) for row in rows)}

        recipe = Recipe(
            stage="calibration",
            name=f"{self.model.name}-{kind}",
            spec={**describe_rows(self.spec, self.content), **more, "calibration": CALIBRATION_VERSION},
            inputs={"onnx": self.model.key},
            tools={tool: version(tool) for tool in TOOLS},
        )
        produced = self.workspace.produce(recipe, Calibration, make)
        if produced.reused:
            log.info("the ranges of %s on this calibration text were measured before: %s", self.model.name, kind)
        with np.load(produced.artifact.path(_RANGES_FILE)) as archive:
            return dict(archive)


def _find_largest(channel_max: "Array", multiplier: "Array | None") -> float:
    return float((channel_max if multiplier is None else channel_max * multiplier).max())


def _find_multipliers(
    path: Path, linears: "Sequence[Linear]", channels: "Mapping[str, Array]", *, alpha: float | None
) -> "dict[str, Array | None]":
    if alpha is None:
        return dict.fromkeys(channels)
    from onnx import numpy_helper

    from prep_triton.onnx_file import load_model
    from prep_triton.precision.int8.smoothing import find_multiplier
    from prep_triton.precision.rewrite.weights import check_finite

    weights = {tensor.name: tensor for tensor in load_model(path).graph.initializer}
    read: dict[str, list[Array]] = {}
    for linear in linears:
        weight = numpy_helper.to_array(weights[linear.weight])
        check_finite(weight, linear.weight)
        read.setdefault(linear.source, []).append(weight)
    return {source: find_multiplier(channels[source], read[source], alpha) for source in channels}
