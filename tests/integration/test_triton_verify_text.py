"""Ensembles of every task are verified on a real Triton, and answer `prep client`."""

import json
import os
import shutil
import subprocess
import sys

import pytest
from prep_triton.cli.app import app
from prep_triton.spec import QueueSpec, ServingSpec, TextSpec, VerifySpec
from prep_triton.triton.entries.text import assemble_text_entries
from prep_triton.triton.server.client import TritonClient
from prep_triton.triton.server.process import run_triton
from prep_triton.triton.verify.ensemble import describe_mismatches
from prep_triton.triton.verify.ensemble_parts import check_parts
from prep_triton.triton.verify.report import check_report
from prep_triton.triton.verify.repository import verify_entries
from typer.testing import CliRunner

from scripts.benchmarks.serving_configs import assemble_entry
from tests.fakes.documents import parse_document
from tests.fakes.task_models import make_task_model

pytestmark = pytest.mark.integration

# Without prep: a snippet works where only a client library is.
PLAIN = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}

TASKS = ("feature-extraction", "fill-mask", "question-answering", "text-classification", "token-classification")
SERVING = ServingSpec(
    threads=1, max_batch_size=4, length_buckets=(8, 16, 32), dynamic_batching=QueueSpec(max_queue_delay_us=5000)
)


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    return tmp_path_factory.mktemp("repo")


@pytest.fixture(scope="module")
def models(repository, tmp_path_factory):
    """The model entry of each task."""
    folder = tmp_path_factory.mktemp("models")
    return {
        task: assemble_entry(make_task_model(folder / task, task), [], SERVING, repository).artifact for task in TASKS
    }


@pytest.fixture(scope="module")
def ensembles(models, repository):
    """The ensemble of each task."""
    return {task: assemble_text_entries(entry, TextSpec(), repository)[-1].artifact for task, entry in models.items()}


@pytest.fixture(scope="module")
def server(ensembles, repository):
    with run_triton(str(repository), entries=[entry.name for entry in ensembles.values()]) as running:
        running.check_loaded()
        yield running


@pytest.fixture
def prep_client(server):
    """Run `prep client` against the server; returns the exit code, stdout and stderr."""

    def run(*arguments, stdin=b"", model=None):
        named = ["--model", model] if model else []
        done = CliRunner().invoke(app, ["client", *arguments, "--server", server.grpc_url, *named], input=stdin)
        assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
        return done.exit_code, done.stdout, done.stderr

    return run


def test_ensembles_of_every_task_answer_as_the_models_outputs_say(models, ensembles, server):
    spec = VerifySpec(server_url=server.grpc_url, timeout_s=30)
    report = verify_entries([*models.values(), *ensembles.values()], "r", spec)
    check_report(report)
    reports = {checked.name: checked for checked in report.entries}
    for task, entry in ensembles.items():
        checked = reports[entry.name]
        assert checked.status == "loaded"
        assert checked.rows == 6
        assert checked.full_batch == 4
        assert checked.example
        is_own_text = task in {"fill-mask", "question-answering"}
        assert checked.compared_with == ("bare model" if is_own_text else "pytorch")
        assert checked.max_abs_error == pytest.approx(0.0, abs=1e-5)
        assert checked.library_texts == 0
        assert any("holds no answers of the checkpoint's own library" in note for note in checked.notes)
    assert reports["tiny-feature-extraction-onnx-fp32-text"].min_cosine == pytest.approx(1.0)


@pytest.mark.parametrize("task", TASKS)
def test_the_other_steps_of_an_ensemble_are_checked_without_the_model(task, models, ensembles, server):
    with TritonClient(server.grpc_url, timeout_s=30) as client:
        check = check_parts(ensembles[task], models[task], client)
    assert describe_mismatches(check.answers) == ""
    assert len(check.answers) == 6
    is_own_text = task in {"fill-mask", "question-answering"}
    assert check.source == ("random numbers" if is_own_text else "PyTorch's answers")


