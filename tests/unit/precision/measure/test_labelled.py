"""Reading labelled rows, and every way in which a file of them can be wrong."""

import json
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prep_triton.errors import SpecError
from prep_triton.precision.measure.labelled import (
    LabelledText,
    LabelledWords,
    MaskedText,
    Question,
    load_examples,
    parse_examples,
)
from prep_triton.precision.measure.ranked_rows import RankedDocuments, ScoredPair
from prep_triton.tasks import TASKS, Task

LABELS = ("negative", "positive")
SCORED_TASKS = list(TASKS)


def parse(task: Task, *rows) -> list:
    return parse_examples("\n".join(json.dumps(row) for row in rows), task, LABELS, where="eval.jsonl")


def refused(task: Task, *rows) -> SpecError:
    with pytest.raises(SpecError) as caught:
        parse(task, *rows)
    return caught.value


RANKED = {"query": "sea", "documents": ["a ship", "rain"], "relevance": [1, 0]}


def parse_for_one_label(*rows) -> list:
    text = "\n".join(map(json.dumps, rows))
    return parse_examples(text, "text-pair-classification", ("LABEL_0",), where="eval.jsonl")


def test_a_model_of_one_label_for_pairs_takes_queries_with_documents():
    assert parse_for_one_label({**RANKED, "text": "x", "score": 1}) == [
        RankedDocuments("sea", ("a ship", "rain"), (1, 0))
    ]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (
            {"text": "a", "text_pair": "b", "label": 0},
            "rows of text, text_pair, label are scored by accuracy, which a model with 1 label does not have",
        ),
        ({"text": "a", "text_pair": "b"}, "no field 'query'; its fields are text, text_pair"),
        ({**RANKED, "relevance": [1]}, "2 documents and 1 numbers of relevance, expected one a document"),
        ({**RANKED, "relevance": [1, 1]}, "the relevance 1 for each, so that no order is better than another"),
        ({**RANKED, "relevance": [1, -1]}, "the relevance -1 is below 0"),
        ({**RANKED, "query": None}, "'query' is null, expected a text"),
    ],
)
def test_rows_that_do_not_rank_are_refused_with_their_line(row, message):
    with pytest.raises(SpecError) as caught:
        parse_for_one_label(RANKED, row)
    assert caught.value.message == f"eval.jsonl, line 2: {message}"
    assert caught.value.hint


def test_several_labels_do_not_rank():
    error = refused("text-pair-classification", RANKED)
    assert error.message == (
        "eval.jsonl, line 1: rows of query, documents, relevance are scored by nDCG@10, which a model with 2 labels "
        "does not have"
    )
    assert '"label": "entailment"' in error.hint


def test_label_is_a_name_or_an_index():
    examples = parse(
        "text-classification",
        {"text": "fine", "label": "positive"},
        {"text": "a", "text_pair": "b", "label": 0, "id": 7},
        {"text": "a", "text_pair": None, "label": 1},
    )
    assert examples == [LabelledText("fine", None, 1), LabelledText("a", "b", 0), LabelledText("a", None, 1)]


def test_words_have_a_label_each():
    assert parse("token-classification", {"tokens": ["Ada", "wrote"], "labels": ["positive", 0]}) == [
        LabelledWords(("Ada", "wrote"), (1, 0))
    ]


@pytest.mark.parametrize("answers", [["Ada", "Ada L."], {"text": ["Ada", "Ada L."], "answer_start": [0, 0]},
                                     [{"text": "Ada", "answer_start": 0}, {"text": "Ada L."}]])  # fmt: skip
def test_answers_are_a_list_or_in_squads_form(answers):
    row = {"id": "x", "question": "Who?", "context": "Ada L.", "answers": answers}
    assert parse("question-answering", row) == [Question("Who?", "Ada L.", ("Ada", "Ada L."))]


def test_question_may_have_no_answer():
    (row,) = parse("question-answering", {"question": "Who?", "context": "Ada", "answers": {"text": []}})
    assert row.answers == ()


def test_masked_text_remembers_its_line():
    examples = parse("fill-mask", {"text": "[MASK]", "label": "sky"}, {"text": "a [MASK]", "label": "sea"})
    assert examples[1] == MaskedText("a [MASK]", "sea", "eval.jsonl, line 2")


def test_blank_lines_a_byte_order_mark_and_line_separators_in_text_are_accepted(tmp_path):
    path = tmp_path / "eval.jsonl"
    path.write_bytes('\ufeff{"text": "a\u2028b", "label": 0}\r\n\r\n{"text": "c", "label": 1}\r\n'.encode())
    assert load_examples(path, "text-classification", LABELS) == [
        LabelledText("a\u2028b", None, 0),
        LabelledText("c", None, 1),
    ]


def test_missing_file_is_refused(tmp_path):
    with pytest.raises(SpecError, match="there is no evaluation file") as caught:
        load_examples(tmp_path / "no.jsonl", "fill-mask", ())
    assert "--eval-data" in caught.value.hint


