"""Files, models, manifests, targets: what lint finds beside the configuration itself."""

import os
import struct

import pytest
from prep_triton.artifact import VendoredRecord
from prep_triton.errors import RepositoryError
from prep_triton.spec import ServingSpec, TargetSpec, TextSpec
from prep_triton.target import resolve_target
from prep_triton.triton.entries.text import assemble_text_entries
from prep_triton.triton.entries.write import assemble_entry
from prep_triton.triton.lint import check_lint, lint_repository
from prep_triton.workspace import record_files, save_manifest

from scripts.benchmarks.small_artifacts import make_engine, make_model
from tests.fakes.lint_cases import (
    GRAPH_TENSORS,
    ON_CPU,
    TENSORS,
    ensemble_config,
    graph_config,
    python_config,
    step,
    warmup,
    write_graph,
    write_python,
)


@pytest.fixture
def repository(tmp_path):
    return tmp_path / "repo"


@pytest.fixture
def onnx_entry(tmp_path, repository):
    return assemble_entry(make_model(tmp_path / "model"), (), ServingSpec(), repository, name="bert").artifact


@pytest.fixture
def plan_entry(tmp_path, repository):
    model, engine = make_model(tmp_path / "model"), make_engine(tmp_path / "engine")
    return assemble_entry(model, (engine,), ServingSpec(), repository, name="plan").artifact


def codes(report, severity=None):
    return {finding.code for finding in report.findings if severity in {None, finding.severity}}


def only(report, code):
    (finding,) = (finding for finding in report.findings if finding.code == code)
    return finding


def edit(folder, old, new):
    path = folder / "config.pbtxt"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def vouch(entry, folder, **changes):
    """Write the entry's manifest again, over the files as they are."""
    kept = entry.model_copy(update={"folder": folder, "files": record_files(folder), **changes})
    save_manifest(kept, folder)


def target_for(*gpus, triton="25.08", platform="linux/amd64"):
    return resolve_target(TargetSpec(triton=triton, gpus=gpus, platform=platform))


def test_what_was_assembled_has_no_finding(onnx_entry, plan_entry, repository):
    report = lint_repository(repository, target_for("t4"), digest_all=True)
    assert report.findings == ()
    assert report.entries == ("bert", "plan")
    check_lint(report)


def test_a_missing_repository_is_refused_and_an_empty_one_is_found(tmp_path):
    with pytest.raises(RepositoryError, match="there is no model repository") as caught:
        lint_repository(tmp_path / "absent")
    assert "prep assemble" in caught.value.hint
    assert codes(lint_repository(tmp_path)) == {"repository-empty"}


def test_check_lint_names_the_first_error_and_counts_the_others(repository):
    folder = write_python(repository, "one", python_config("one", "max_batch: 1\nsteps: 2\nbatch: 3"))
    with pytest.raises(
        RepositoryError, match=r"one/config\.pbtxt:7 .*\[config-unknown-field\] \(and 2 more\)"
    ) as caught:
        check_lint(lint_repository(repository))
    assert "did you mean 'max_batch_size'?" in caught.value.hint
    assert "prep lint" in caught.value.hint
    (folder / "config.pbtxt").write_text(python_config("one"))
    check_lint(lint_repository(repository))


def test_every_unknown_field_has_its_line_wherever_it_is_nested(repository):
    write_python(
        repository,
        "one",
        python_config("one", 'dynamic_batching {\n  max_delay: 3\n}\nparameters {\n key: "a"\n value { s: "" }\n}'),
    )
    found = [finding for finding in lint_repository(repository).errors if finding.code == "config-unknown-field"]
    line = python_config("one").count("\n") + 2
    assert [finding.line for finding in found] == [line, line + 4]
    assert [finding.field for finding in found] == ["max_delay", "s"]


def test_a_key_that_is_given_twice_is_found(repository):
    twice = 'parameters { key: "k" value { string_value: "1" } } ' * 2
    write_python(repository, "one", python_config("one", twice))
    assert "'k' twice" in only(lint_repository(repository), "config-duplicate-key").message


def test_duplicated_tensors_are_an_error_though_some_backends_take_them(repository):
    write_python(repository, "one", python_config("one", 'input [{ name: "a" data_type: TYPE_INT64 dims: [1] }]'))
    assert only(lint_repository(repository), "tensor-duplicate").field == "input[1]"


