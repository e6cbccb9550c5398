"""Two graphs, engines or entries side by side: answers, size, precision, and latency where both run here."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prep_triton.artifact import Cosine, LatencyRecord, OnnxModel, Points, Record, Share
from prep_triton.engine.execute import find_execution_problem
from prep_triton.engine.machine import detect_machine
from prep_triton.errors import SpecError
from prep_triton.extras import check_extra
from prep_triton.progress import Progress, ignore_progress
from prep_triton.run.subjects import Candidate, candidate_from_subject, find_subject
from prep_triton.workspace import Workspace

if TYPE_CHECKING:
    import numpy as np

    from prep_triton.precision.measure.token_rows import TokenRow
    from prep_triton.reference import Reference

    Answers = list[Mapping[str, np.ndarray[Any, Any]]]

# What a latency is measured at: one text of usual length.
_LATENCY_SHAPE = (1, 128)


class ComparedSide(Record):
    """One of two: `size_bytes` of its graph, engine or plans; `flops_share` of its products with weights, by precision.

    `layers` counts these products by precision; of an engine it counts its layers. `mean_cosine` and `min_cosine` are
    those of its answers to the reference rows' own, and `changed_labels` counts labels that are clearly others.
    `accuracy` is in points of `metric`. `problem` says why it does not answer here.
    """

    name: str
    what: str
    precision: str
    size_bytes: int
    flops_share: dict[str, Share]
    layers: dict[str, int]
    mean_cosine: Cosine | None = None
    min_cosine: Cosine | None = None
    changed_labels: int | None = None
    accuracy: Points | None = None
    latency: LatencyRecord | None = None
    problem: str | None = None


class Comparison(Record):
    """Two sides; `mean_cosine` and `min_cosine` are between their answers, `same_labels` of `rows` agree.

    `reference` says whose rows both answered, `metric` what `accuracy` is. `notes` say what was not compared, and why.
    """

    first: ComparedSide
    second: ComparedSide
    reference: str | None = None
    rows: int = 0
    mean_cosine: Cosine | None = None
    min_cosine: Cosine | None = None
    same_labels: int | None = None
    metric: str | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class CompareSpec:
    """What to compare: two references (see `find_subject`), labelled rows, and how many runs to time (0 for none)."""

    first: str
    second: str
    eval_data: Path | None = None
    runs: int = 30


def compare_artifacts(spec: CompareSpec, workspace: Workspace, *, progress: Progress = ignore_progress) -> Comparison:
    """Compare two graphs, engines or entries.

    Raises:
        SpecError: One is not there, they answer different things, or labelled rows cannot be scored.
        PrecisionError: ONNX Runtime refuses a graph, or it answers NaN.
        MissingPackageError: A graph is to answer, and ONNX Runtime is not installed.
    """
    pair = [candidate_from_subject(find_subject(name, workspace), name) for name in (spec.first, spec.second)]
    problems = [_find_problem(candidate) for candidate in pair]
    progress("reading")
    sides = [_describe(candidate, problem) for candidate, problem in zip(pair, problems, strict=True)]
    notes = [f"{side.name} does not answer here: {side.problem}" for side in sides if side.problem]
    model, rows = _find_rows(pair)
    fields: dict[str, Any] = {}
    if any(problem is None for problem in problems) and model and rows:
        _check_same(pair, model)
        progress("answering the reference rows", 0.2)
        sides, fields = _compare_answers(sides, pair, model, rows)
    elif not notes:
        raise SpecError(
            f"neither {pair[0].name} nor {pair[1].name} has reference rows to answer",
            hint="compare it with an export, a graph or an entry of prep: prep list shows them",
        )
    if spec.eval_data is not None:
        progress("scoring the labelled rows", 0.5)
        sides, fields["metric"], note = _score(sides, pair, model, spec.eval_data)
        notes += note
    if spec.runs:
        progress("timing", 0.8)
        sides, note = _time(sides, pair, model, spec.runs)
        notes += note
    return Comparison(first=sides[0], second=sides[1], notes=tuple(notes), **fields)


def _find_problem(candidate: Candidate) -> str | None:
    """Say why something does not answer on this machine; None where it does."""
    if candidate.engine is None:
        check_extra("cpu")
        return None
    return find_execution_problem(candidate.engine, detect_machine())


def _describe(candidate: Candidate, problem: str | None) -> ComparedSide:
    if candidate.engine is not None:
        proof = candidate.engine.proof
        share, layers = proof.linear_flops_share or proof.gemm_flops_share, proof.layers
    else:
        from prep_triton.precision.measure.products import count_products

        assert candidate.graph is not None
        products = count_products(candidate.graph)
        share, layers = dict(products.share), dict(products.layers)
    precision = candidate.precision
    if candidate.what == "file":
        precision = " and ".join(sorted(share, key=lambda word: -share[word])) or "unknown"
    return ComparedSide(
        name=candidate.name, what=candidate.what, precision=precision, size_bytes=candidate.size_bytes,
        flops_share=share, layers=layers, problem=problem,
    )  # fmt: skip


def _find_rows(pair: list[Candidate]) -> tuple[OnnxModel | None, Path | None]:
    """Return the record and the reference rows of the first that has some."""
    for candidate in pair:
        if candidate.model and candidate.reference and candidate.reference.is_file():
            return candidate.model, candidate.reference
    return None, None


def _check_same(pair: list[Candidate], model: OnnxModel) -> None:
    """Refuse to compare answers of different kinds."""
    for other in (candidate.model for candidate in pair if candidate.model):
        own, outputs = ([(spec.name, spec.shape[-1]) for spec in of.model_outputs] for of in (model, other))
        if (model.task, own, model.vocab_size) != (other.task, outputs, other.vocab_size):
            raise SpecError(
                f"{pair[0].name} and {pair[1].name} answer different things: {model.task} {_tensors(own)} of "
                f"{model.vocab_size} ids, and {other.task} {_tensors(outputs)} of {other.vocab_size}",
                hint="compare two forms of one model, or two models of one task and vocabulary",
            )


def _tensors(outputs: list[tuple[str, int | str]]) -> str:
    return ", ".join(f"{name} [{width}]" for name, width in outputs)


def _compare_answers(
    sides: list[ComparedSide], pair: list[Candidate], model: OnnxModel, rows_path: Path
) -> tuple[list[ComparedSide], dict[str, Any]]:
    """Have both answer the reference rows; compare each with the reference's answers, and with the other."""
    from prep_triton.agreement import chooses_labels, count_label_changes
    from prep_triton.errors import PrecisionError
    from prep_triton.precision.measure.fidelity import rows_from_reference
    from prep_triton.reference import load_reference

    names = [spec.name for spec in model.model_outputs]
    reference = load_reference(rows_path, ["input_ids"], names, error=PrecisionError)
    rows = rows_from_reference(reference)
    expected = _answers_of_reference(reference, rows, model)
    has_choice = chooses_labels(model.task, model.labels, model.activation)
    answered = [None if side.problem else _answer(each, model, rows) for side, each in zip(sides, pair, strict=True)]
    after = []
    for side, answers in zip(sides, answered, strict=True):
        if answers is None:
            after.append(side)
            continue
        measured: dict[str, Any] = _summarize(_cosines(expected, answers, model))
        if has_choice:
            both = zip(expected, answers, strict=True)
            measured["changed_labels"] = sum(count_label_changes(a[names[0]], b[names[0]])[0] for a, b in both)
        after.append(side.model_copy(update=measured))
    who = "PyTorch's answers" if model.reference == "pytorch" else "its own answers at export, in ONNX Runtime"
    fields: dict[str, Any] = {"reference": f"the reference rows of {model.name}, {who}", "rows": len(rows)}
    first, second = answered
    if first is not None and second is not None:
        fields |= _summarize(_cosines(first, second, model))
        if has_choice:
            same = zip(first, second, strict=True)
            fields["same_labels"] = sum(bool((a[names[0]].argmax(-1) == b[names[0]].argmax(-1)).all()) for a, b in same)
    return after, fields


