"""An FP32 graph to an INT8 one: Q/DQ, the gate, the search for what to keep out, and the FP16 form that is written.

The gate is checked on the graph with FP32 scales, in ONNX Runtime (see `prep_triton.precision.measure.runner`). What is
written is the FP16 form of that very graph: its scales and multipliers are the same numbers.
"""

import logging
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
from onnx import ModelProto, numpy_helper

from prep_triton.artifact import AccuracyRecord, FidelityRecord, OnnxModel, OverflowRecord
from prep_triton.errors import PrecisionError
from prep_triton.layout import GRAPH_NAME, ONE_FILE_BYTES, REFERENCE_NAME
from prep_triton.onnx_file import load_model, save_with_weights
from prep_triton.precision.fp16.arithmetic import open_in_half_arithmetic
from prep_triton.precision.fp16.graph import rewrite_to_fp16
from prep_triton.precision.fp16.ranges import find_remedy
from prep_triton.precision.int8.calibration import CalibrationRows
from prep_triton.precision.int8.qdq import Linear, QuantizedTensors, insert_qdq, insert_switches, smooth_weight
from prep_triton.precision.int8.sensitivity import SwitchedGraph, count_kept_out, describe_worst
from prep_triton.precision.measure.accuracy import check_accuracy, measure_accuracy
from prep_triton.precision.measure.fidelity import (
    check_fidelity,
    compare_graphs,
    compare_with_reference,
    record_fidelity,
)
from prep_triton.precision.measure.runner import GraphRunner, RowRunner
from prep_triton.precision.rewrite.weights import ConvertedWeight
from prep_triton.progress import Progress, ignore_progress
from prep_triton.scratch import scratch_folder
from prep_triton.spec import GateSpec, QuantizationSpec

log = logging.getLogger(__name__)

# What the FP16 around INT8 may cost on the reference rows: as much as an FP16 graph (its default gate).
_MOST_LOST_TO_FP16 = 1e-3