def test_entries_that_share_a_name_are_found(repository):
    write_python(repository, "one")
    write_python(repository, "two", python_config("one"))
    report = lint_repository(repository)
    assert only(report, "entry-duplicate").message == "two and one are both called 'one'"
    write_python(repository, "ONE")
    assert "ONE and one" in only(lint_repository(repository), "entry-similar").message


@pytest.mark.parametrize("name", ["0", "-1", "+1", "2abc", "99999999999999999999"])
def test_version_folders_that_the_server_misreads_are_errors(repository, name):
    write_python(repository, "one", version=name)
    assert only(lint_repository(repository), "version-name").path == f"one/{name}"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("token_type_ids", "segment_ids"), "has no input 'segment_ids'"),
        (("TYPE_INT64", "TYPE_INT32"), "is TYPE_INT32 here and TYPE_INT64"),
        (("[-1, 8]", "[-1, 9]"), "has the dims [-1, 9], 1/model.onnx gives [-1, 8]"),
        (("[-1, 8]", "[4, 8]"), "has the dims [4, 8]"),
        (("[-1, 8]", "[-1, -1, 8]"), "has the dims [-1, -1, 8]"),
        (('name: "last_hidden_state"', 'name: "logits"'), "has no output 'logits'"),
        ((',\n  { name: "token_type_ids" data_type: TYPE_INT64 dims: [-1] }', ""), "needs the inputs token_type_ids"),
    ],
)
def test_a_config_that_is_not_the_graphs_is_an_error(repository, change, message):
    assert change[0] in GRAPH_TENSORS
    write_graph(repository, "one", graph_config("one", tensors=GRAPH_TENSORS.replace(*change)))
    found = [finding for finding in lint_repository(repository).errors if finding.code == "model-tensor"]
    assert any(message in finding.message for finding in found)


def test_a_narrower_input_than_the_graphs_is_right(repository):
    tensors = GRAPH_TENSORS.replace("TYPE_INT64 dims: [-1]", "TYPE_INT64 dims: [16]")
    write_graph(repository, "one", graph_config("one", tensors=tensors))
    assert lint_repository(repository).errors == ()


def test_a_graph_that_is_never_batched_is_a_warning(repository):
    tensors = GRAPH_TENSORS.replace("dims: [-1", "dims: [-1, -1")
    write_graph(repository, "one", graph_config("one", tensors=tensors, batch=0))
    report = lint_repository(repository)
    assert report.errors == ()
    assert "the server never batches" in only(report, "batching-useless").message


def test_a_batch_on_a_graph_without_batch_axis_is_an_error(repository, tmp_path):
    import onnx

    folder = write_graph(repository, "one")
    graph = onnx.load(folder / "1" / "model.onnx")
    for value in (*graph.graph.input, *graph.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = 1
    onnx.save(graph, folder / "1" / "model.onnx")
    found = only(lint_repository(repository), "model-batch-axis")
    assert "has no batch axis in input_ids" in found.message


@pytest.mark.parametrize("state", ["missing", "short", "whole"])
def test_weights_beside_a_graph_have_to_be_whole(repository, state):
    import onnx

    folder = write_graph(repository, "one") / "1"
    graph = onnx.load(folder / "model.onnx")
    (folder / "model.onnx").unlink()
    onnx.save(graph, folder / "model.onnx", save_as_external_data=True, location="model.onnx.data", size_threshold=0)
    weights = folder / "model.onnx.data"
    if state == "missing":
        weights.unlink()
    elif state == "short":
        weights.write_bytes(weights.read_bytes()[:-1])
    assert ("model-damaged" in codes(lint_repository(repository))) == (state != "whole")


def test_names_that_lead_out_of_the_entry_are_not_followed(repository):
    write_graph(repository, "one", graph_config("one", 'default_model_filename: "../../../etc/passwd"'))
    write_python(repository, "two", python_config("two", warmup('input_data_file: "/etc/passwd"')))
    report = lint_repository(repository)
    assert "leads out of the version folder" in only(report, "file-missing").message
    assert "warmup-data" in codes(report)


def test_an_edited_config_is_a_warning_and_a_changed_model_an_error(onnx_entry, repository):
    edit(repository / "bert", "max_batch_size: 16", "max_batch_size: 32")
    report = lint_repository(repository)
    assert codes(report) == {"config-edited", "manifest-batch-size"}
    content = bytearray((repository / "bert" / "1" / "model.onnx").read_bytes())
    content[-3] ^= 1
    (repository / "bert" / "1" / "model.onnx").write_bytes(content)
    assert only(lint_repository(repository), "manifest-file").path == "bert/1/model.onnx"


def test_a_large_file_that_looks_untouched_is_digested_when_asked(onnx_entry, repository):
    big = repository / "bert" / "1" / "weights.bin"
    big.write_bytes(bytes(2 << 20))
    vouch(onnx_entry, repository / "bert")
    big.write_bytes(b"\1" + bytes((2 << 20) - 1))
    os.utime(big, (0, 0))
    assert codes(lint_repository(repository)) == set()
    assert codes(lint_repository(repository, digest_all=True)) == {"manifest-file"}


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"schema": 99}', "\xff", '{"schema": 1, "name": 3}'])
def test_a_damaged_manifest_is_an_error(onnx_entry, repository, text):
    (repository / "bert" / "manifest.json").write_text(text, encoding="latin-1")
    assert "manifest-damaged" in codes(lint_repository(repository), "error")