def test_folder_is_refused(tmp_path):
    with pytest.raises(SpecError, match="cannot be read") as caught:
        load_examples(tmp_path, "fill-mask", ())
    assert "--eval-data is a .jsonl" in caught.value.hint


def test_file_that_is_not_utf8_is_refused_with_the_byte(tmp_path):
    path = tmp_path / "my eval.jsonl"
    path.write_bytes('{"text": "café [MASK]", "labels": ["au"]}'.encode("latin-1"))
    with pytest.raises(SpecError, match="is not UTF-8: byte 0xe9 at offset 13") as caught:
        load_examples(path, "fill-mask", ())
    (tmp_path / "elsewhere").mkdir()
    _, _, command = caught.value.hint.partition(": ")
    subprocess.run(command, shell=True, check=True, cwd=tmp_path / "elsewhere")
    assert "café" in (tmp_path / "elsewhere" / "utf8.jsonl").read_text(encoding="utf-8")


@pytest.mark.parametrize("text", ["", "\n \n"])
@pytest.mark.parametrize("task", SCORED_TASKS)
def test_empty_file_is_refused_and_the_hint_shows_a_line_that_parses(task, text):
    with pytest.raises(SpecError, match=r"eval\.jsonl is empty") as caught:
        parse_examples(text, task, (), where="eval.jsonl")
    example = caught.value.hint.partition(" reads ")[2]
    assert len(parse_examples(example, task, ("positive", "B-PER", "O", "entailment"), where="hint")) == 1


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{'text': 'a'}", "line 2: not JSON: Expecting property name"),
        ("[" * 100_000, "line 2: not JSON: "),
        ('["a", 1]', "line 2: a list, expected an object"),
        ("null", "line 2: null, expected an object"),
        ("3", "line 2: a number, expected an object"),
    ],
)
def test_line_that_is_no_object_is_refused_with_its_number(line, message):
    with pytest.raises(SpecError) as caught:
        parse_examples('{"text": "a", "label": 0}\n' + line, "text-classification", LABELS, where="eval.jsonl")
    assert caught.value.message.startswith(f"eval.jsonl, {message}")
    assert '{"text": ' in caught.value.hint


def test_missing_field_is_refused_with_the_fields_seen():
    error = refused("text-classification", {"sentence": "a", "label": 0})
    assert error.message == "eval.jsonl, line 1: no field 'text'; its fields are sentence, label"
    assert '{"text": ' in error.hint
    assert "its fields are none" in refused("fill-mask", {}).message


def test_rows_of_another_task_are_recognised():
    error = refused("text-classification", {"question": "a", "context": "b", "answers": []})
    assert "these rows are for question-answering, and the model does text-classification" in error.hint


def test_squads_nested_file_is_recognised():
    assert "flattened to one question a line" in refused("question-answering", {"version": "1.1", "data": []}).hint


@pytest.mark.parametrize(
    ("label", "shown", "hint"),
    [
        ("postive", '"postive"', "did you mean 'positive'? the model's 2 labels are negative, positive"),
        ("POSITIVE", '"POSITIVE"', "did you mean 'positive'?"),
        ("xyz", '"xyz"', "the model's 2 labels are negative, positive, or their indexes from 0"),
        (2, "2", "the model's 2 labels are"),
        (-1, "-1", "the model's 2 labels are"),
        (True, "true", "the model's 2 labels are"),
        (1.0, "1.0", "the model's 2 labels are"),
        (None, "null", "the model's 2 labels are"),
        (["positive"], '["positive"]', "the model's 2 labels are"),
    ],
)
def test_label_that_the_model_does_not_have_is_refused_with_the_nearest(label, shown, hint):
    error = refused("text-classification", {"text": "a", "label": label})
    assert error.message == f"eval.jsonl, line 1: the model has no label {shown}"
    assert hint in error.hint


def test_long_list_of_labels_is_cut_short():
    labels = [f"L{index}" for index in range(40)]
    with pytest.raises(SpecError) as caught:
        parse_examples('{"text": "a", "label": "?"}', "text-classification", labels, where="x")
    assert "L11, ..., or" in caught.value.hint


@pytest.mark.parametrize(
    ("task", "row", "message"),
    [
        ("text-classification", {"text": 5, "label": 0}, "'text' is a number, expected a text"),
        (
            "text-classification",
            {"text": "a", "text_pair": ["b"], "label": 0},
            "'text_pair' is a list, expected a text",
        ),
        ("text-classification", {"text": "\ud800", "label": 0}, r"'text' holds the lone surrogate '\ud800'"),
        ("token-classification", {"tokens": "Ada wrote", "labels": [0]}, "'tokens' is a text, expected a list"),
        ("token-classification", {"tokens": ["Ada"], "labels": 0}, "'labels' is a number, expected a list"),
        ("token-classification", {"tokens": ["Ada", 1], "labels": [0, 0]}, "'tokens' is a number, expected a text"),
        (
            "token-classification",
            {"tokens": ["Ada"], "labels": []},
            "1 tokens and 0 labels, expected one label a token",
        ),
        (
            "question-answering",
            {"question": "a", "context": "b", "answers": "c"},
            "'answers' is a text, expected a list",
        ),
        (
            "question-answering",
            {"question": "a", "context": "b", "answers": {"start": []}},
            "'answers' has no 'text'; its fields are start",
        ),
        (
            "question-answering",
            {"question": "a", "context": "b", "answers": [{"start": 1}]},
            "'answers' is null, expected a text",
        ),
        (
            "question-answering",
            {"question": None, "context": "b", "answers": []},
            "'question' is null, expected a text",
        ),
        ("fill-mask", {"text": "[MASK]", "label": 3}, "'label' is a number, expected a text"),
    ],
)
def test_value_of_the_wrong_kind_is_refused(task, row, message):
    error = refused(task, row)
    assert error.message == f"eval.jsonl, line 1: {message}"
    assert error.hint


