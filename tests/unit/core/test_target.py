"""A target's table can be corrected, and every misfit names both values and what mends it."""

import pytest
from prep_triton.artifact import VendoredRecord
from prep_triton.containers import TABLE_VARIABLE, TritonRelease, load_triton_releases
from prep_triton.errors import SpecError, UnsupportedGpuError
from prep_triton.spec import TargetSpec
from prep_triton.spec.faults import find_problems
from prep_triton.target import EDITED_INSTANCES, Target, find_misfits, list_instances, needs_gpu, resolve_target

from scripts.benchmarks.records import make_entry
from scripts.benchmarks.small_artifacts import make_engine


def make_target(tensorrt="10.13.2", gpus=("t4",), platform="linux/amd64", python="3.12"):
    release = TritonRelease(
        tag="25.08", triton="2.60.0", tensorrt=tensorrt, python=python, min_compute_capability="7.5", source="a test"
    )
    known = {"t4": "7.5", "l4": "8.9", "a100": "8.0", "v100": "7.0"}
    return Target(release=release, gpus={gpu: known[gpu] for gpu in gpus}, platform=platform)


def minilm(*engines, runtime="tensorrt", **fields):
    return make_entry("minilm-trt-fp16", *engines, runtime=runtime, precision="fp16", **fields)


@pytest.fixture
def engine(tmp_path):
    return make_engine(tmp_path / "engine")


def message(entry, target):
    return [(misfit.code, misfit.message, misfit.hint) for misfit in find_misfits(entry, target)]


def write(tmp_path, text):
    path = tmp_path / "releases.yaml"
    path.write_text(text)
    return path


def test_every_row_of_the_table_says_where_it_is_from():
    table = load_triton_releases()
    assert list(table) == sorted(table)
    for tag, release in table.items():
        assert release.image == f"nvcr.io/nvidia/tritonserver:{tag}-py3"
        assert release.source and release.python
        assert release.cuda or tag > "26.07"  # what the later ones have is not known
        assert release.tensorrt is None or release.tensorrt.count(".") in {2, 3}
        assert release.confidence.keys() <= TritonRelease.model_fields.keys()
        assert all(getattr(release, key) for key in release.confidence)
    assert table["25.08"].triton == "2.60.0"
    assert [tag for tag, release in table.items() if release.tensorrt is None] == ["26.10"]


@pytest.mark.parametrize(
    ("tag", "tensorrt", "onnxruntime", "confidence"),
    [
        ("25.05", "10.10.0", "1.22.0", "inferred"),
        ("25.06", "10.11.0.33", "1.22.0", "reported"),
        ("25.08", "10.13.2", "1.23.0", "lead"),
        ("25.11", "10.14.1", "1.23.2", "lead"),
        ("26.03", "10.16.0.72", "1.24.2", "published"),
        ("26.05", "10.16.1.11", "1.24.4", "reported"),
        ("26.07", "11.1.0.106", "1.27.0", "image"),
        ("26.09", "11.3.0.99", None, "inferred"),
    ],
)
def test_a_row_has_as_many_numbers_as_are_known_and_how(tag, tensorrt, onnxruntime, confidence):
    release = load_triton_releases()[tag]
    assert (release.tensorrt, release.onnxruntime) == (tensorrt, onnxruntime)
    assert release.confidence_in("tensorrt") == confidence
    assert release.min_driver == ("580" if tag >= "25.08" else None)


def test_the_image_with_tensorrt_llm_has_another_tensorrt_which_is_not_known(engine):
    target = resolve_target(TargetSpec(triton="26.05-trtllm", gpus=("t4",)))
    release = target.release
    assert release.image == "nvcr.io/nvidia/tritonserver:26.05-trtllm-python-py3"
    assert (release.image_kind, release.tensorrt, release.onnxruntime) == ("trtllm", None, None)
    assert (release.triton, release.min_driver) == ("2.69.0", "580")
    assert [code for code, _, _ in message(minilm(engine), target)] == ["target-unknown"]


def test_a_users_row_for_the_image_with_tensorrt_llm_is_taken(tmp_path):
    row = "{triton: 2.69.0, tensorrt: 10.14.1.48, python: '3.12', min_compute_capability: '8.0'}"
    path = write(tmp_path, f'"26.05-trtllm": {row}')
    release = resolve_target(TargetSpec(triton="26.05-trtllm", triton_releases=str(path))).release
    assert (release.tensorrt, release.confidence_in("tensorrt")) == ("10.14.1.48", "yours")


def test_a_users_file_corrects_one_value_and_keeps_the_others(tmp_path):
    path = write(tmp_path, '"25.08": {tensorrt: "10.13.3"}')
    assert load_triton_releases()["25.08"].tensorrt == "10.13.2"
    corrected = load_triton_releases(path)["25.08"]
    assert (corrected.tensorrt, corrected.triton, corrected.source) == ("10.13.3", "2.60.0", str(path))
    assert (corrected.confidence_in("tensorrt"), corrected.confidence_in("onnxruntime")) == ("yours", "built")