def test_files_that_nothing_vouches_for_and_missing_ones_are_found(onnx_entry, repository):
    (repository / "bert" / "notes").write_text("")
    (repository / "bert" / "1" / "model.plan.tmp").write_text("")
    (repository / "bert" / "1" / "model.engine").write_text("")
    (repository / "bert" / ".cache").write_text("")
    (repository / "stray.bin").write_text("")
    (repository / "README.md").write_text("")
    (repository / "bert" / "tokenizer.json").unlink()
    (repository / ".staging-bert").mkdir()
    report = lint_repository(repository)
    stray = {finding.path for finding in report.findings if finding.code == "file-stray"}
    assert stray == {"bert/notes", "bert/1/model.plan.tmp", "bert/1/model.engine", "stray.bin"}
    assert only(report, "manifest-file").path == "bert/tokenizer.json"
    assert only(report, "entry-leftover").severity == "warning"


def test_links_are_followed_and_judged(onnx_entry, repository, tmp_path):
    model = repository / "bert" / "1" / "model.onnx"
    model.replace(tmp_path / "model.onnx")
    model.symlink_to(tmp_path / "model.onnx")
    (repository / "bert" / "nowhere").symlink_to("absent")
    os.mkfifo(repository / "bert" / "pipe")
    report = lint_repository(repository)
    assert only(report, "link-outside").severity == "warning"
    assert only(report, "link-broken").severity == "error"
    assert only(report, "file-stray").path == "bert/pipe"


def test_a_manifest_of_another_entry_is_an_error(onnx_entry, repository):
    (repository / "bert").rename(repository / "roberta")
    assert codes(lint_repository(repository), "error") == {"manifest-entry", "config-name"}


def test_a_plan_is_judged_by_its_engine(plan_entry, repository):
    edit(repository / "plan", "max_batch_size: 8", "max_batch_size: 9")
    edit(repository / "plan", 'key: "7.5"', 'key: "8.9"')
    edit(repository / "plan", "count: 1", 'count: 1 profile: ["1"]')
    edit(repository / "plan", "KIND_GPU", "KIND_CPU")
    report = lint_repository(repository)
    assert "takes up to 8" in only(report, "model-batch-axis").message
    assert "7.5 (t4), filed under 8.9" in only(report, "plan-architecture").message
    assert only(report, "instance-profile").message == "profile 1 is not there: the plan has 1 (0..0)"
    assert "runs on a GPU" in only(report, "instance-kind").message


def test_a_plan_for_other_tensors_a_missing_and_an_empty_one_are_errors(plan_entry, repository):
    edit(repository / "plan", "TYPE_INT64", "TYPE_INT32")
    plan = repository / "plan" / "1" / "model_sm75.plan"
    plan.write_bytes(b"")
    assert {"model-tensor", "model-damaged", "manifest-file"} <= codes(lint_repository(repository), "error")
    plan.unlink()
    assert {"model-tensor", "file-missing", "manifest-file"} <= codes(lint_repository(repository), "error")


def test_an_rtx_engine_is_never_a_plan(plan_entry, repository, tmp_path):
    rtx = make_engine(tmp_path / "rtx", builder="tensorrt-rtx")
    vouch(plan_entry, repository / "plan", engines=(rtx,))
    finding = only(lint_repository(repository), "plan-rtx")
    assert "no Triton backend loads it" in finding.message
    assert "--builder tensorrt" in finding.hint


