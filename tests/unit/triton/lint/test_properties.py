"""Lint never crashes, whatever a repository holds."""

import tempfile
from pathlib import Path

from google.protobuf import text_format
from hypothesis import given, settings
from hypothesis import strategies as st
from prep_triton.errors import SpecError
from prep_triton.triton.lint import lint_repository

from scripts.benchmarks.small_artifacts import save_graph
from tests.fakes.lint_cases import PYTHON_MODEL, graph_config
from tests.fakes.model_configs import WORDS, model_configs

FEWER = settings(max_examples=60)  # each writes a repository

NAMES = st.sampled_from(
    (  # noqa: SIM905
        "1 0 -1 v1 01 99999999999999999999 warmup config.pbtxt manifest.json model.onnx model.py model.plan model.so "
        ".hidden server.args é model.onnx.tmp x.engine 1abc ٣"
    ).split()
)
CONTENTS = st.one_of(
    st.binary(max_size=80),
    st.sampled_from([b"", b"{}", b'backend: "python"', b'platform: "onnxruntime_onnx"', b'platform: "ensemble"']),
    st.lists(st.sampled_from(WORDS), max_size=30).map(lambda words: " ".join(words).encode()),
)


def lint_config(content: bytes, *, backend: str = "onnxruntime") -> None:
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "entry"
        (folder / "1").mkdir(parents=True)
        if backend == "onnxruntime":
            save_graph(folder / "1" / "model.onnx")
        (folder / "1" / "model.py").write_text(PYTHON_MODEL)
        (folder / "config.pbtxt").write_bytes(content)
        report = lint_repository(Path(place))
        assert report.entries == ("entry",)
        assert len(report.errors) + len(report.warnings) == len(report.findings)


@FEWER
@given(CONTENTS)
def test_any_bytes_may_be_a_config(content):
    lint_config(content)


@FEWER
@given(st.integers(0, 600), st.binary(max_size=6))
def test_a_config_may_be_cut_or_overwritten_anywhere(at, patch):
    text = graph_config("entry").encode()
    lint_config(text[:at] + patch)
    lint_config(text[:at] + patch + text[at + len(patch) :])


trees = st.recursive(
    CONTENTS, lambda inner: st.dictionaries(NAMES, inner, max_size=4), max_leaves=12
).filter(lambda tree: isinstance(tree, dict))  # fmt: skip


def write_tree(folder: Path, tree: dict) -> None:
    folder.mkdir(exist_ok=True)
    for name, inner in tree.items():
        if isinstance(inner, dict):
            write_tree(folder / name, inner)
        else:
            (folder / name).write_bytes(inner)


@FEWER
@given(trees)
def test_any_tree_of_files_may_be_a_repository(tree):
    with tempfile.TemporaryDirectory() as place:
        write_tree(Path(place) / "repo", tree)
        try:
            report = lint_repository(Path(place) / "repo", digest_all=True)
        except SpecError as err:  # nothing in it looks like an entry, or it is one itself
            assert "repository" in err.message
            return
        assert all(finding.message and finding.hint and finding.place for finding in report.findings)


@FEWER
@given(model_configs(), st.sampled_from(["onnxruntime", "python", "tensorrt", ""]))
def test_any_valid_model_config_may_be_linted(config, backend):
    config.backend = backend
    lint_config(text_format.MessageToString(config).encode(), backend=backend)


@FEWER
@given(st.integers(0, 10_000), st.binary(min_size=1, max_size=8), st.booleans())
def test_a_graph_may_be_damaged_anywhere(at, patch, is_cut):
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "entry" / "1"
        folder.mkdir(parents=True)
        (folder.parent / "config.pbtxt").write_text(graph_config("entry"))
        save_graph(folder / "model.onnx")
        whole = (folder / "model.onnx").read_bytes()
        at %= len(whole)
        (folder / "model.onnx").write_bytes(whole[:at] + (b"" if is_cut else patch + whole[at + len(patch) :]))
        report = lint_repository(Path(place))
        if is_cut:
            assert "model-damaged" in {finding.code for finding in report.errors}