def _cosines(left: "Answers", right: "Answers", model: OnnxModel) -> list[float]:
    from prep_triton.agreement import answer_vector
    from prep_triton.precision.measure.fidelity import measure_cosines

    names = [spec.name for spec in model.model_outputs]
    vectors = ([answer_vector(row, names, model.task) for row in answers] for answers in (left, right))
    return [float(value) for value in measure_cosines(zip(*vectors, strict=True))]


def _summarize(cosines: list[float]) -> dict[str, Any]:
    return {"mean_cosine": sum(cosines) / len(cosines), "min_cosine": min(cosines)}


def _answers_of_reference(reference: "Reference", rows: "list[TokenRow]", model: OnnxModel) -> "Answers":
    return [
        {
            spec.name: reference.outputs[spec.name][index, : len(row.ids) if "sequence" in spec.shape else None]
            for spec in model.model_outputs
        }
        for index, row in enumerate(rows)
    ]


def _answer(candidate: Candidate, model: OnnxModel, rows: "list[TokenRow]") -> "Answers":
    """Answer rows one at a time and without padding, as the reference was: on the CPU, or an engine on its GPU."""
    if candidate.engine is not None:
        return _answer_on_gpu(candidate, model, rows)
    from prep_triton.precision.measure.runner import GraphRunner

    assert candidate.graph is not None
    runner = GraphRunner(candidate.graph)
    return [answers for row in rows for batch in runner.answer_batches(model, [row]) for _, answers in batch]