def test_a_target_of_another_tensorrt_gpu_or_without_a_gpu_is_found(plan_entry, repository):
    assert codes(lint_repository(repository, target_for("l4"))) == {"target-gpu"}
    assert codes(lint_repository(repository, target_for("t4", triton="25.10"))) == {"target-tensorrt"}
    assert codes(lint_repository(repository, target_for("t4", triton="25.05"))) == {"target-unknown"}
    assert codes(lint_repository(repository, target_for())) == {"target-gpu"}


def test_a_foreign_plan_that_no_gpu_of_the_target_picks_is_found(repository):
    folder = repository / "plan"
    (folder / "1").mkdir(parents=True)
    (folder / "1" / "t4.plan").write_bytes(b"a plan")
    text = graph_config("plan", 'cc_model_filenames { key: "7.5" value: "t4.plan" }')
    text = text.replace("onnxruntime_onnx", "tensorrt_plan")
    (folder / "config.pbtxt").write_text(text)
    assert lint_repository(repository, target_for("t4")).errors == ()
    assert "none for the target's l4 (8.9)" in only(lint_repository(repository, target_for("l4")), "target-gpu").message


def test_a_gpu_instance_on_a_target_without_a_gpu_is_found(repository):
    write_graph(repository, "one", graph_config("one", "instance_group [{ kind: KIND_GPU }]"))
    assert codes(lint_repository(repository, target_for()), "error") == {"target-gpu"}
    assert lint_repository(repository, target_for("t4")).errors == ()


def elf(machine=62, *, sections=0):
    header = bytearray(64)
    header[:6] = b"\x7fELF\x02\x01"
    struct.pack_into("<H", header, 18, machine)
    struct.pack_into("<Q", header, 40, 64)
    struct.pack_into("<HH", header, 58, 64, sections)
    return bytes(header)


@pytest.mark.parametrize(
    ("name", "content", "code"),
    [
        ("lib.abi3.so", elf(), None),
        ("lib.cpython-312-x86_64-linux-gnu.so", elf(), None),
        ("lib.cpython-311-x86_64-linux-gnu.so", elf(), "vendored-python"),
        ("lib.abi3.so", elf(183), "vendored-platform"),
        ("lib.abi3.so", elf(sections=1), "vendored-damaged"),
        ("lib.abi3.so", b"", "vendored-damaged"),
        ("lib.abi3.so", b"MZ" * 64, "vendored-damaged"),
    ],
)
def test_a_vendored_library_is_judged_by_its_own_header_and_tag(repository, name, content, code):
    folder = write_python(repository, "one")
    (folder / "1" / name).write_bytes(content)
    assert codes(lint_repository(repository, target_for()), "error") == ({code} if code else set())


def test_a_vendored_package_that_is_not_there_is_an_error(onnx_entry, repository):
    package = VendoredRecord(package="tokenizers", version="0.22.1", python="3.10", platform="linux/amd64")
    folder = write_python(repository, "tokenizer")
    changes = {"name": "tokenizer", "kind": "tokenizer", "runtime": "python", "max_batch_size": 8, "vendored": package}
    vouch(onnx_entry, folder, **changes)
    assert only(lint_repository(repository), "file-missing").path == "tokenizer/1/tokenizers"


def write_ids(folder, *ids):
    (folder / "warmup").mkdir(exist_ok=True)
    (folder / "warmup" / "ids").write_bytes(struct.pack(f"<{len(ids)}q", *ids))


@pytest.mark.parametrize(
    ("ids", "code"),
    [((1, 2, 3, 63), None), ((1, 2, 3, 64), "warmup-vocabulary"), ((1, 2, 3, -1), "warmup-vocabulary"),
     ((1, 2, 3), "warmup-data"), ((1, 2, 3, 4, 5), "warmup-length"), (None, "warmup-vocabulary")],
)  # fmt: skip
def test_warm_up_ids_lie_within_the_vocabulary_and_the_models_length(tmp_path, repository, ids, code):
    model = make_model(tmp_path / "model")
    entry = assemble_entry(model, (), ServingSpec(), repository, name="bert").artifact
    dims = "[4]" if ids else "[33]"  # the model takes up to 32
    zero = "".join(
        f'inputs {{ key: "{name}" value {{ data_type: TYPE_INT64 dims: {dims} zero_data: true }} }} '
        for name in ("attention_mask", "token_type_ids")
    )
    write_ids(repository / "bert", *(ids or [1] * 33))
    text = warmup('input_data_file: "ids"', key="input_ids", dims=dims).replace("inputs", f"{zero} inputs", 1)
    with (repository / "bert" / "config.pbtxt").open("a") as config:
        config.write(text)
    vouch(entry, repository / "bert", onnx=model)
    assert codes(lint_repository(repository)) == ({code} if code else set())