@given(
    task=st.sampled_from(SCORED_TASKS),
    rows=st.lists(
        st.dictionaries(
            st.sampled_from(["text", "label", "tokens", "labels", "question", "context", "answers", "text_pair"]),
            st.recursive(
                st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
                lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.just("text"), inner, max_size=1),
                max_leaves=4,
            ),
        ),
        max_size=3,
    ),
)
def test_any_json_is_parsed_or_refused_with_a_hint(task, rows):
    try:
        examples = parse(task, *rows)
    except SpecError as error:
        assert error.hint
    else:
        assert len(examples) == len(rows)


PAIR = {"text": "a", "text_pair": "b", "score": 0.5}
QUERY = {"query": "a", "documents": ["b", "c"], "relevance": [1, 0]}


@pytest.mark.parametrize("task", ["feature-extraction", "sentence-embedding"])
def test_rows_of_embeddings_are_pairs_or_queries(task):
    assert parse(task, PAIR, {**PAIR, "score": -3}) == [ScoredPair("a", "b", 0.5), ScoredPair("a", "b", -3)]
    assert parse(task, {**QUERY, "id": 7}) == [RankedDocuments("a", ("b", "c"), (1, 0))]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"text": "a", "text_pair": "b"}, "no field 'score'; its fields are text, text_pair"),
        ({"query": "a", "documents": ["b"]}, "no field 'relevance'; its fields are query, documents"),
        ({**PAIR, "score": "high"}, "'score' is a text, expected a number"),
        ({**PAIR, "score": True}, "'score' is a boolean, expected a number"),
        ({**PAIR, "score": float("nan")}, "'score' is nan, expected a finite number"),
        ({**PAIR, "score": 10**400}, "'score' is inf, expected a finite number"),
        ({**PAIR, "text_pair": None}, "'text_pair' is null, expected a text"),
        ({**QUERY, "documents": "b"}, "'documents' is a text, expected a list"),
        ({**QUERY, "documents": ["b", 1]}, "'documents' is a number, expected a text"),
        ({**QUERY, "relevance": [1]}, "2 documents and 1 numbers of relevance, expected one a document"),
        ({**QUERY, "relevance": [1, -1]}, "the relevance -1 is below 0"),
        ({**QUERY, "relevance": [1, None]}, "'relevance' is null, expected a number"),
        ({**QUERY, "relevance": [2, 2]}, "the relevance 2 for each, so that no order is better than another"),
        ({**QUERY, "documents": [], "relevance": []}, "no document, so that no order is better than another"),
        (PAIR, "a row of another form than those before it, and a file is scored by one metric"),
    ],
)
def test_a_wrong_row_of_embeddings_is_refused_with_its_line(row, message):
    error = refused("sentence-embedding", QUERY, row)
    assert error.message == f"eval.jsonl, line 2: {message}"
    assert error.hint


def test_both_forms_are_shown_where_neither_is_meant():
    hint = refused("sentence-embedding", {"id": 1}).hint
    assert '"score": 4.2' in hint and '"relevance": [1, 0]' in hint
    of_one_text = refused("sentence-embedding", {"text": "a", "label": 1}).hint
    assert "these rows are for fill-mask or text-classification, and the model does" in of_one_text
    of_two = refused("sentence-embedding", {"text": "a", "text_pair": "b", "label": 1}).hint
    assert "these rows are for text-pair-classification, and" in of_two


@pytest.mark.parametrize(
    ("row", "hint"),
    [
        ({**QUERY, "relevance": [True, False]}, "write a number such as 4.2"),
        ({**QUERY, "relevance": ["1", "0"]}, "write it without quotes"),
        ({**QUERY, "documents": [None, "b"]}, "write a text, or remove the line"),
        ({**QUERY, "documents": [1, "b"]}, "put the value in quotes"),
    ],
)
def test_the_hint_fits_the_value(row, hint):
    assert refused("sentence-embedding", row).hint == hint


def test_a_pairs_second_text_is_a_text():
    row = {"text": "a", "text_pair": "b", "label": "positive"}
    assert parse("text-pair-classification", row) == [LabelledText("a", "b", 1)]
    assert "'text_pair' is null" in refused("text-pair-classification", {**row, "text_pair": None}).message
    assert "no field 'text_pair'" in refused("text-pair-classification", {"text": "a", "label": 0}).message
