"""The human form of a run."""

import pytest
from prep_triton.cli.documents.rows import RowPrinter, cells_from_row, cells_from_rows, describe_row, describe_state
from prep_triton.cli.documents.run import run_document, warn_of_failures
from prep_triton.cli.documents.verify import VerifyDocument, describe_entry, list_details, render_server, render_verify
from prep_triton.cli.output import Output
from prep_triton.run.report import RunReport, StageRow
from prep_triton.triton.verify.report import BatchingReport, EntryReport

ENTRY = EntryReport(
    name="tiny-onnx-fp32",
    runtime="onnxruntime",
    precision="fp32",
    status="loaded",
    rows=16,
    tolerance=0.99,
    mean_cosine=0.9999996,
    mean_batch_size=5.33,
    p50_ms=2.04,
    example='"A cat." -> logits [0.1000, …], PyTorch [0.1000, …]',
)
REPORT = VerifyDocument(
    server_version="2.51.0",
    server_flavour="a wheel",
    repository_uri="gs://bucket/models/releases/1",
    entries=(ENTRY,),
)


def entry(**changes) -> EntryReport:
    return ENTRY.model_copy(update=changes)


def row(**more) -> StageRow:
    return StageRow(**{"stage": "engine", "artifact": "tiny", "state": "made", "seconds": 1.25, **more})


@pytest.mark.parametrize(
    ("figures", "text"),
    [
        (
            {"kept_out_of_fp16": {"a": 120086.3, "b": 7e4, "c": 4e4, "d": 4e4}},
            "kept out of fp16: a (120086), b (70000), c (40000) and 1 more; their GEMMs are scaled",
        ),
        ({}, ""),
        ({"size_bytes": 2048, "max_batch_size": 16}, "2.0 KiB; max batch 16"),
        ({"size_bytes": 2048, "max_batch_size": 0}, "2.0 KiB; any batch"),
        ({"size_bytes": 2048, "max_abs_error": 1.2e-6}, "2.0 KiB; parity: largest difference 1.2e-06"),
        ({"files": 3, "uploaded_bytes": 0}, "3 files, 0 B uploaded"),
        (
            {
                "gemm_flops_share": {"fp16": 1.0, "fp32": 0.0},
                "builder": "tensorrt-rtx",
                "compute_capability": "7.5",
                "proof": "engine inspector",
            },
            "tensorrt-rtx 7.5, GEMM FLOPs 100% fp16 (engine inspector)",
        ),
    ],
)
def test_numbers_are_put_in_words(figures: dict, text: str):
    assert describe_row(row(figures=figures)) == text


def test_a_note_follows_the_numbers():
    assert describe_row(row(figures={"max_batch_size": 4}, note="kept")) == "max batch 4; kept"


@pytest.mark.parametrize(
    ("stage", "state", "text"),
    [
        ("verify", "made", "passed"),
        ("publish", "made", "published"),
        ("assemble", "made", "written"),
        ("engine", "made", "made"),
        ("verify", "unchanged", "unchanged"),
        ("assemble", "skipped", "skipped"),
    ],
)
def test_a_state_has_the_word_of_its_stage(stage: str, state: str, text: str):
    assert describe_state(row(stage=stage, state=state)) == text


def test_every_verified_entry_has_a_line_and_the_first_has_the_time():
    entries = [entry(name=name).model_dump(mode="json") for name in "ab"]
    lines = cells_from_row(row(stage="verify", artifact="a, b", figures={"entries": entries}))
    assert [line[:4] for line in lines] == [("verify", "a", "passed", "1.2 s"), ("verify", "b", "passed", "")]
    assert lines[0][4] == "16 answers, cosine to PyTorch 1.000000; p50 2.0 ms; mean batch 5.3"


def text_entries(name: str, **changes) -> list[EntryReport]:
    helpers = [
        entry(name=f"{name}-{suffix}", kind=kind, serves=name, mean_cosine=None, p50_ms=None, detail="ok", **changes)
        for suffix, kind in (("tokenizer", "tokenizer"), ("postprocessor", "postprocessor"))
    ]
    return [entry(name=name), *helpers, entry(name=f"{name}-text", kind="ensemble", serves=name, p50_ms=9.0)]


def test_the_helpers_of_text_are_part_of_their_models_line():
    figures = {"entries": [report.model_dump(mode="json") for report in [*text_entries("a"), *text_entries("b")]]}
    verified = row(stage="verify", figures=figures)
    lines = cells_from_rows([verified])
    assert [line[1] for line in lines] == ["a", "b"]
    assert lines[0][4].count("; text: 16 answers, cosine to PyTorch 1.000000; p50 9.0 ms") == 1
    assert len(cells_from_rows([verified], fold=False)) == 8


def test_a_helper_that_failed_has_its_own_line():
    failed = entry(name="a-text", kind="ensemble", serves="a", status="failed", detail="cosine 0.5")
    figures = {"entries": [report.model_dump(mode="json") for report in (entry(name="a"), failed)]}
    lines = cells_from_rows([row(stage="verify", state="failed", figures=figures)])
    assert [line[1:3] for line in lines] == [("a", "passed"), ("a-text", "failed")]