def test_random_warm_up_ids_and_too_large_a_sample_are_found(repository):
    tensors = TENSORS.replace('"a"', '"input_ids"')
    extra = warmup("random_data: true", key="input_ids", batch=9)
    write_python(repository, "one", python_config("one", extra, tensors=tensors))
    report = lint_repository(repository)
    assert only(report, "warmup-random").severity == "warning"
    assert "batch_size 9, the model takes up to 8" in only(report, "warmup-batch").message


def test_what_needs_a_server_argument_needs_it_in_server_args(repository):
    limiter = "instance_group [{ kind: KIND_CPU rate_limiter { priority: 2 } }] response_cache { enable: true }"
    write_python(repository, "one", python_config("one", limiter))
    found = [finding for finding in lint_repository(repository).findings if finding.code == "server-arguments"]
    assert len(found) == 2
    (repository / "server.args").write_text("--rate-limit=execution_count\n--cache-config=local,size=1048576\n")
    assert "server-arguments" not in codes(lint_repository(repository))
    (repository / "server.args").write_text("rate-limit\n--rate-limit=execution_count\n--cache-config=local,size=1\n")
    assert only(lint_repository(repository), "server-arguments").path == "server.args"


def test_a_resource_has_one_scope(repository):
    for name, scope in (("one", "true"), ("two", "false")):
        resource = f'rate_limiter {{ resources [{{ name: "R" global: {scope} count: 1 }}] }}'
        write_python(repository, name, python_config(name, f"instance_group [{{ kind: KIND_CPU {resource} }}]"))
    assert "not so in one" in only(lint_repository(repository), "rate-limiter-resource").message


def test_misspelt_parameters_accelerators_and_fields_of_another_backend_are_found(repository):
    extra = (
        'parameters { key: "intra_op_thread_counts" value { string_value: "1" } } '
        "optimization { priority: PRIORITY_MAX execution_accelerators { "
        'gpu_execution_accelerator [{ name: "tensorrt" }] '
        'cpu_execution_accelerator [{ name: "openvinno" }] } } instance_group [{ kind: KIND_CPU }]'
    )
    write_graph(repository, "one", graph_config("one", extra))
    report = lint_repository(repository)
    assert only(report, "backend-parameter").hint == "did you mean 'intra_op_thread_count'?"
    assert "openvinno" in only(report, "backend-accelerator").message
    ignored = {finding.field for finding in report.findings if finding.code == "backend-ignores-field"}
    assert ignored == {"optimization.priority", "optimization.execution_accelerators.gpu_execution_accelerator"}


def test_judging_some_entries_judges_what_they_call_and_leaves_the_rest(repository):
    write_python(repository, "ok")
    write_python(repository, "broken", "what")
    (repository / "text" / "1").mkdir(parents=True)
    (repository / "text" / "config.pbtxt").write_text(ensemble_config("text", step("ok")))
    report = lint_repository(repository, names=["text", "absent"])
    assert report.entries == ("ok", "text")
    assert codes(report, "error") == {"entry-missing"}


def test_names_that_would_steer_a_terminal_are_escaped(repository):
    write_python(repository, "one\x1b[2J", python_config("two\\033[31m\\nfalse alarm"))
    (repository / os.fsdecode(b"\xff\xfe")).mkdir()
    for finding in lint_repository(repository).findings:
        assert (finding.place + finding.message + finding.hint).isprintable()


def test_the_weights_of_a_graph_are_left_out_and_nothing_else(tmp_path):
    import onnx
    from prep_triton.triton.lint.skeleton import read_skeleton

    folder = write_graph(tmp_path, "one") / "1"
    whole, read = onnx.load(folder / "model.onnx"), onnx.ModelProto.FromString(read_skeleton(folder / "model.onnx"))
    for tensor in whole.graph.initializer:
        tensor.ClearField("raw_data")
        for name in ("float_data", "int64_data", "int32_data"):
            tensor.ClearField(name)
    assert read == whole


def test_an_escape_that_is_none_is_refused_as_the_server_does(repository):
    write_python(repository, "one", python_config("one", 'parameters { key: "a\\ " value { string_value: "" } }'))
    assert "escape" in only(lint_repository(repository), "config-syntax").message