def test_steps_that_answer_otherwise_are_noticed_without_the_model(models, ensembles, server):
    entry = ensembles["question-answering"]
    shorter = entry.model_copy(update={"spec": {"text": {"max_answer_tokens": 1}}})
    buckets = models["question-answering"].model_copy(update={"length_buckets": (32,)})
    with TritonClient(server.grpc_url, timeout_s=30) as client:
        too_short = check_parts(shorter, models["question-answering"], client)
        padded = check_parts(entry, buckets, client)
    assert "is no span of the context's tokens" in describe_mismatches(too_short.answers)
    assert "the tokenizer pads 6 tokens to 8, expected 32" in describe_mismatches(padded.answers)


@pytest.mark.parametrize(
    ("task", "arguments", "message"),
    [
        ("feature-extraction", ["w1 w2"], "embedding of 8 values: "),
        ("text-classification", ["w1 w2"], "good"),
        ("token-classification", ["w1 w2 w3 w4"], "(0 to "),
        ("fill-mask", ["w1 [MASK] w3"], "mask 1: "),
        ("fill-mask", ["w1"], "the text has no mask token"),
        ("question-answering", ["w1", "--context", "w5 w6 w7"], "characters "),
        ("question-answering", ["--question", "w1", "--context", "w5 w6 w7"], "characters "),
    ],
)
def test_client_prints_the_answer_and_where_the_time_went(task, arguments, message, ensembles, models, prep_client):
    code, out, err = prep_client(*arguments, model=ensembles[task].name)
    assert (code, err) == (0, "")
    assert message in out
    assert f"ms from {ensembles[task].name}" in out
    lines = [line.split() for line in out.splitlines()]
    steps = [line[0] for line in lines if line and line[0].startswith(models[task].name) and len(line) > 4]
    assert steps == list(ensembles[task].composes)


def test_client_gives_one_json_document_for_several_texts(ensembles, prep_client):
    name = ensembles["feature-extraction"].name
    code, out, _ = prep_client("-", "w4", "--json", stdin=b"w1 w2\n\n  \nw3\r\n", model=name)
    assert code == 0
    answers = json.loads(out)["answers"]
    assert [answer["text"] for answer in answers] == ["w1 w2", "w3", "w4"]
    assert all(len(answer["answer"]["embedding"]) == 8 and answer["total_ms"] > 0 for answer in answers)
    assert [step["model"] for step in answers[0]["steps"]] == list(ensembles["feature-extraction"].composes)
    assert all(step["requests"] >= 1 and step["compute_infer_us"] > 0 for step in answers[0]["steps"])


def test_a_bad_line_costs_its_own_answer_alone(ensembles, prep_client):
    name = ensembles["feature-extraction"].name
    code, out, err = prep_client("-", "--json", stdin=b"w1\n\xff\xfe\nw3\n", model=name)
    document = parse_document(out, "client")
    assert code == 1
    assert [answer["text"] for answer in document["answers"]] == ["w1", "w3"]
    assert [(failure["number"], document["unsent"]) for failure in document["failures"]] == [(2, 0)]
    assert f"error: text 2: {name} refused it: row 0 of TEXT is not UTF-8" in err


def test_several_texts_are_a_table_and_a_cut_text_is_told(ensembles, prep_client):
    name = ensembles["text-classification"].name
    long_text, fits = " ".join(["w1"] * 100), " ".join(["w1"] * 30)
    code, out, _ = prep_client(long_text, "w1", fits, model=name)
    rows = [line.split("\t") for line in out.splitlines()]
    assert code == 0
    assert rows[0] == ["text", "answer", "ms", "cut"]
    assert [row[3] for row in rows[1:4]] == ["at 32 tokens", "", ""]
    assert "good" in rows[2][1]
    assert rows[4][0].startswith(f"3 of 3 texts answered by {name}: median ")
    assert "cut: the model reads 32 tokens" in prep_client(long_text, model=name)[1]
    answers = json.loads(prep_client(long_text, fits, "--json", model=name)[1])["answers"]
    assert [answer["cut_at_tokens"] for answer in answers] == [32, None]


def test_the_request_that_warms_up_is_in_no_figure(ensembles, prep_client, server):
    entry = ensembles["feature-extraction"]
    with TritonClient(server.grpc_url, timeout_s=30) as client:
        before = client.read_statistics(entry.composes[1]).requests
        answer = json.loads(prep_client("w1 w2", "--json", model=entry.name)[1])["answers"][0]
        assert client.read_statistics(entry.composes[1]).requests == before + 2
    assert [step["requests"] for step in answer["steps"]] == [1] * len(entry.composes)