@dataclass
class Quantizer:
    """Builds and evaluates INT8 graphs of one model that differ in the layers kept out.

    Args:
        model: The FP32 model.
        linears: The linear layers of its encoder.
        tensors: What each of them becomes.
        rows: Rows to evaluate on, and rows for the sensitivity runs.
        spec: The layers kept out, and whether to search for more.
        gate: What the INT8 graph must reach.
        progress: Called at each step.
        one_file_bytes: The longest file that holds its weights itself.
    """

    model: OnnxModel
    linears: Sequence[Linear]
    tensors: QuantizedTensors
    rows: CalibrationRows
    spec: QuantizationSpec
    gate: GateSpec
    progress: Progress = ignore_progress
    one_file_bytes: int = ONE_FILE_BYTES
    damage: dict[str, float] = field(default_factory=dict)

    def choose_layers(self) -> tuple[tuple[str, ...], FidelityRecord, AccuracyRecord | None]:
        """Find the fewest layers to keep out that meet the gate.

        Returns:
            The layers kept out, those of the spec first, and what was measured without them.

        Raises:
            PrecisionError: The gate is not met, however many layers are kept out.
        """
        gate, kept_out = self.gate, tuple(self.spec.keep_out)
        fidelity = self.evaluate(kept_out)
        if check_fidelity(fidelity, gate):
            if not self.spec.search:
                raise self._miss(fidelity, "allow the search, ")
            kept_out, fidelity = self._search_by_cosine(fidelity)
        accuracy = None
        if gate.eval_data is not None and gate.max_accuracy_drop is not None:
            chosen, accuracy = self._search_by_accuracy(kept_out, Path(gate.eval_data), gate.max_accuracy_drop)
            if chosen != kept_out:
                kept_out, fidelity = chosen, self.evaluate(chosen)
        return kept_out, fidelity, accuracy

    def evaluate(self, kept_out: Collection[str]) -> FidelityRecord:
        """Measure a graph against FP32 on every evaluation row."""
        self.progress(f"evaluating int8 with {len(kept_out)} layers kept out")
        candidate = self.open_candidate(kept_out)
        held = compare_graphs(self._reference, candidate, self.model, self.rows.evaluation)
        own = compare_with_reference(candidate, self.model.path(REFERENCE_NAME), self.model)
        rows = f"{len(held)} rows not calibrated on and {len(own.cosines)} of PyTorch's reference"
        return record_fidelity(
            np.concatenate([held, own.cosines]),
            runtime=candidate.runtime,
            measured_on=f"fp32 scales, {rows}",
            changed_labels=own.changed_labels,
        )

    def open_candidate(self, kept_out: Collection[str]) -> RowRunner:
        """Open the graph that is judged, in true arithmetic: Q/DQ as it is written, in FP32."""
        return GraphRunner.from_proto(self.build_with_fp32_scales(kept_out), one_file_bytes=self.one_file_bytes)

    def build_with_fp32_scales(self, kept_out: Collection[str]) -> ModelProto:
        """Return the graph with Q/DQ whose scales, and everything that is not INT8, are FP32."""
        proto = load_model(self.model.path(GRAPH_NAME))
        insert_qdq(proto, self._without(kept_out), self.tensors)
        return proto

    def write(self, kept_out: Collection[str], path: Path) -> OverflowRecord | None:
        """Write the INT8 + FP16 graph; return what of it stays in FP32."""
        self.progress("measuring the range of every value")
        reference_path, proto = self.model.path(REFERENCE_NAME), self.build_with_fp32_scales(kept_out)
        remedy = find_remedy(proto, reference_path, self.model, self.rows.calibration)
        self.progress("writing int8 and fp16")
        proto = self.build_with_fp32_scales(kept_out)
        planned = rewrite_to_fp16(proto, remedy=remedy, allow_quantized=True)
        weights = [ConvertedWeight(plan.name, plan.data_type, plan.source, None, plan.factor) for plan in planned]
        save_with_weights(proto, weights, path, one_file_bytes=self.one_file_bytes)
        self._check_written(path, kept_out)
        return remedy.record()

    def _check_written(self, path: Path, kept_out: Collection[str]) -> None:
        """Run the very graph that is written in FP16 arithmetic: it may lose what its FP32 form did not.

        Raises:
            PrecisionError: It does not run, answers NaN or infinity, or misses the gate through FP16 alone.
        """
        self.progress("running what was written")
        reference_path, min_cosine = self.model.path(REFERENCE_NAME), self.gate.min_cosine
        own = compare_with_reference(open_in_half_arithmetic(path), reference_path, self.model).cosines.mean()
        if min_cosine is None or own >= min_cosine:
            return
        evaluated = GraphRunner.from_proto(self.build_with_fp32_scales(kept_out), one_file_bytes=self.one_file_bytes)
        loss = compare_with_reference(evaluated, reference_path, self.model).cosines.mean() - own
        if loss > _MOST_LOST_TO_FP16:
            raise PrecisionError(
                f"{self.model.name} in int8 loses {loss:.2g} of its cosine to the fp16 around it, expected "
                f"{_MOST_LOST_TO_FP16:g} at most: its mean is {own:.5f}, and the gate {min_cosine:g}",
                hint="lower --min-cosine, or use --fp32 (not for a T4: TensorRT-RTX has no fp32 products for it)",
            )

    def _without(self, kept_out: Collection[str]) -> list[Linear]:
        return [linear for linear in self.linears if linear.name not in kept_out]

    @cached_property
    def _reference(self) -> GraphRunner:
        return GraphRunner(self.model.path(GRAPH_NAME))

    @cached_property
    def _switched(self) -> SwitchedGraph:
        linears = self._without(self.spec.keep_out)
        switched = GraphRunner.from_proto(self._build_switched(linears), one_file_bytes=self.one_file_bytes)
        return SwitchedGraph(switched, self._reference, self.model, linears, self.rows.calibration)

    def _build_switched(self, linears: Sequence[Linear]) -> ModelProto:
        """Return the graph with switches; what it was made from is out of memory by then."""
        stored = {tensor.name: tensor for tensor in load_model(self.model.path(GRAPH_NAME)).graph.initializer}
        weights = {
            linear.weight: smooth_weight(
                numpy_helper.to_array(stored[linear.weight]), self.tensors.inputs[linear.source].multiplier
            )
            for linear in linears
        }
        weights |= {linear.bias: numpy_helper.to_array(stored[linear.bias]) for linear in linears if linear.bias}
        del stored
        proto = self.build_with_fp32_scales(self.spec.keep_out)
        insert_switches(proto, linears, weights)
        return proto

    def _measure_damage(self) -> dict[str, float]:
        if not self.damage:
            self.damage = self._switched.measure_damage(progress=self.progress)
        return self.damage

    def _search_by_cosine(self, fidelity: FidelityRecord) -> tuple[tuple[str, ...], FidelityRecord]:
        graph, bound = self._switched, self.gate.min_cosine or 0.0
        order = list(self._measure_damage())
        count = max(1, count_kept_out(order, lambda on: graph.mean_cosine(on) >= bound))
        chosen = (*self.spec.keep_out, *order[:count])
        if count < len(order):  # to keep out all of them leaves no int8
            fidelity = self.evaluate(chosen)
        if check_fidelity(fidelity, self.gate):
            chosen, fidelity = self._keep_out_more(order, count + 1, fidelity)
        log.info("kept out of int8 to reach the gate: %s", ", ".join(chosen))
        return chosen, fidelity

    def _keep_out_more(
        self, order: Sequence[str], fewest: int, fidelity: FidelityRecord
    ) -> tuple[tuple[str, ...], FidelityRecord]:
        """Bisect for the fewest layers where all evaluation rows see more damage than those of the sensitivity runs."""
        best: tuple[tuple[str, ...], FidelityRecord] | None = None
        low, high = fewest, len(order)
        while low < high:
            middle = (low + high) // 2
            chosen = (*self.spec.keep_out, *order[:middle])
            fidelity = self.evaluate(chosen)
            if not check_fidelity(fidelity, self.gate):
                best, high = (chosen, fidelity), middle
            else:
                low = middle + 1
        if best is None:
            raise self._miss(fidelity, "")
        return best

    def _miss(self, fidelity: FidelityRecord, hint: str) -> PrecisionError:
        worst, miss = describe_worst(self._measure_damage()), check_fidelity(fidelity, self.gate)
        return PrecisionError(
            f"{self.model.name} in int8 has {miss}, and is worst in {worst}",
            hint=f"{hint}calibrate on more text, lower --min-cosine or --min-row-cosine, or use --fp16",
        )

    def _search_by_accuracy(
        self, kept_out: tuple[str, ...], eval_path: Path, max_drop: float
    ) -> tuple[tuple[str, ...], AccuracyRecord]:
        try:
            return kept_out, self._measure_accuracy(kept_out, eval_path, max_drop)
        except PrecisionError as err:
            worst = describe_worst(self._measure_damage())
            failure = PrecisionError(f"{err.message}; int8 is worst in {worst}", hint=err.hint)
            if not self.spec.search:
                raise failure from err
        rest = [name for name in self.damage if name not in kept_out]
        records: dict[int, AccuracyRecord] = {}

        def reaches(on: Collection[str]) -> bool:
            removed = len(rest) - len(on)
            try:
                records[removed] = self._measure_accuracy((*kept_out, *rest[:removed]), eval_path, max_drop)
            except PrecisionError:
                return False
            return True

        count = count_kept_out(rest, reaches)
        if count not in records:
            raise failure
        log.info("kept out of int8 to stay within %g points: %s", max_drop, ", ".join(rest[:count]))
        return (*kept_out, *rest[:count]), records[count]

    def _measure_accuracy(self, kept_out: Collection[str], eval_path: Path, max_drop: float) -> AccuracyRecord:
        with scratch_folder("int8") as folder:
            path = folder / GRAPH_NAME
            proto = self.build_with_fp32_scales(kept_out)
            save_with_weights(proto, (), path, one_file_bytes=self.one_file_bytes)
            del proto
            source = self.model.path(GRAPH_NAME)
            record = measure_accuracy(source, path, self.model, eval_path, progress=self.progress)
        check_accuracy(record, max_drop)
        return record
