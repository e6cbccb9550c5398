"""The table of the tasks, and those who must agree with it."""

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import numpy as np
import prep_triton
import pytest
from prep_triton.reference import count_special_tokens
from prep_triton.spec import ModelSpec, TextSpec
from prep_triton.spec.wording import describe_error
from prep_triton.tasks import (
    OTHER_TASK_NAMES,
    PROMPT_MASK,
    PROMPT_NAME,
    SCORES,
    TASK_CHOICES,
    TASK_NAMES,
    TASKS,
    Task,
    TaskChoice,
    find_task,
    tasks_with_option,
)
from prep_triton.triton.inside_server.answer import tasks as server_side
from prep_triton.triton.inside_server.encode import prompts as server_prompts
from prep_triton.triton.inside_server.encode.encoder import Encoder
from prep_triton.triton.inside_server.encode.settings import EncoderSettings
from pydantic import ValidationError

from tests.fakes.task_models import make_tokenizer

PACKAGE = Path(prep_triton.__file__).parent
INSIDE_SERVER = PACKAGE / "triton" / "inside_server"
MODEL_INPUTS = {"input_ids", "attention_mask", "token_type_ids"}


def test_every_task_has_a_row() -> None:
    assert tuple(TASKS) == TASK_NAMES == get_args(Task)
    assert TASK_CHOICES == get_args(TaskChoice) == ("auto", *TASK_NAMES)


def test_a_spec_takes_every_task() -> None:
    assert [ModelSpec(model="minilm", task=task).task for task in TASK_CHOICES] == list(TASK_CHOICES)


def test_the_texts_and_the_first_answer_tell_the_task() -> None:
    """Both kinds of embedding are read alike, under one name."""
    for task, facts in TASKS.items():
        read_as = "feature-extraction" if task == "sentence-embedding" else task
        answers = [tensor.name for tensor in reversed(facts.answers)]
        assert find_task(facts.text_inputs[::-1], answers) == read_as
    assert find_task(["TEXT"], ["SCORE", "logits"]) is None
    assert find_task(["TEXT", "CONTEXT"], ["LABEL", "SCORE"]) is None


def test_options_are_fields_of_the_text_spec() -> None:
    options = {option for facts in TASKS.values() for option in facts.options}
    assert options < set(TextSpec.model_fields)
    assert set(tasks_with_option("top_k")) == {"fill-mask", "text-classification", "text-pair-classification"}
    assert set(tasks_with_option("answers")) == {"text-classification", "text-pair-classification"}
    assert tasks_with_option("long_input") == TASK_NAMES


@pytest.mark.parametrize(("name", "task"), OTHER_TASK_NAMES.items())
def test_what_other_tools_call_a_task_is_refused_with_the_name_that_is_taken(name: str, task: Task) -> None:
    with pytest.raises(ValidationError) as refused:
        ModelSpec.model_validate({"model": "x", "task": name})
    message, hint = describe_error(dict(refused.value.errors()[0]))
    assert message == f"'{name}' is not a known value"
    suggested = hint.removeprefix("did you mean ").partition("?")[0]
    assert suggested == task == ModelSpec.model_validate({"model": "x", "task": suggested}).task


@pytest.mark.parametrize("task", tasks_with_option("answers"))
def test_scores_alone_tell_a_task_by_its_texts(task: Task) -> None:
    assert find_task(TASKS[task].text_inputs, [SCORES.name]) == task


@pytest.mark.parametrize("task", TASK_NAMES)
def test_what_runs_in_the_server_agrees_with_the_table(task: Task, tmp_path: Path) -> None:
    """The tokenizer's and the post-processor's own tensors, over a text of one window."""
    facts = TASKS[task]
    settings = EncoderSettings(task=task, length_buckets=(16,), max_rows=4)
    assert settings.columns == facts.text_inputs
    encoder = Encoder(make_tokenizer(), settings)
    assert len(encoder.frame) == count_special_tokens(make_tokenizer(), len(facts.text_inputs))
    texts = [np.array([[b"w1 w2"]], np.object_) for _ in facts.text_inputs]
    (encoded,) = encoder.encode([texts])
    assert isinstance(encoded, dict)
    assert set(encoded) == {*MODEL_INPUTS, "WINDOW", *(tensor.name for tensor in facts.details)}

    if not facts.has_postprocessor:
        assert not facts.details
        return
    (tmp_path / "labels.json").write_text('["O", "B-A"]')
    make_tokenizer().save(str(tmp_path / "tokenizer.json"))
    parameters = {key: str(getattr(TextSpec(), key)).lower() for key in facts.options}
    answer = server_side.answer_from_parameters({"task": task, **parameters}, tmp_path)
    inner = {"num_labels": (2,), "hidden_size": (8,), "vocab_size": (64,), None: ()}[facts.width]
    shape = (1, 16, *inner) if facts.per_token else (1, *inner)
    outputs = {name: np.ones(shape, np.float32) for name in facts.outputs}
    assert set(answer({**encoded, **outputs})) == {tensor.name for tensor in facts.answers}


def test_the_server_side_and_the_table_agree_on_prompts() -> None:
    assert (server_prompts.INPUT, server_prompts.MASK) == (PROMPT_NAME, PROMPT_MASK)


def find_task_names(path: Path) -> Iterator[tuple[ast.AST, ast.Constant]]:
    """Yield every string that is a task's name, under what it stands."""
    for parent in ast.walk(ast.parse(path.read_text())):
        for child in ast.iter_child_nodes(parent):
            if isinstance(child, ast.Constant) and child.value in TASK_NAMES:
                yield parent, child


def test_no_other_file_has_a_table_of_tasks_or_compares_with_one() -> None:
    """A task's name stands in `tasks.py`, in a `case` of a branch that ends in assert_never, or is passed on."""
    wrong = [
        f"{path.relative_to(PACKAGE)}:{child.lineno}"
        for path in PACKAGE.rglob("*.py")
        if path.name != "tasks.py" and not path.is_relative_to(INSIDE_SERVER)
        for parent, child in find_task_names(path)
        if not isinstance(parent, ast.MatchValue | ast.Call)
    ]
    assert not wrong


def test_every_branch_on_a_task_ends_in_assert_never() -> None:
    for path in PACKAGE.rglob("*.py"):
        tree = ast.parse(path.read_text())
        for branch in (node for node in ast.walk(tree) if isinstance(node, ast.Match)):
            cases = {ast.unparse(case.pattern).strip("'\"") for case in branch.cases}
            if cases & set(TASK_NAMES):
                assert ast.unparse(branch.cases[-1]).splitlines()[0] == "case _:"
                assert "assert_never" in ast.unparse(branch.cases[-1])