def test_the_environment_names_a_users_file_and_it_may_add_a_release(tmp_path, monkeypatch):
    row = "{triton: 2.99.0, tensorrt: 11.9.0, python: '3.13', min_compute_capability: '8.0'}"
    monkeypatch.setenv(TABLE_VARIABLE, str(write(tmp_path, f'"27.01": {row}')))
    target = resolve_target(TargetSpec(triton="27.01", gpus=("l4",)))
    assert (target.release.triton, target.gpus) == ("2.99.0", {"l4": "8.9"})


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("- a list", "is not a table"),
        ("25.08: no", "is not a table"),
        ("a: [", ":1:5: "),
        ("a: 1\n\x00", ":2:1: special characters are not allowed"),
    ],
)
def test_a_damaged_users_file_is_refused_with_the_form_it_should_have(tmp_path, text, match):
    with pytest.raises(SpecError, match=match) as caught:
        load_triton_releases(write(tmp_path, text))
    assert "it is YAML" in caught.value.hint


def test_every_fault_of_a_users_file_has_its_line(tmp_path):
    path = write(
        tmp_path,
        '"25.08":\n  tensorrt: 10.13\n  wrong: 1\n  tag: "x"\n'
        '25.10: {tensorrt: "10.13.3"}\n"27.01": {triton: "2.99.0"}\n',
    )
    with pytest.raises(SpecError, match="has 6 faults") as caught:
        load_triton_releases(path)
    assert [(fault.place, fault.message) for fault in caught.value.faults] == [
        (f"{path}:2:13: 25.08.tensorrt", "10.13 is not text"),
        (f"{path}:3:3: 25.08", "unknown key 'wrong'"),
        (f"{path}:4:3: 25.08", "unknown key 'tag'"),
        (f"{path}:5:1", 'the release 25.1 is without quotes, expected one such as "25.10"'),
        (f"{path}:6:10: 27.01", "a required key is missing"),
        (f"{path}:6:10: 27.01", "a required key is missing"),
    ]
    assert caught.value.faults[0].hint == "put it in quotes: without them YAML reads it as a number"


def test_a_missing_users_file_and_an_unknown_release_are_refused(tmp_path):
    with pytest.raises(SpecError, match=r"absent\.yaml cannot be read: there is none"):
        load_triton_releases(tmp_path / "absent.yaml")
    with pytest.raises(SpecError, match=r"Triton 19\.01 is not in the table") as caught:
        resolve_target(TargetSpec(triton="19.01"))
    assert TABLE_VARIABLE in caught.value.hint
    with pytest.raises(UnsupportedGpuError, match="unknown GPU 'nope'"):
        resolve_target(TargetSpec(triton="25.08", gpus=("nope",)))


def test_a_plan_of_the_targets_own_tensorrt_and_gpu_fits(engine):
    assert message(minilm(engine), make_target()) == []


@pytest.mark.parametrize(
    ("built", "runs", "fits"),
    [
        ("10.13.2.6", "10.13.2", True),
        ("10.13.2.6", "10.13.2.6", True),
        ("10.13.2.6", "10.13.2.9", False),
        ("10.16.1.11", "10.16.1.12", False),
        ("10.13.3", "10.13.2", False),
        ("10.13.2", "10.14.0", False),
        ("10.9.0", "10.13.2", False),
    ],
)
def test_a_plan_fits_its_exact_tensorrt_alone(engine, built, runs, fits):
    misfits = message(minilm(engine.model_copy(update={"builder_version": built})), make_target(runs))
    assert fits == (not misfits)
    if not fits:
        ((code, sentence, hint),) = misfits
        assert code == "target-tensorrt"
        assert f"built by TensorRT {built}" in sentence
        assert f"Triton 25.08 has TensorRT {runs}" in sentence
        assert f"'tensorrt=={runs if runs.count('.') == 3 else f'{runs}.*'}'" in hint
        assert "prep build-engine --fp16 --gpu t4 --builder tensorrt" in hint


@pytest.mark.parametrize(("built", "fits"), [("10.9.0", True), ("10.13.2", True), ("10.14.0", False)])
def test_a_version_compatible_plan_fits_a_newer_tensorrt_and_no_older_one(engine, built, fits):
    changed = engine.model_copy(update={"builder_version": built, "spec": {"version_compatible": True}})
    assert fits == (not message(minilm(changed), make_target()))


def test_a_version_that_is_only_inferred_is_said_with_the_command_that_reads_it(engine):
    target = resolve_target(TargetSpec(triton="25.05", gpus=("t4",)))
    ((_, sentence, _),) = message(minilm(engine), target)
    assert "Triton 25.05 has TensorRT 10.10.0 (inferred from the releases around it: docker run" in sentence
    reported = resolve_target(TargetSpec(triton="26.05", gpus=("t4",)))
    assert message(minilm(engine), reported)[0][1].endswith("Triton 26.05 has TensorRT 10.16.1.11")


