"""From calibration rows to what every linear layer becomes in INT8, measured once and kept.

What was measured is an artifact of its own, ``calibration/<model>-channels`` (or ``-histograms``, and ``-weights`` for
the rounded weights): a run that only changes the gate, the search or the layers kept out reads it again.
"""

import logging
import math
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

    from prep_triton.precision.int8.qdq import InputScale, Linear, QuantizedTensors

    Array = np.ndarray[Any, Any]

log = logging.getLogger(__name__)

# Part of the key: raise it when a file becomes other rows, or a measurement gives other numbers for the same rows.
CALIBRATION_VERSION = 3

_RANGES_FILE = "ranges.npz"
# A tensor whose values reach less than this share of its largest value on the other side of zero, as GELU's, is
# shifted: half of the steps would stand for values that it never takes.
_ONE_SIDED_SHARE = 0.25
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

    def quantize(self, linears: "Sequence[Linear]", rows: Sequence[TokenRow]) -> "QuantizedTensors":
        """Return what each linear layer becomes in INT8.

        Args:
            linears: The linear layers of the encoder.
            rows: The calibration rows.

        Raises:
            PrecisionError: A weight or an activation is not finite.
        """
        from prep_triton.precision.int8.qdq import QuantizedTensors, QuantizedWeight

        scales = self._find_scales(linears, rows)
        spec = self.spec.calibration.model_dump(include={"method", "percentile"})
        rounded = self._measure(
            "weights",
            rows,
            {**spec, "smoothing_alpha": self.spec.smoothing_alpha},
            lambda: self._round_weights(linears, rows, scales),
        )
        return QuantizedTensors(
            inputs=scales,
            weights={
                linear.name: QuantizedWeight(rounded[f"{linear.name}/values"], rounded[f"{linear.name}/scale"])
                for linear in linears
            },
        )

    def _find_scales(self, linears: "Sequence[Linear]", rows: Sequence[TokenRow]) -> "dict[str, InputScale]":
        from prep_triton.precision.int8.activations import measure_channel_ranges, measure_histograms
        from prep_triton.precision.int8.qdq import LARGEST, InputScale, scale_from_range
        from prep_triton.precision.int8.ranges import range_from_histogram

        path, alpha = self.model.path(GRAPH_NAME), self.spec.smoothing_alpha
        channels = self._measure(
            "channels", rows, {}, lambda: measure_channel_ranges(path, linears, rows, progress=self.progress)
        )
        readers: dict[str, list[Linear]] = {}
        for linear in linears:
            readers.setdefault(linear.source, []).append(linear)
        weights = _Weights(path)
        scales = {
            source: make_input_scale(
                channels[source],
                [weights.read(linear) for linear in layers],
                alpha=alpha,
                can_shift=all(linear.bias for linear in layers),
            )
            for source, layers in readers.items()
        }
        if self.spec.calibration.method == "max":
            return scales
        counts = self._measure(
            "histograms",
            rows,
            {"smoothing_alpha": alpha},
            lambda: measure_histograms(path, linears, rows, scales, progress=self.progress),
        )
        for source, scale in scales.items():
            largest = range_from_histogram(counts[source], LARGEST * scale.scale, self.spec.calibration)
            scales[source] = InputScale(scale_from_range(largest), scale.multiplier, scale.shift)
        return scales

    def _round_weights(
        self,
        linears: "Sequence[Linear]",
        rows: Sequence[TokenRow],
        scales: "Mapping[str, InputScale]",
    ) -> "Mapping[str, Array]":
        from prep_triton.precision.int8.activations import measure_grams
        from prep_triton.precision.int8.qdq import smooth_weight
        from prep_triton.precision.int8.rounding import round_weights

        path, rounded, done = self.model.path(GRAPH_NAME), dict[str, Any](), 0
        weights = _Weights(path)
        for layers, gram in measure_grams(path, linears, rows, scales, progress=self.progress):
            self.progress("rounding weights", done / len(linears))
            multiplier = scales[layers[0].source].multiplier
            smoothed = [smooth_weight(weights.read(linear), multiplier) for linear in layers]
            for linear, weight in zip(layers, round_weights(smoothed, gram), strict=True):
                rounded[f"{linear.name}/values"], rounded[f"{linear.name}/scale"] = weight.values, weight.scale
            done += len(layers)
        return rounded

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


def make_input_scale(
    channel_range: "Array", weights: "Sequence[Array]", *, alpha: float | None, can_shift: bool = True
) -> "InputScale":
    """Return how a tensor becomes INT8 so that nothing that was seen of it is cut off.

    Args:
        channel_range: The least and the largest value of each channel, [2, channels].
        weights: Of every layer that reads it, each [channels, size_out].
        alpha: How much of the spread of its channels moves into the weights; None: nothing.
        can_shift: Whether its layers have biases that can take up a shift.
    """
    import numpy as np

    from prep_triton.precision.int8.qdq import InputScale, scale_from_range
    from prep_triton.precision.int8.smoothing import find_multiplier, raise_silent

    low, high = channel_range

    def scale_reach(reach: "Array") -> InputScale:
        multiplier = None if alpha is None else find_multiplier(reach, weights, alpha)
        smoothed = reach if multiplier is None else reach * multiplier
        return InputScale(scale_from_range(float(smoothed.max())), multiplier)

    if can_shift and -float(low.min()) < _ONE_SIDED_SHARE * float(high.max()):
        high_or_more = raise_silent(high)
        scale, middle = scale_reach((high_or_more - low) / 2), (high_or_more + low) / 2
        if _is_shift_worth_it(middle, weights, scale):
            smoothed = middle if scale.multiplier is None else middle * scale.multiplier
            # Whole steps, so that zero, GELU's most frequent value, stays exact.
            shift = np.rint(smoothed / np.float32(scale.scale)) * np.float32(scale.scale)
            return InputScale(scale.scale, scale.multiplier, shift.astype(np.float16).astype(np.float32))
    return scale_reach(raise_silent(np.maximum(-low, high)))


def _is_shift_worth_it(middle: "Array", weights: "Sequence[Array]", scale: "InputScale") -> bool:
    """Whether FP16 loses less by a shift than a step of most channels is worth.

    The product lacks what the bias adds, and FP16 rounds both to 11 bits. A channel that is far larger than the others
    makes them so large that every token pays for it, also those in which it is silent.
    """
    import numpy as np

    step = scale.scale if scale.multiplier is None else float(np.median(scale.scale / scale.multiplier))
    lost = np.mean([np.abs(middle @ weight).mean() for weight in weights]) * 2.0**-11
    rounding = np.mean([np.linalg.norm(weight, axis=0).mean() for weight in weights]) * step / math.sqrt(12)
    return bool(lost < rounding)


class _Weights:
    """The weights of linear layers, read from their file one at a time: together they are as large as the model."""

    def __init__(self, path: Path) -> None:
        from prep_triton.onnx_file import load_without_weights

        proto, self._spans = load_without_weights(path)
        self._stored = {tensor.name: tensor for tensor in proto.graph.initializer}

    def read(self, linear: "Linear") -> "Array":
        """Return a weight [size_in, size_out].

        Raises:
            PrecisionError: It is not finite.
        """
        import numpy as np
        from onnx import numpy_helper

        from prep_triton.precision.rewrite.weights import check_finite

        if span := self._spans.get(linear.weight):
            weight = np.frombuffer(span.read(), "<f4").reshape(linear.size_in, linear.size_out)
        else:
            weight = numpy_helper.to_array(self._stored[linear.weight])
        check_finite(weight, linear.weight)
        return weight