@pytest.mark.parametrize("task", TASKS)
def test_a_python_snippet_gets_an_answer(task, ensembles, prep_client, server, tmp_path):
    entry = ensembles[task]
    code, out, err = prep_client("--snippet", "python", model=entry.name)
    assert (code, err) == (0, "")
    (tmp_path / "client.py").write_text(out)
    done = subprocess.run(
        [sys.executable, "client.py"], cwd=tmp_path, env=PLAIN, capture_output=True, text=True, check=True
    )
    printed = [line.partition(" ")[0] for line in done.stdout.splitlines()]
    with TritonClient(server.grpc_url, timeout_s=30) as client:
        assert printed == [tensor.name for tensor in client.read_config(entry.name).output]


def test_a_curl_snippet_gets_the_answer_that_the_client_gets(ensembles, prep_client, server, tmp_path):
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    name, text = ensembles["feature-extraction"].name, "w1 'quoted' w2"
    document = parse_document(prep_client(text, "--snippet", "curl", "--json", model=name)[1], "client")
    (tmp_path / "client.sh").write_text(document["code"])
    done = subprocess.run(
        ["bash", "client.sh"],
        cwd=tmp_path,
        env={**PLAIN, "TRITON_HTTP": server.http_url},
        capture_output=True,
        text=True,
        check=True,
    )
    answer = json.loads(prep_client(text, "--json", model=name)[1])["answers"][0]["answer"]["embedding"]
    assert json.loads(done.stdout)["outputs"][0]["data"] == pytest.approx(answer, abs=1e-5)


def test_the_nearest_model_is_suggested(ensembles, prep_client):
    name = ensembles["fill-mask"].name
    for typed in (name.removesuffix("-text") + "x", name[:-1], name.replace("fill", "fil")):
        code, _, err = prep_client("w1", model=typed)
        assert (code, f"hint: say --model {name}\n" in err) == (2, True)


def test_client_says_what_the_model_says_of_a_bad_text(ensembles, prep_client):
    name = ensembles["feature-extraction"].name
    code, _, err = prep_client("-", stdin=b"\xff\xfe\n", model=name)
    assert code == 1
    assert f"error: {name} refused it: row 0 of TEXT is not UTF-8" in err


def test_client_warns_of_a_priority_without_effect(ensembles, prep_client):
    entry = ensembles["feature-extraction"]
    code, _, err = prep_client("w1", "--priority", "1", model=entry.name)
    assert code == 0
    assert err == f"warning: priority 1 has no effect: {' and '.join(entry.composes)} has no such level\n"


def test_client_refuses_what_takes_no_text(models, ensembles, prep_client):
    bare = models["fill-mask"].name
    code, _, err = prep_client("w1", model=bare)
    assert code == 1
    assert f"{bare} is not a text model built by prep" in err
    assert "it takes input_ids, attention_mask, token_type_ids and answers logits" in err
    assert f"hint: say --model {bare}-text" in err
    code, _, err = prep_client("w1", model="absent")
    assert code == 2
    assert "has not loaded absent; models there that take text: tiny-feature-extraction-onnx-fp32-text, " in err
    code, _, err = prep_client("w1")
    assert code == 1
    assert "has loaded 5 models that take text" in err
    assert "--model" in err


@pytest.mark.parametrize(
    ("task", "arguments", "message"),
    [
        ("question-answering", ["w1"], "and no context was given"),
        ("feature-extraction", ["w1", "--context", "w2"], "takes a text alone, and a context was given"),
        ("feature-extraction", ["w1", "--question", "w2"], "both are the question"),
        ("feature-extraction", ["-"], "there is no text to send"),
    ],
)
def test_client_refuses_a_request_that_makes_no_sense(task, arguments, message, ensembles, prep_client):
    code, out, err = prep_client(*arguments, "--json", model=ensembles[task].name)
    assert code == 2
    assert message in err
    assert message in json.loads(out)["error"]["message"]


def test_client_names_a_server_that_is_not_there():
    done = CliRunner().invoke(app, ["client", "w1", "--server", "127.0.0.1:1", "--timeout-s", "2"])
    assert done.exit_code == 1
    assert "no Triton answers at 127.0.0.1:1" in done.stderr
    assert "hint:" in done.stderr