@pytest.mark.parametrize("driver", ["new", "58", "580.", "580.95.05.1"])
def test_a_driver_that_is_no_version_is_refused(driver):
    _, (problem,) = find_problems(TargetSpec, {"triton": "25.08", "driver": driver})
    assert problem.message == f"'{driver}' is not the version of an NVIDIA driver such as 580.95.05"


def test_an_unknown_tensorrt_is_said_and_not_guessed(engine):
    ((code, sentence, hint),) = message(minilm(engine), make_target(tensorrt=None))
    assert code == "target-unknown"
    assert "is not known" in sentence
    assert "printenv TRT_VERSION" in hint
    assert TABLE_VARIABLE in hint


def test_a_plan_fits_its_own_architecture_alone(engine):
    ((code, sentence, hint),) = message(minilm(engine), make_target(gpus=("t4", "l4")))
    assert code == "target-gpu"
    assert "for compute capability 7.5, the target's l4 has 8.9" in sentence
    assert "prep build-engine --fp16 --gpu l4 --builder tensorrt" in hint


def test_each_gpu_of_a_mixed_fleet_may_have_its_own_plan(engine, tmp_path):
    other = make_engine(tmp_path / "l4", gpu="l4", compute_capability="8.9")
    assert message(minilm(engine, other), make_target(gpus=("t4", "l4"))) == []


@pytest.mark.parametrize(("gpu", "fits"), [("l4", True), ("a100", True), ("t4", False)])
def test_a_hardware_compatible_plan_fits_ampere_and_later(tmp_path, gpu, fits):
    built = make_engine(tmp_path / "a100", gpu="a100", compute_capability="8.0")
    wide = built.model_copy(update={"spec": {"hardware_compatible": "ampere_plus"}})
    assert fits == (not message(minilm(wide), make_target(gpus=(gpu,))))


def test_a_plan_on_a_server_without_gpu_is_a_misfit(engine):
    ((code, sentence, hint),) = message(minilm(engine), make_target(gpus=()))
    assert code == "target-gpu"
    assert "the target has none" in sentence
    assert "onnxruntime" in hint


def test_a_gpu_older_than_the_container_supports_is_a_misfit():
    misfits = message(minilm(runtime="onnxruntime"), make_target(gpus=("v100",)))
    assert [(code, sentence) for code, sentence, _ in misfits] == [
        ("target-gpu", "minilm-trt-fp16: Triton 25.08 needs compute capability 7.5, the v100 has 7.0")
    ]


def test_the_engines_in_a_tokenizers_manifest_are_not_the_tokenizers(engine):
    entry = minilm(engine, kind="tokenizer", runtime="python")
    assert message(entry, make_target(tensorrt="11.0.0", gpus=("l4",))) == []


def test_a_vendored_package_must_fit_python_and_platform():
    package = VendoredRecord(package="tokenizers", version="0.22.1", python="3.13", platform="linux/arm64")
    misfits = message(minilm(kind="tokenizer", runtime="python", vendored=package), make_target())
    assert [code for code, _, _ in misfits] == ["target-python", "target-platform"]
    assert "needs Python 3.13, Triton 25.08 has 3.12" in misfits[0][1]
    assert "is for linux/arm64, the target is linux/amd64" in misfits[1][1]
    assert "linux/amd64" in misfits[1][2]


def test_a_vendored_package_of_an_older_stable_abi_fits():
    package = VendoredRecord(package="tokenizers", version="0.22.1", python="3.10", platform="linux/amd64")
    assert message(minilm(kind="tokenizer", runtime="python", vendored=package), make_target()) == []


@pytest.mark.parametrize(
    ("spec", "groups"),
    [
        ({}, [(1, False, ())]),
        ({"serving": {"instance_count": 3, "instance_kind": "gpu"}}, [(3, True, ())]),
        (
            {"serving": {"instance_groups": [{"count": 2, "kind": "cpu"}, {"gpus": [1, 3]}]}},
            [(2, False, ()), (1, True, (1, 3))],
        ),
        ({"text": {"instance_count": 4}}, [(4, False, ())]),
        (
            {"serving": {"instance_count": 3}, EDITED_INSTANCES: [{"count": 2, "kind": None, "gpus": [2]}]},
            [(2, True, (2,))],
        ),
    ],
    ids=["none", "whole", "groups", "text", "edited by hand"],
)
def test_instances_are_where_the_server_has_them(spec, groups):
    entry = minilm(runtime="onnxruntime", spec=spec)
    assert [(group.count, group.is_on_gpu, group.gpus) for group in list_instances(entry)] == groups
    assert needs_gpu(entry) is any(is_on_gpu for _, is_on_gpu, _ in groups)


def test_a_plan_is_on_a_gpu_and_an_ensemble_nowhere():
    assert [group.is_on_gpu for group in list_instances(minilm(spec={"serving": {"instance_count": 2}}))] == [True]
    assert list_instances(minilm(runtime="ensemble")) == ()