def _answer_on_gpu(candidate: Candidate, model: OnnxModel, rows: "list[TokenRow]") -> "Answers":
    import numpy as np

    from prep_triton.engine.execute import run_engine

    assert candidate.engine is not None
    inputs = [spec.name for spec in candidate.engine.model_inputs]
    feeds = []
    for row in rows:
        arrays = {"input_ids": [row.ids], "token_type_ids": [row.type_ids], "attention_mask": [[1] * len(row.ids)]}
        feeds.append({name: np.array(arrays[name], np.int64) for name in inputs})
    return [
        {spec.name: answers[spec.name][0] for spec in model.model_outputs}
        for answers in run_engine(candidate.engine, feeds)
    ]


def _score(
    sides: list[ComparedSide], pair: list[Candidate], model: OnnxModel | None, eval_data: Path
) -> tuple[list[ComparedSide], str | None, list[str]]:
    graphs = [candidate.graph for candidate in pair]
    if model is None or graphs[0] is None or graphs[1] is None:
        return sides, None, ["accuracy was not measured: labelled rows are scored on graphs in ONNX Runtime"]
    from prep_triton.precision.measure.accuracy import measure_accuracy

    if not eval_data.is_file():
        raise SpecError(f"there is no evaluation file {eval_data}", hint="check --eval-data")
    record = measure_accuracy(graphs[0], graphs[1], model, eval_data)
    scores = (record.reference, record.converted)
    after = [side.model_copy(update={"accuracy": score}) for side, score in zip(sides, scores, strict=True)]
    return after, f"{record.metric} over {record.rows} rows", []


def _time(
    sides: list[ComparedSide], pair: list[Candidate], model: OnnxModel | None, runs: int
) -> tuple[list[ComparedSide], list[str]]:
    """Time both in turn, where one runtime runs both."""
    graphs = [candidate.graph for candidate in pair]
    if model and graphs[0] and graphs[1]:
        from prep_triton.precision.measure.latency import measure_in_turn

        shape = (_LATENCY_SHAPE[0], min(_LATENCY_SHAPE[1], model.max_sequence_length))
        records = measure_in_turn([graphs[0], graphs[1]], shape, model.vocab_size, runs)
    elif pair[0].engine and pair[1].engine and not any(side.problem for side in sides):
        return sides, _time_engines(pair, runs)
    else:
        return sides, ["latency was not measured: not both run here, or not in one runtime"]
    return [side.model_copy(update={"latency": record}) for side, record in zip(sides, records, strict=True)], []


def _time_engines(pair: list[Candidate], runs: int) -> list[str]:
    from prep_triton.engine.execute import measure_latencies_ms

    engines = [candidate.engine for candidate in pair if candidate.engine]
    medians = measure_latencies_ms(engines, [_LATENCY_SHAPE], runs=runs)
    shape = "x".join(map(str, _LATENCY_SHAPE))
    times = ", ".join(f"{each.name} {ms[0]:.3f} ms" for each, ms in zip(pair, medians, strict=True))
    return [f"median latency on the GPU at {shape}, {runs} runs in turn, without transfers: {times}"]