def test_a_failed_model_has_its_hint_on_stderr(capsys: pytest.CaptureFixture[str]):
    failed = row(
        stage="model", artifact="./deberta", state="failed", note="a 'deberta-v2' model", hint="choose another"
    )
    report = RunReport(rows=(failed, row()), repository="model_repository", seconds=1.0)
    warn_of_failures(Output(as_json=False, verbose=False, quiet=True), run_document(report, "prep.yaml"))
    assert capsys.readouterr() == ("", "hint for ./deberta: choose another\n")


def test_written_helpers_are_part_of_their_models_line():
    helper = {"serves": "a", "size_bytes": 1024, "max_batch_size": 8}
    written = [
        row(stage="assemble", artifact="a", figures={"size_bytes": 2048, "max_batch_size": 8}),
        row(stage="assemble", artifact="a-tokenizer", figures=helper, seconds=0.0),
        row(stage="assemble", artifact="a-text", figures=helper, seconds=0.0, state="unchanged"),
    ]
    assert cells_from_rows(written) == [
        ("assemble", "a", "written", "1.2 s", "3.0 KiB; max batch 8; with its text entries"),
        ("assemble", "a-text", "unchanged", "", "1.0 KiB; max batch 8"),
    ]


def test_verify_shows_the_helpers_with_v_alone(capsys: pytest.CaptureFixture[str]):
    document = REPORT.model_copy(update={"entries": tuple(text_entries("a"))})
    for verbose, names in ((0, ["a"]), (1, ["a", "a-tokenizer", "a-postprocessor", "a-text"])):
        render_verify(Output(as_json=False, verbose=verbose), document)
        lines = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
        assert [line[0] for line in lines if len(line) > 1] == ["entry", *names]


def test_an_entry_whose_configuration_alone_was_taken_has_not_passed():
    accepted = entry(status="config-accepted-only", mean_cosine=None, detail="no GPU").model_dump(mode="json")
    (line,) = cells_from_row(row(stage="verify", figures={"entries": [accepted]}))
    assert line[2:] == ("config only", "1.2 s", "no GPU")


def test_an_unchanged_step_has_no_time():
    assert cells_from_row(row(state="unchanged")) == [("engine", "tiny", "unchanged", "", "")]


def test_an_entry_that_gave_no_answer_says_why():
    assert describe_entry(entry(mean_cosine=None, detail="no TensorRT backend")) == "no TensorRT backend"
    assert describe_entry(entry(mean_cosine=None)) == "loaded"


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({}, "16 answers, cosine to PyTorch 1.000000; p50 2.0 ms; mean batch 5.3"),
        (
            {"compared_with": "bare model", "mean_cosine": None, "max_abs_error": 2e-7, "mean_batch_size": None},
            "16 answers as the bare model's, scores within 2.0e-07; p50 2.0 ms",
        ),
        (
            {"compared_with": "pytorch", "mean_cosine": None, "max_abs_error": None, "detail": "NaN"},
            "NaN; p50 2.0 ms; mean batch 5.3",
        ),
    ],
)
def test_an_entrys_answers_fit_one_line(changes: dict, line: str):
    assert describe_entry(entry(**changes)) == line


def test_the_details_show_the_batches_that_formed_and_where_the_time_went():
    batching = BatchingReport(
        model="tiny",
        in_flight=16,
        requests=16,
        cache_hits=0,
        rows=16,
        executions=5,
        batch_sizes={1: 1, 4: 3, 3: 1},
        mean_batch_size=3.2,
        queue_us=2500.0,
        compute_input_us=100.0,
        compute_infer_us=40_000.0,
        compute_output_us=None,
    )
    sent = entry(requests=37, full_batch=4, widths=(7, 32), batching=batching, notes=("the cache answered",))
    assert list_details(sent) == [
        "37 requests, batches up to 4; sequence lengths 7, 32",
        "16 in flight: 16 rows in 5 executions of tiny (executions x rows: 1 x 1, 3 x 4, 1 x 3)",
        "mean of a request in flight: queue 2.50 ms, compute input 0.10 ms, compute infer 40.00 ms",
        "note: the cache answered",
    ]
    assert list_details(ENTRY) == []


def test_verification_names_the_server_and_shows_a_sentence(capsys: pytest.CaptureFixture[str]):
    out = Output(as_json=False, verbose=0)
    render_verify(out, REPORT)
    render_server(out, REPORT.model_copy(update={"entries": ()}), is_remembered=True)
    assert capsys.readouterr().out.splitlines() == [
        "Triton 2.51.0 (a wheel) loaded gs://bucket/models/releases/1",
        f"  {ENTRY.example}",
        "entry\tstate\tnumbers",
        f"tiny-onnx-fp32\tpassed\t{describe_entry(ENTRY)}",
        "Triton 2.51.0 (a wheel) loaded gs://bucket/models/releases/1, in an earlier run",
    ]


def test_steps_are_printed_on_stderr_as_they_end(capsys: pytest.CaptureFixture[str]):
    printer = RowPrinter(Output(as_json=False, verbose=0))
    with printer.stage("engine tiny") as progress:
        progress("building", 0.5)
    printer.finished(row())
    printer.finished(row(state="unchanged"))
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.splitlines() == [
        "  engine tiny: building",
        "engine    tiny: made in 1.2 s",
        "engine    tiny: unchanged",
    ]
