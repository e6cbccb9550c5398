"""How a conversion changes what a task is measured by: accuracy, EM and F1 for question answering, ranks of embeddings.

Both graphs, FP32 and converted, answer the same labelled rows in ONNX Runtime on the CPU.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prep_triton.artifact import AccuracyRecord, OnnxModel
from prep_triton.errors import PrecisionError, SpecError
from prep_triton.layout import TOKENIZER_NAME
from prep_triton.precision.measure.labelled import load_examples
from prep_triton.progress import Progress, ignore_progress
from prep_triton.reference import load_tokenizer, translate_tokenizer_errors
from prep_triton.tasks import SPEARMAN, TASKS

if TYPE_CHECKING:
    import numpy as np

    from prep_triton.precision.measure.runner import RowRunner
    from prep_triton.precision.measure.scoring_plan import Scoring

    Array = np.ndarray[Any, Any]

_COSINE_HINT = "gate it on the answers themselves: --min-cosine 0.99"

# Points come from divisions: 90.0 - 89.5 must not exceed 0.5.
_ROUNDING = 1e-9


def measure_accuracy(
    reference: Path,
    candidate: Path,
    model: OnnxModel,
    eval_path: Path,
    *,
    progress: Progress = ignore_progress,
    open_candidate: "Callable[[Path], RowRunner] | None" = None,
) -> AccuracyRecord:
    """Measure a task's metric on labelled rows, before and after conversion.

    Args:
        reference: The FP32 ``model.onnx``.
        candidate: The converted one, with the same inputs and outputs.
        model: The FP32 artifact: its task, its labels and the tokenizer.json beside it.
        eval_path: A .jsonl; `prep_triton.precision.measure.labelled` names the fields of each task.
        progress: Called with how far it is.
        open_candidate: Opens the converted graph in what is to run it; ONNX Runtime where None.

    Returns:
        accuracy (text-classification), token accuracy (token-classification: the first token of each
        word), top-1 accuracy (fill-mask), F1 with the exact match in `others` (question-answering), Spearman's
        correlation or nDCG@10 (embeddings, by the rows' form), or nDCG@10 (pairs that one label scores).

    Raises:
        SpecError: The model has too few labels or no tokenizer, or the file cannot be used.
        PrecisionError: ONNX Runtime cannot run a graph, or a graph answers NaN or infinity.
    """
    progress("tokenizing the evaluation rows", 0.0)
    scoring = load_scoring(model, eval_path)
    from prep_triton.precision.measure.runner import GraphRunner

    before = _score_graph(GraphRunner(reference), model, scoring, lambda done: progress("scoring fp32", 0.5 * done))
    runner = (open_candidate or GraphRunner)(candidate)
    after = _score_graph(runner, model, scoring, lambda done: progress("scoring the conversion", 0.5 + 0.5 * done))
    return AccuracyRecord(
        metric=scoring.metric,
        rows=scoring.rows,
        reference=before[scoring.metric],
        converted=after[scoring.metric],
        others={name: (value, after[name]) for name, value in before.items() if name != scoring.metric},
    )


def check_eval_data(model: OnnxModel, eval_path: Path) -> None:
    """Refuse what `measure_accuracy` would refuse, before a long conversion instead of after it.

    Raises:
        SpecError: The model has too few labels or no tokenizer, or the file cannot be used.
        PrecisionError: The model's tokenizer is damaged.
    """
    load_scoring(model, eval_path)


def check_accuracy(record: AccuracyRecord, max_drop: float) -> None:
    """Refuse a conversion that costs more than its budget.

    Args:
        record: What was measured.
        max_drop: The largest drop that is allowed, in points.

    Raises:
        PrecisionError: The drop exceeds the budget, or the FP32 model scores too little to lose that much.
    """
    drop = record.reference - record.converted
    measured = f"{record.metric} is {record.converted:.2f} where FP32 has {record.reference:.2f} ({record.rows} rows)"
    if drop > max_drop + _ROUNDING:
        message = f"{measured}: a drop of {drop:.6g} points, at most {max_drop:g} allowed"
        hint = "keep more layers out of int8 (keep_out), use --fp16, or raise --max-accuracy-drop"
        if (weight := _weight_of_row(record)) > max_drop:
            hint += f"; one of {record.rows} rows weighs up to {weight:.3g} points, more rows measure finer"
        raise PrecisionError(message, hint=hint)
    if record.reference <= max_drop:
        raise PrecisionError(
            f"{measured}: a drop of {max_drop:g} points cannot be missed, so the gate proves nothing",
            hint="check that --eval-data and its labels belong to this model, or gate it on --min-cosine",
        )


def _weight_of_row(record: AccuracyRecord) -> float:
    """Return how many points one row can cost: of ranks 600 / (rows + 1), where the first becomes the last."""
    return 600 / (record.rows + 1) if record.metric == SPEARMAN else 100 / record.rows


def check_task(model: OnnxModel) -> None:
    """Refuse a model with too few labels to be right or wrong, or to rank by.

    Raises:
        SpecError: There is nothing to score.
    """
    if not any(form.fits(len(model.labels)) for form in TASKS[model.task].labelled):
        raise SpecError(
            f"{model.name} has {len(model.labels)} label(s): it answers a number, not a class, and has no accuracy",
            hint=_COSINE_HINT,
        )


def load_scoring(model: OnnxModel, eval_path: Path, *, max_tokens: int | None = None) -> "Scoring":
    """Load labelled rows and say how they are scored; see `measure_accuracy`.

    Args:
        model: The artifact: its task, its labels and the tokenizer.json beside it.
        eval_path: A .jsonl.
        max_tokens: Where longer rows are cut. Where None, what the model takes; of an embedder, what it declares.

    Raises:
        SpecError: The model has too few labels or no tokenizer, or the file cannot be used.
        PrecisionError: The tokenizer is damaged.
    """
    check_task(model)
    examples = load_examples(eval_path, model.task, model.labels)
    tokenizer = _load_tokenizer(model)

    from prep_triton.precision.measure.scoring import plan_scoring

    with translate_tokenizer_errors(model.path(TOKENIZER_NAME), error=PrecisionError):
        longest = model.usual_length if TASKS[model.task].answers_embedding else model.max_sequence_length
        return plan_scoring(
            model.task, examples, tokenizer, max_tokens or longest, model.embedding, truncation=model.truncation
        )


def _load_tokenizer(model: OnnxModel) -> Any:
    path = model.path(TOKENIZER_NAME)
    if not path.is_file():
        why = "random weights" if model.weights == "random" else "none was exported"
        raise SpecError(
            f"{model.name} has no {TOKENIZER_NAME} ({why}), so labelled text means nothing to it", hint=_COSINE_HINT
        )
    return load_tokenizer(path, error=PrecisionError)


def _score_graph(
    runner: "RowRunner", model: OnnxModel, scoring: "Scoring", report: Callable[[float], None]
) -> dict[str, float]:
    """Let a graph answer every row, keep what the score needs, and score it."""
    choices: list[Any] = [None] * len(scoring.sequences)
    done = 0
    for batch in runner.answer_batches(model, scoring.sequences):
        for index, answers in batch:
            _check_finite(answers, runner.label)
            choices[index] = scoring.choose(index, answers)
        done += len(batch)
        report(done / len(choices))
    return scoring.score(choices)


def _check_finite(answers: "Mapping[str, Array]", label: str) -> None:
    """Refuse NaN, which argmax() would take for the largest value."""
    import numpy as np

    for name, values in answers.items():
        if not np.isfinite(values).all():
            raise PrecisionError(
                f"{label} answers NaN or infinity in {name} of an evaluation row",
                hint="a conversion that overflows does this: keep more layers out, or use another precision",
            )