@pytest.fixture
def text_entries(tmp_path, repository):
    serving = ServingSpec(length_buckets=(8, 16))
    entry = assemble_entry(make_model(tmp_path / "model"), (), serving, repository, name="bert").artifact
    assemble_text_entries(entry, TextSpec(), repository)
    return entry


def test_text_parts_of_an_earlier_model_entry_are_stale(text_entries, repository, tmp_path):
    assert codes(lint_repository(repository), "error") == set()
    assemble_entry(make_model(tmp_path / "model"), (), ServingSpec(length_buckets=(8,)), repository, name="bert")
    found = [finding for finding in lint_repository(repository).errors if finding.code == "text-stale"]
    parts = ("postprocessor", "text", "tokenizer")
    assert [finding.path for finding in found] == [f"bert-{part}/manifest.json" for part in parts]
    assert {finding.hint for finding in found} == {"assemble bert again with --text"}


@pytest.mark.parametrize(
    ("buckets", "message"),
    [
        ("8,32", None),  # the model takes up to 32
        ("a,b", "length_buckets is 'a,b', which the tokenizer cannot use"),
        ("", "length_buckets is '', which"),
        ("16,8", "length_buckets is '16,8', which"),
        ("0,8", "length_buckets is '0,8', which"),
        ("8,33", "the length bucket 33 is longer than bert takes, 32"),
    ],
)
def test_a_tokenizers_buckets_are_lengths_that_the_model_takes(text_entries, repository, buckets, message):
    edit(repository / "bert-tokenizer", '"8,16"', f'"{buckets}"')
    found = [finding.message for finding in lint_repository(repository).errors]
    assert len(found) == (1 if message else 0)
    assert all(one.startswith(message) for one in found)


def test_a_tokenizer_without_buckets_is_an_error(text_entries, repository):
    edit(repository / "bert-tokenizer", '"length_buckets"', '"length_limits"')
    assert only(lint_repository(repository), "parameter-value").message.startswith("length_buckets is '', which")


def test_a_tokenizers_buckets_are_within_the_plans(text_entries, repository, tmp_path):
    engine = make_engine(tmp_path / "engine", profile="1x2,4x8,8x16")
    vouch(text_entries, repository / "bert", engines=(engine,))
    edit(repository / "bert-tokenizer", '"8,16"', '"8,17"')
    assert "17 is longer than bert takes, 16" in only(lint_repository(repository), "parameter-value").message


@pytest.mark.parametrize(
    ("name", "value", "takes"),
    [
        ("execution_mode", "2", "it takes one of 0, 1"),
        ("execution_mode", "1", None),
        ("intra_op_thread_count", "two", "it takes a whole number"),
        ("inter_op_thread_count", "", "it takes a whole number"),
        ("inter_op_thread_count", "2", None),
        ("my_own", "anything", None),
    ],
)
def test_a_parameter_that_onnx_runtime_refuses_is_an_error(repository, name, value, takes):
    extra = f'{ON_CPU}parameters {{ key: "{name}" value {{ string_value: "{value}" }} }}'
    write_graph(repository, "one", graph_config("one", extra))
    found = lint_repository(repository).errors
    assert [(one.code, one.field, one.hint) for one in found] == (
        [("parameter-value", f"parameters.{name}", takes)] if takes else []
    )


@pytest.mark.parametrize(
    ("begin", "code"),
    [(b"vtrt", "plan-suspect"), (b"graph", "plan-onnx"), (b"ptrt", None), (b"\x08", None), (b"\x08\x09\x00", None)],
)
def test_a_plan_that_nothing_vouches_for_is_judged_by_how_it_begins(repository, begin, code):
    text = graph_config("plan", "instance_group [{ kind: KIND_GPU }]").replace("onnxruntime_onnx", "tensorrt_plan")
    graph = write_graph(repository, "plan", text) / "1" / "model.onnx"
    plan = graph.rename(graph.with_name("model.plan"))
    if begin != b"graph":
        plan.write_bytes(begin + bytes(99))
    found = lint_repository(repository).findings
    assert [one.code for one in found if one.path == "plan/1/model.plan"] == ([code] if code else [])


def test_a_kind_of_instance_that_is_none_is_an_error(repository):
    write_graph(repository, "one", graph_config("one", "instance_group [{ kind: 7 }]"))
    finding = only(lint_repository(repository), "instance-kind")
    assert finding.message.startswith("kind is 7, which is none of KIND_AUTO, KIND_GPU")
    assert finding.severity == "error"
